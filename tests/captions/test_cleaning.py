"""Cleaning: what scanning did is undone, and every character still knows where it came from."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.captions.cleaning import GAP, TracedText, clean, iter_sentences, normalize
from crafts.captions.vocabulary import inflect, load_lexicon, repair_word


@given(st.text(max_size=200))
def test_normalised_text_is_ascii_and_traced(source):
    traced = normalize(source)
    assert re.fullmatch(r"[\x20-\x7e\n]*", traced.text)
    assert len(traced.text) == len(traced.starts) == len(traced.ends)
    assert all(0 <= s < e <= len(source) for s, e in zip(traced.starts, traced.ends, strict=True))
    assert list(traced.starts) == sorted(traced.starts)


@given(st.text(alphabet="aB cinoma-.\n\t:;1x\u200b\u0430(", max_size=120))
def test_cleaning_is_traced_and_stable(source):
    traced = clean(source)
    assert list(traced.starts) == sorted(traced.starts)
    for i, letter in enumerate(traced.text):
        start, end = traced.source_span(i, i + 1)
        # what was not rewritten is found again in the source
        if letter.isalpha() and end - start == 1 and source[start].isascii():
            assert source[start].lower() == letter.lower() or source[start] in "15|0-"
    assert not re.search(r" \n|\n |  |\n\n|^\s|\s$", traced.text)


def test_invisible_and_disguised_letters():
    source = (
        "c\u200ba\u00adr\u0441\u0456noma \uff49n s\u0131tu, M\u00e9n\u00e9trier, 3 \u00b5m \u00d7 4"
    )
    assert normalize(source).text == "carcinoma in situ, Menetrier, 3 um x 4"


@pytest.mark.parametrize(
    ("source", "cleaned"),
    [
        ("<p>Breast: <b>No</b> carcinoma.</p><p>Size 2&nbsp;cm &amp; firm</p>",
         "Breast: No carcinoma.\nSize 2 cm & firm"),
        ("Necrosis: [ ] present [x] absent", "Necrosis: absent"),
        ("Necrosis: \u2610 present \u2611 absent", "Necrosis: absent"),
        ("Necrosis:\n[x] Present\n[ ] Absent", "Necrosis:\nPresent"),
        ("Side: ( ) left (x) right  Necrosis: (x) yes", "Side: right Necrosis: yes"),
        ("Side: [x] left [ ] right  Necrosis: [x] yes", "Side: left Necrosis: yes"),
        ("Size 2 cm. Necrosis: present [ ] absent [x]", "Size 2 cm."),
        ("[ ] Invasive carcinoma\n[ ] Necrosis", "Invasive carcinoma\nNecrosis"),
        ("ER (-), PR (++)", "ER negative, PR positive"),
        ("LVI: N. Necrosis: -", "LVI: no. Necrosis: not specified"),
    ],
)  # fmt: skip
def test_signs_become_words_and_only_ticked_options_stay(source, cleaned):
    text = clean(source).text
    assert re.sub(r" +(?=[,.])", "", text) == cleaned


def test_words_split_at_the_margin():
    assert clean("infiltrating carci-\nnoma").text == "infiltrating carcinoma"
    assert clean("seen in the cross-\nsection").text == "seen in the cross-section"


@pytest.mark.parametrize(
    ("misread", "word"),
    [
        ("carclnoma", "carcinoma"),
        ("CARC1NOMA", "CARCINOMA"),
        ("adenocarcinorna", "adenocarcinoma"),
        ("EXCISON", "EXCISION"),
        ("metastatlc", "metastatic"),
    ],
)
def test_misread_words_are_mended(misread, word):
    assert clean(f"the {misread} here").text == f"the {word} here"


def test_a_capitalised_word_is_left_as_it_came():
    assert clean("seen by Carsinoma today").text == "seen by Carsinoma today"
    assert repair_word("smith") == "" and repair_word("x" * 5000) == ""


def test_broken_lines_are_joined_and_statements_kept_apart():
    source = (
        "A. BREAST, LEFT, EXCISION:\nINFILTRATING\nDUCTAL CARCINOMA, GRADE 2\nTUMOR SIZE:\n2.5 X "
        "2 CM\n"
        "MARGINS ARE FREE\nB. LYMPH NODE:\nno tumor (0/1), see\ncomment."
    )
    assert clean(source).text.split("\n") == [
        "A. BREAST, LEFT, EXCISION:",
        "INFILTRATING DUCTAL CARCINOMA, GRADE 2",
        "TUMOR SIZE: 2.5 X 2 CM",
        "MARGINS ARE FREE",
        "B. LYMPH NODE: no tumor (0/1), see comment.",
    ]


def test_furniture_and_form_boilerplate_go():
    source = (
        "Page 1 of 2\nGENERAL HOSPITAL REPORT\nCriteria\nYes\nHIPAA Discrepancy\n=====\nLung: "
        "adenocarcinoma.\n"
        "GENERAL HOSPITAL REPORT\nQUALIFIED / DISQUALIFIED\n[ ] Necrosis\nGENERAL HOSPITAL REPORT\n"
    )
    assert clean(source).text == "GENERAL HOSPITAL REPORT\nLung: adenocarcinoma.\nNecrosis"


def test_a_finding_that_is_said_twice_stays():
    source = "A. Node one\nNo carcinoma.\nB. Node two\nNo carcinoma.\nC. Node three\nNo carcinoma."
    assert clean(source).text.count("No carcinoma.") == 3


def test_a_report_in_one_line_gets_its_headings_back():
    source = (
        "FINAL DIAGNOSIS: A. Breast, left, biopsy: 1. Invasive carcinoma, grade: 2. Margins are "
        "free. "
        "B. Skin: benign. MICROSCOPIC DESCRIPTION: " + "Sheets of cells with pale nuclei. " * 6
    )
    lines = clean(source).text.split("\n")
    assert [line[:12] for line in lines] == [
        "FINAL DIAGNO",
        "A. Breast, l",
        "1. Invasive ",
        "B. Skin: ben",
        "MICROSCOPIC ",
    ]
    assert "grade: 2. Margins" in lines[2]


def test_a_negation_does_not_hang_on_an_apostrophe():
    assert clean("There isn\u2019t any tumor").text == "There is not any tumor"


def test_replacing_keeps_the_place():
    traced = TracedText.of("one two three").replace(re.compile("two"), "2")
    assert traced.text == "one 2 three"
    assert traced.source_span(4, 5) == (4, 7)
    assert traced.source_span(6, 11) == (8, 13)
    with pytest.raises(ValueError, match="span"):
        traced.source_span(3, 3)


def test_sentences():
    text = "Tumor size 1.2 cm. Grade 2; pT1.\nNo necrosis"
    assert [text[s:e] for s, e in iter_sentences(text)] == [
        "Tumor size 1.2 cm.",
        "Grade 2;",
        "pT1.",
        "No necrosis",
    ]
    assert GAP not in clean(GAP).text


def test_the_lexicon_knows_composed_words_and_no_names():
    lexicon = load_lexicon()
    assert lexicon.kind("Lymphangioleiomyomatosis") == "term"
    assert lexicon.kind("hemangioblast") == "term"
    assert lexicon.kind("shows") == "common"
    for name in ("smith", "roma", "paloma", "springfield", "oklahoma", "sherwood", "garcia"):
        assert lexicon.kind(name) == "", name
    assert inflect("carry") == ("carry", "carries", "carried", "carrying")
