"""Paths of a table stay in its folder, and are found whatever the form of their accents."""

from __future__ import annotations

import pytest

from crafts.core.walk import place_within


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png"), ("sub/a.png", "sub/a.png"), ("./a.png", "./a.png"),
        ("sub/../a.png", "a.png"), ("../a.png", ""), ("sub/../../a.png", ""), ("/etc/a.png", ""),
        ("..", ""), ("..a/b.png", "..a/b.png"), ("a..b.png", "a..b.png"),
    ],
)  # fmt: skip
def test_what_leads_outside_is_no_place(tmp_path, name, expected):
    assert place_within(tmp_path, name) == expected


def test_an_absolute_path_within_the_folder_becomes_a_relative_one(tmp_path):
    assert place_within(tmp_path, str(tmp_path / "sub/a.png")) == "sub/a.png"
    assert place_within(tmp_path, str(tmp_path / "../a.png")) == ""


@pytest.mark.parametrize(
    ("stored", "named"), [("e\u0301.png", "\u00e9.png"), ("\u00e9.png", "e\u0301.png")]
)
def test_both_forms_of_an_accent_are_one_name(tmp_path, stored, named):
    (tmp_path / stored).touch()
    assert place_within(tmp_path, named) == stored
    assert place_within(tmp_path, "\u00e8.png") == "\u00e8.png"
