"""Diagnoses of what is not diseased, or not malignant, are said."""

from __future__ import annotations

import pytest

from crafts.captions.findings.extract import extract_fields
from crafts.captions.privacy import scrub
from crafts.captions.summaries.extractive import extract_summary


def summary(report: str) -> str:
    scrubbed = scrub(report)
    fields = extract_fields(scrubbed.traced)
    return extract_summary(
        scrubbed.text, fields, tokens=35, count=lambda text: len(text.split()) + 2
    )


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (
            "Final diagnosis: Benign skin with mild chronic inflammation. No malignancy.",
            "Chronic inflammation, skin. Benign skin. No malignancy.",
        ),
        (
            "Prostate, needle biopsy: Benign prostatic tissue. No evidence of malignancy.",
            "Benign prostatic tissue, prostate. No malignancy.",
        ),
        (
            "Colon, biopsy: Normal colonic mucosa. No dysplasia.",
            "Normal colonic mucosa. No dysplasia.",
        ),
        ("Colon, polypectomy: Hyperplastic polyp.", "Hyperplastic polyp, colon."),
        ("Stomach, antrum, biopsy: Chronic gastritis.", "Chronic gastritis, stomach."),
        ("Breast, left, core biopsy: Fibroadenoma.", "Fibroadenoma, left breast."),
        (
            "Lymph node: Reactive lymph node. Negative for malignancy.",
            "Reactive lymph node. No malignancy.",
        ),
        (
            "Breast, right: Benign breast tissue with fibrocystic changes. Negative for carcinoma.",
            "Fibrocystic changes, right breast. Benign breast tissue. No carcinoma.",
        ),
        ("Liver: No significant pathologic abnormality.", "No pathologic abnormality, liver."),
    ],
)
def test_a_benign_diagnosis_is_kept(report, said):
    assert summary(report) == said


def test_what_is_benign_never_stands_before_or_beside_a_malignancy():
    said = summary("Breast, left: invasive ductal carcinoma. Benign skin. Chronic inflammation.")
    assert said.startswith("Invasive ductal carcinoma, left breast.") and "enign" not in said
    assert summary("Skin: Benign skin. Suspicious for melanoma.").startswith("Possible melanoma")
    assert "enign skin" not in summary("Skin: not benign skin.").lower()
