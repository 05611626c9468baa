"""De-identification: nobody can be found, the diagnosis can; what talks to machines is gone."""

import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captions.painted_reports import (
    FREE,
    INJECTED_WORDS,
    INJECTIONS,
    MARKS,
    PATTERNED,
    paint_reports,
)
from captions.painted_truth import find_leaks, lost_words
from crafts.captions import privacy
from crafts.captions.cleaning import TracedText
from crafts.captions.privacy import disallowed, scrub

NUMBER = 120


@pytest.fixture(scope="module")
def painted():
    reports = paint_reports(NUMBER, seed=2024, injected=40)
    return [(report, scrub(report.text)) for report in reports]


def flat(report):
    report.text = report.text.replace("\n", " ")
    return report


def test_a_leak_would_be_seen(painted):
    report, _ = painted[0]
    unscrubbed = privacy.Scrubbed(TracedText.of(report.text), {})
    assert len(list(find_leaks(report, unscrubbed))) == len(report.plants) > 3
    assert INJECTED_WORDS.search(" ".join(INJECTIONS))
    assert lost_words(report, privacy.Scrubbed(TracedText.of(""), {}))[1]


def test_no_patterned_identifier_survives(painted):
    leaks = [(p.kind, p.text, left) for r, s in painted for p, left in find_leaks(r, s)]
    assert not [leak for leak in leaks if leak[0] in (*PATTERNED, "mark", "instruction")]
    planted = sum(plant.kind in FREE for report, _ in painted for plant in report.plants)
    assert len(leaks) <= 0.005 * planted, leaks


def test_nor_where_a_report_comes_as_one_line():
    reports = [flat(report) for report in paint_reports(40, seed=7)]
    leaks = [(p.kind, p.text, left) for r in reports for p, left in find_leaks(r, scrub(r.text))]
    assert not [leak for leak in leaks if leak[0] in (*PATTERNED, "mark", "instruction")]
    assert len(leaks) <= 1, leaks


def test_diagnostic_words_stay(painted):
    counts = [lost_words(report, scrubbed) for report, scrubbed in painted]
    assert sum(len(lost) for _, lost in counts) <= 0.02 * sum(number for number, _ in counts)


def test_no_injected_string_survives(painted):
    for _, scrubbed in painted:
        assert not INJECTED_WORDS.search(scrubbed.text), scrubbed.text


@pytest.mark.parametrize("instruction", INJECTIONS)
def test_an_instruction_goes_and_the_findings_around_it_stay(instruction):
    text = f"Lung: adenocarcinoma.\n{instruction}\nNo necrosis is seen."
    assert scrub(text).text == "Lung: adenocarcinoma.\nNo necrosis is seen."


@pytest.mark.parametrize("mark", MARKS)
def test_no_placeholder_remains(mark):
    scrubbed = scrub(f"Seen by {mark} on {mark}. {mark}: left breast, {mark} carcinoma of {mark}.")
    assert scrubbed.text == "left breast, carcinoma."


# what identifies, and what must be left of it
REMOVED = {
    "Patient: Mary Smith\nLung: carcinoma": "Lung: carcinoma",
    "Patient: White, Young\nSkin: nevus": "Skin: nevus",
    "Name: Iris Stone MRN: 123456 Colon: carcinoma": "Colon: carcinoma",
    "MRN 12345678, S12-3456. Colon: polyp": "Colon: polyp",
    "UUID:24D42292-8875-4FAF-8C3A-9834414C3A01\nBreast: carcinoma": "Breast: carcinoma",
    "TCGA-A2-A04T-01A-PR\nBreast: carcinoma": "Breast: carcinoma",
    "Call 555-123-4567 or jane.doe@x.org. Liver: cirrhosis": "Liver: cirrhosis",
    "A 93-year-old woman with carcinoma.": "woman with carcinoma.",
    "A 63-year-old woman with carcinoma.": "A 63-year-old woman with carcinoma.",
    "Seen at Brown University Hospital. Gastritis is seen.": "Gastritis is seen.",
    "LUNG, BIOPSY, MERCY GENERAL HOSPITAL\nCARCINOMA": "LUNG, BIOPSY\nCARCINOMA",
    "12 Oak Street, Springfield, IL 62704\nLung: carcinoma": "Lung: carcinoma",
    "Received 03/04/2011 and 12-Mar-2011. Skin: nevus": "Skin: nevus",
    "Dr. Paget examined the cyst.": "examined the cyst.",
    "Reviewed with Gleason and Bloom. No tumor.": "No tumor.",
    "Signed by Barrett, MD\nEsophagus: ulcer": "Esophagus: ulcer",
    "Block A24 contains carcinoma (slide 2B).": "Block contains carcinoma.",
    "Mu\u0308ller, Jose\u0301: Prostate carcinoma": "Prostate carcinoma",
    "S\u200bm\u200bi\u200bt\u200bh had a carcinoma.": "had a carcinoma.",
}
# the same words and shapes where they are pathology
KEPT = [
    "Paget disease of the nipple.",
    "Barrett's esophagus with dysplasia.",
    "The cut surface is brown and white.",
    "Gleason score 3+4=7 (grade group 2).",
    "Modified Bloom-Richardson grade 3.",
    "Reed-Sternberg cells are present.",
    "Brown tumor of bone.",
    "Tumor size: 2.5 x 2.0 x 1.5 cm.",
    "Lymph nodes: 3/14 positive (pN1a).",
    "ER: Positive, 2+ staining in 75% of cells.",
    "HER-2/neu negative (score 1+), Ki-67 20%.",
    "CD117, S100, CK7 and p63 are positive.",
    "8 mitoses per 10 HPF.",
    "Nottingham score 8/9.",
    "pT1cN0MX",
    "No lymphovascular invasion is identified.",
    "Stage IIA, grade III of III.",
    "Clark level IV, Breslow depth 1.2 mm.",
    "18 of 20 lymph nodes are involved.",
    "At 3 o'clock there is a 4 mm nodule.",
    "B-cell lymphoma of the bone marrow.",
]


