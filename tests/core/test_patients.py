"""One list of columns that mean the patient, and one way to write an id."""

from __future__ import annotations

import pytest

from crafts.core.patients import PATIENT_COLUMNS, find_patient, parse_id, patient_in


@pytest.mark.parametrize("name", PATIENT_COLUMNS)
def test_every_name_is_found_however_it_is_spelt(name):
    for spelt in (name, name.upper(), name.replace("_", " ").title(), name.replace("_", "-")):
        assert find_patient(["text", spelt]) == spelt
    assert find_patient(["file_name", "patient_age", "showcase"]) == ""


def test_the_most_trusted_name_wins_and_empty_ones_do_not_count():
    assert find_patient(["case", "Patient ID", "subject"]) == "Patient ID"
    assert patient_in({"patient": "", "case": 7.0, "slide": "s"}) == "7"
    assert patient_in({"patient": None, "slide": "s"}) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [("12.0", "12"), (12.0, "12"), ("012", "012"), (" P1 ", "P1"), ("1.5", "1.5"), (1e5, "100000")],
)
def test_ids_that_became_floats_are_whole_again(value, expected):
    assert parse_id(value) == expected


@pytest.mark.parametrize("value", ["1e5", "1.2E+05", "1.23457E+11", "1e-3"])
def test_ids_that_a_spreadsheet_rounded_are_refused(value):
    with pytest.raises(ValueError, match="a rounded number; save its column as text"):
        parse_id(value)


def test_accents_have_one_form():
    assert parse_id("Mu\u0308ller-1") == parse_id("M\u00fcller-1")
