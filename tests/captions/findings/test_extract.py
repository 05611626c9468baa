"""Fields: what a report finds, what it rules out, on which side, and where it says so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captions.painted_reports import paint_reports
from captions.painted_truth import COMPARED, compare
from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.fields import NAMES
from crafts.captions.findings.negation import is_negated
from crafts.captions.privacy import scrub
from crafts.captions.reports import iter_reports
from crafts.core.records import Ledger


def read(text):
    return extract_fields(scrub(text).traced)


def test_painted_reports_are_read_right():
    reports = paint_reports(120, seed=99)
    agreement = compare(reports, [read(report.text) for report in reports])
    for name in COMPARED:
        assert agreement.precision(name) >= 0.97, (name, agreement.examples[name][:3])
        assert agreement.recall(name) >= 0.97, (name, agreement.examples[name][:3])


REPORT = """Patient: John Doe
A. Breast, left, lumpectomy:
1. Invasive ductal carcinoma, Nottingham grade III (of III), 2.3 x 1.9 cm.
2. Ductal carcinoma in situ is absent.
B. Breast, right, biopsy:
Fibroadenoma. No carcinoma.
ER: Positive. PR: Negative. HER2: 2+."""


def test_spans_are_those_of_the_source():
    fields = read(REPORT)
    said = {(f.name, f.value): REPORT[f.start : f.end] for f in fields.findings}
    assert said["histology", "invasive ductal carcinoma"] == "Invasive ductal carcinoma"
    assert said["size", "2.3 cm"] == "2.3 x 1.9 cm"
    assert said["grade", "Nottingham grade 3"] == "Nottingham grade III"
    assert said["her2", "equivocal"] == "HER2"


def test_sides_come_from_the_words_or_the_heading():
    fields = read(REPORT)
    assert fields.diagnosis.value == "invasive ductal carcinoma"
    assert fields.diagnosis.laterality == "left"
    sides = {f.value: f.laterality for f in fields.of("histology")}
    assert sides["fibroadenoma"] == "right"
    assert fields.best("laterality").value == "left"


def test_what_is_ruled_out_is_kept_as_such():
    fields = read(REPORT)
    assert fields.best("in_situ").negated
    assert fields.as_row()["in_situ"] == "no ductal carcinoma in situ"
    assert [f.negated for f in fields.of("histology") if f.value == "carcinoma"] == [True]


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("No evidence of [carcinoma].", True),
        ("Negative for [carcinoma] and dysplasia.", True),
        ("Free of dysplasia and [carcinoma].", True),
        ("[Carcinoma] is not identified.", True),
        ("[Necrosis]: absent", True),
        ("Neither [necrosis] nor calcification.", True),
        ("[Necrosis] cannot be identified.", True),
        ("[Sarcoma] was ruled out.", True),
        ("[Carcinoma] is present.", False),
        ("No necrosis, but [carcinoma] is present.", False),
        ("[Carcinoma] is negative for estrogen receptors.", False),
        ("Not only [carcinoma].", False),
        ("[Carcinoma] with no necrosis.", False),
        ("No necrosis; [carcinoma].", False),
        ("No carcinoma in situ, [carcinoma] measures 2 cm.", False),
        ("[Necrosis] (no).", True),
        ("[Necrosis]: nil", True),
        ("[NECROSIS]: NONE MARGINS: NEGATIVE.", True),
        ("[Necrosis]: 0%", True),
        ("[Lymphovascular invasion]: neg.", True),
        ("Not identified: [necrosis]", True),
        ("[Carcinoma] - no residual tumor", True),
        ("Invasive [carcinoma] (no special type)", False),
        ("[Carcinoma] - no necrosis", False),
        ("[Carcinoma] ruled out.", True),
        ("[Carcinoma] could not be found.", True),
        ("[Tumor]-free margins", True),
        ("Zero [carcinoma]", True),
        ("[Carcinoma] is not excluded.", False),
    ],
)
def test_negation(text, negated):
    start, end = text.index("["), text.index("]") - 1
    assert is_negated(text.replace("[", "").replace("]", ""), start, end) == negated


VALUES = {
    "Carcinoma, infiltrating ductal, NOS": ("histology", "invasive ductal carcinoma"),
    "Infiltrating ductal and lobular carcinoma": (
        "histology",
        "invasive ductal and lobular carcinoma",
    ),
    "Renal cell carcinoma, clear cell type": ("histology", "clear cell renal cell carcinoma"),
    "Carcinoma ductale invasivum": ("histology", "invasive ductal carcinoma"),
    "Non-invasive papillary urothelial carcinoma": (
        "histology",
        "non-invasive papillary urothelial carcinoma",
    ),
    "Noninvasive ductal carcinoma": ("histology", "non-invasive ductal carcinoma"),
    "Non-mucinous adenocarcinoma": ("histology", "adenocarcinoma"),
    "LOBULAR CARCINOMA IN SITU": ("in_situ", "lobular carcinoma in situ"),
    "DCIS, solid type": ("in_situ", "ductal carcinoma in situ"),
    "Gleason grade 4 + 3 = 7": ("grade", "Gleason 4+3=7"),
    "Concluding: G III": ("grade", "grade 3"),
    "moderately to poorly differentiated": ("grade", "moderately to poorly differentiated"),
    "Fuhrman nuclear grade 2": ("grade", "Fuhrman grade 2"),
    "NHG 1": ("grade", "Nottingham grade 1"),
    "AJCC pTic": ("t_stage", "T1c"),
    "pT1CNOMX": ("n_stage", "N0"),
    "T Stage: 2": ("t_stage", "T2"),
    "The tumor measures 21 mm": ("size", "2.1 cm"),
    "mitoses 2/3; score 8/9], forming a mass (2.3 x 1.9 x 1.8 cm)": ("size", "2.3 cm"),
    "Tumor diameter: 3.0 cm": ("size", "3 cm"),
    "Metastatic carcinoma in 3 of 14 lymph nodes": ("nodes", "3/14"),
    "Two lymph nodes, negative for carcinoma": ("nodes", "0/2"),
    "negative for estrogen and progesterone receptors": ("pr", "negative"),
    "Estrogen receptors found in 75% of cells": ("er", "positive"),
    "HER2 is not amplified": ("her2", "negative"),
    "NECROSIS: PRESENT MARGINS: NEGATIVE.": ("necrosis", "necrosis"),
    "HER-2 non amplified": ("her2", "negative"),
    "ER (-), PR (+)": ("er", "negative"),
    "PR (+), ER (-)": ("pr", "positive"),
    "Estrogen receptor is not expressed": ("er", "negative"),
    "triple-negative carcinoma": ("her2", "negative"),
    "Ki-67 labeling index of 35 %": ("ki67", "35%"),
    "All margins are free of tumor": ("margins", "negative"),
    "Tumor is present at the deep margin": ("margins", "positive"),
    "Tumor-infiltrating lymphocytes are sparse": ("tils", "low"),
    "with comedo necrosis": ("necrosis", "comedonecrosis"),
    "Atypical ductal hyperplasia": ("finding", "atypical ductal hyperplasia"),
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items())
def test_values_have_one_spelling(text, expected):
    name, value = expected
    best = read(text).best(name)
    assert best is not None and best.value == value and not best.negated


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HER2/neu has been ordered", "her2"),
        ("Margins: Not specified", "margins"),
        ("0.5 cm from the deep margin", "size"),
        ("Skin ellipse 20 x 9.5 cm", "size"),
        ("Perineural invasion cannot be assessed", "perineural_invasion"),
        ("Grade cannot be determined", "grade"),
        ("Sclerotic stroma", "histology"),
        ("Necrosis: not reported", "necrosis"),
        ("Necrosis:", "necrosis"),
        ("Lymphovascular invasion: Grade: 2", "lymphovascular_invasion"),
        ("Lymphovascular invasion? No.", "lymphovascular_invasion"),
        ("ER not done; ER positive control stained", "er"),
    ],
)
def test_what_is_not_said_is_not_read(text, name):
    assert read(text).best(name) is None


@pytest.mark.parametrize(
    "text",
    [
        "Clinical history: lymphoma.",
        "The differential diagnosis includes lymphoma.",
        "Suspicious for lymphoma.",
        "History of lymphoma.",
        "Lymphoma is not excluded.",
        "Lymphoma is unlikely.",
        "Doubtful lymphoma.",
    ],
)
def test_a_question_is_no_diagnosis(text):
    fields = read(text + "\nDIAGNOSIS:\nSkin, biopsy:\nBasal cell carcinoma.")
    assert fields.diagnosis.value == "basal cell carcinoma"
    assert next(f for f in fields.of("histology") if "lymphoma" in f.value).uncertain


def test_what_was_known_before_is_not_what_was_found_here():
    fields = read("CLINICAL HISTORY: colon cancer.\nDIAGNOSIS:\nLiver, biopsy: normal.")
    assert fields.diagnosis is None and fields.best("site").value == "liver"
    fields = read("History of breast carcinoma. Liver, biopsy: steatosis.")
    assert (fields.diagnosis.value, fields.best("site").value) == ("steatosis", "liver")


def test_a_report_of_carcinoma_in_situ_is_not_one_of_carcinoma():
    fields = read("Skin: squamous cell carcinoma in situ. Margins: free of carcinoma")
    assert fields.diagnosis.value == "squamous cell carcinoma in situ"
    assert read("").diagnosis is None and read("Tissue.").as_row() == {}


WORDS = [
    "no",
    "invasive",
    "ductal",
    "carcinoma",
    "left",
    "breast:",
    "2 cm",
    "pT2N1",
    ".",
    "\n",
    "in situ",
    "3/14",
    "nodes",
    "ER",
    "negative",
    "margin",
]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(WORDS), max_size=20))
def test_every_finding_has_its_place(words):
    text = " ".join(words)
    for finding in extract_fields(text).findings:
        assert finding.name in NAMES and finding.value
        assert 0 <= finding.start < finding.end <= len(text)
        assert finding.laterality in ("", "left", "right", "bilateral")


def test_real_reports_keep_their_diagnosis(root):
    folder = root.parent / "shared/data/text/tcga_brca_reports"
    if not folder.is_dir():
        pytest.skip("the real reports are not here")
    expected = {
        "TCGA-A1-A0SB.excerpt": "adenoid cystic carcinoma",
        "TCGA-E9-A1NE": "invasive ductal and lobular carcinoma",
    }
    sides = {
        "TCGA-A1-A0SB.excerpt": "left",
        "TCGA-A2-A04P.excerpt": "left",
        "TCGA-A2-A04T.excerpt": "left",
        "TCGA-A8-A07B": "",
        "TCGA-AN-A0AR": "right",
        "TCGA-AR-A0TT": "right",
        "TCGA-AR-A0TZ": "left",
        "TCGA-AR-A1AR": "left",
        "TCGA-B6-A0I5": "right",
        "TCGA-BH-A0BG": "left",
        "TCGA-D8-A1JU": "left",
        "TCGA-E9-A1N8": "right",
        "TCGA-E9-A1NE": "right",
    }
    for report in iter_reports(folder, Ledger("summarise")):
        scrubbed = scrub(report.text)
        fields = extract_fields(scrubbed.traced)
        assert fields.diagnosis.value == expected.get(report.report_id, "invasive ductal carcinoma")
        side = fields.best("laterality")
        assert (side.value if side else "") == sides[report.report_id]
        assert "TCGA" not in scrubbed.text and "UUID" not in scrubbed.text.upper()
