"""What stands for the patient, read from tables alone."""

from __future__ import annotations

from crafts.data.collection import group_of
from fixtures_sets import collect


def test_groups_are_patients_or_what_comes_next(tmp_path):
    assert collect(tmp_path / "a", "patient", ["p", "", "q"]).groups() == ["p", "", "q"]
    assert collect(tmp_path / "b", "slide", ["s", "t"]).groups() == ["s", "t"]
    assert group_of({"case": "c", "patient": "p", "slide": "s"}) == "p"
    assert group_of({"patient": "unknown", "case": 7}) == "7"
    assert group_of({"set": "x"}) == ""
