"""Who is meant: the names under which tables hold the patient, for every stage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from crafts.core.tables import find_column, same_name
from crafts.core.tabular.rows import as_text, is_missing

PATIENT_COLUMNS = (
    "patient", "patient_id", "patient_code", "patient_number", "patient_no", "patient_uid",
    "patient_barcode", "pat_id", "case", "case_submitter_id", "submitter_id",
    "cases.submitter_id", "bcr_patient_barcode", "case_id", "case_number", "case_no", "subject",
    "subject_id", "participant", "participant_id", "donor", "donor_id", "individual",
    "individual_id", "person", "person_id",
)  # fmt: skip
"""Most trusted first. Case and signs do not count: ``Patient ID`` is ``patient_id``."""

_WHOLE = re.compile(r"(\d+)\.0+")
_ROUNDED = re.compile(r"\d+(?:\.\d+)?[eE][+-]?\d+")


def find_patient(names: Iterable[str]) -> str:
    """The column that names the patient; "" for none."""
    return find_column(names, PATIENT_COLUMNS)


def patient_in(fields: Mapping[str, Any]) -> str:
    """Whom a row names, by the first column that is not empty; "" for nobody."""
    filled = [name for name, value in fields.items() if not is_missing(value)]
    column = find_patient(filled)
    return same_name(as_text(fields[column])).strip() if column else ""


def parse_id(value: Any) -> str:
    """The id of a patient or report, as text.

    A column of whole numbers with gaps becomes ``12.0`` in many programs, and means 12.

    Raises:
        ValueError: a number like ``1.2E+05``, of which a spreadsheet has cut digits.
    """
    text = same_name(as_text(value)).strip()
    if _ROUNDED.fullmatch(text):
        raise ValueError(f"id {text!r} is a rounded number; save its column as text")
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text
