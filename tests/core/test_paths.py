"""Paths of a table stay in its folder; names that some file system cannot store are told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.paths import place_within, storage_fault, storage_key


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CON", "'CON' is the name of a device"),
        ("nul.tile", "'nul' is the name of a device"),
        ("Com1 .x", "'Com1' is the name of a device"),
        ("LPT²", "is the name of a device"),
        ("a:b", "it holds ':'"),
        ("a\tb", r"it holds '\\t'"),
        ("what?", r"it holds '\?'"),
        ("end.", "ends in a dot or a space"),
        ("end ", "ends in a dot or a space"),
    ],
)
def test_what_windows_cannot_store_is_named(name, words):
    assert re.search(words, storage_fault(name))


@given(st.text(alphabet="abcXYZ019-_ äµ", min_size=1).filter(lambda name: name[-1] != " "))
def test_ordinary_names_are_fine(name):
    assert storage_fault(name) == ""


@pytest.mark.parametrize(("one", "two"), [("Tile", "tILE"), ("\u00e4", "a\u0308"), ("ß", "SS")])
def test_names_that_are_one_file_have_one_key(one, two):
    assert storage_key(one) == storage_key(two) != storage_key("other")