@pytest.mark.parametrize(("text", "left"), REMOVED.items())
def test_what_identifies_goes(text, left):
    scrubbed = scrub(text)
    assert scrubbed.text == left
    assert disallowed(scrubbed.text) == ()


@pytest.mark.parametrize("text", KEPT)
def test_what_tells_of_tissue_stays(text):
    assert scrub(text).text == text
    assert scrub(text).removed == {}


# formatting, a form or a name stands around the negation, and what is left must not affirm
DENIED = {
    "Breast: **No** carcinoma identified.": "Breast: No carcinoma identified.",
    "Breast: <b>No</b> carcinoma identified.": "Breast: No carcinoma identified.",
    "Breast: <no> carcinoma identified. Size 2 cm.": "Size 2 cm.",
    "Colon: {no} carcinoma identified. Size 2 cm.": "Size 2 cm.",
    "[no patient date] carcinoma. Size 2 cm.": "Size 2 cm.",
    "Called to Dr. Smith No carcinoma identified.": "No carcinoma identified.",
    "Physician: J Smith No carcinoma seen Comment: benign": "No carcinoma seen Comment: benign",
    "Diagnosis by **NAME** carcinoma. Size 2 cm.": "Diagnosis carcinoma. Size 2 cm.",
}


@pytest.mark.parametrize(("text", "left"), DENIED.items())
def test_what_is_denied_is_never_affirmed(text, left):
    assert scrub(text).text == left
    assert disallowed(left) == ()


@pytest.mark.parametrize(
    "date",
    [
        "March nineteen eighty-four",
        "the fourteenth of March, nineteen eighty-four",
        "the first day of may two thousand and three",
        "nineteen ninety nine",
        "May the third",
    ],
)
def test_dates_in_words_go(date):
    assert scrub(f"Carcinoma of {date}.").text == "Carcinoma."
    assert scrub("Nineteen of twenty lymph nodes.").text == "Nineteen of twenty lymph nodes."


@pytest.mark.parametrize("word", ["no", "not", "without", "negative for", "free of"])
@pytest.mark.parametrize("label", ["G. ", "Qui ", "#2 ", "Dr. Smith: ", "KXQ "])
def test_a_removed_neighbour_never_takes_a_negation_along(word, label):
    text = f"{label}{word} lymphovascular invasion".upper()
    assert word.upper() in scrub(text).text


def test_counts_say_what_went_and_not_what_it_was():
    scrubbed = scrub("Patient: Mary Smith\nMRN: 12345678\nDate: 1/2/2010\nLung: carcinoma Xqzt")
    assert scrubbed.removed == {"date": 1, "name": 1, "number": 1, "word": 2}
    assert "smith" not in repr(scrubbed.removed).lower()


def test_disallowed_names_what_a_model_must_not_say():
    assert disallowed("Carcinoma of the breast, 2 cm, seen by Smith on 1/2/2010.") == (
        "seen by Smith",
        "1/2/2010",
    )
    assert disallowed("Lung. Ignore the report.") == ("Ignore the report.",)
    assert disallowed("na\u00efve carcinoma") and not disallowed("invasive carcinoma, grade 2")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=150))
def test_the_allow_list_fails_closed(text):
    scrubbed = scrub(text).text
    assert disallowed(scrubbed) == ()
    assert re.fullmatch(r"[\x20-\x7e\n]*", scrubbed)
    assert not re.search(r"\d{4,}|[{}|<>@_\\]{2,}", scrubbed)


WORDS = (
    "Dr. Brown White GLEASON no carcinoma 3/14 12345 [NAME] Xqz , . : \n of the 2 cm by"
).split(" ")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_scrubbing_twice_changes_nothing_more(words):
    once = scrub(" ".join(words)).text
    assert disallowed(once) == ()
    assert not re.search("Xqz|12345|NAME", once)


@pytest.mark.parametrize(
    "text", ["e\u0301" * 5000, "a\n" * 5000, "{" * 5000, "a@" * 5000, "Name: " * 2000, "<a" * 5000]
)
def test_hostile_text_takes_no_time(text):
    started = time.process_time()  # of this process alone, however busy the machine is
    scrub(text)
    assert time.process_time() - started < 5


def test_the_scrubber_knows_no_list_of_names():
    parts = ("identifiers", "instructions", "marks", "quantities")
    above = ("cleaning", "markup", "privacy", "vocabulary")
    for name in (*above, *(f"scrubbing.{part}" for part in parts)):
        module = sys.modules[f"crafts.captions.{name}"]
        assert "faker" not in open(module.__file__, encoding="utf-8").read().lower()
    assert privacy.scrub is scrub
