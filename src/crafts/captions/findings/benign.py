"""What a sentence says of tissue that has no disease, and of a malignancy that is ruled out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crafts.captions.findings.measures import Hit
from crafts.captions.findings.negation import is_negated

_STATES = r"benign|normal|unremarkable|reactive|proliferative|secretory"
_TISSUE = re.compile(
    rf"\b(?P<state>{_STATES})[ -](?P<kind>(?:[a-z]{{4,}} ){{0,2}}?"
    r"(?:skin|mucosa|tissue|parenchyma|lymph nodes?|endometrium|epithelium|glands?|stroma|breast|"
    r"prostate|marrow|thyroid|liver|kidney|lung))\b(?! (?:tissue|parenchyma|mucosa|skin)\b)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\bno (?:significant |specific )?(?:histo)?patholog(?:ic(?:al)?|y) "
    r"(?:abnormalit(?:y|ies)|changes?|findings?|diagnosis)\b",
    re.IGNORECASE,
)
_NO_PATHOLOGY = "no pathologic abnormality"
_MALIGNANCY = re.compile(r"\bmalignan(?:cy|cies|t cells?)\b", re.IGNORECASE)


def find_benign(text: str) -> Iterator[Hit]:
    """Benign, normal or reactive tissue as findings that any other outweighs; "no malignancy"."""
    for match in _TISSUE.finditer(text):
        yield Hit("finding", " ".join(match.group().lower().split()), *match.span(), -1)
    for match in _NOTHING.finditer(text):
        yield Hit("finding", _NO_PATHOLOGY, *match.span(), -1, negated=False)
    for match in _MALIGNANCY.finditer(text):
        if is_negated(text, *match.span()):
            yield Hit("histology", "malignancy", *match.span(), -1, negated=True)


def is_benign(value: str) -> bool:
    """Whether the value of a finding is one of these."""
    return value == _NO_PATHOLOGY or _TISSUE.fullmatch(value) is not None
