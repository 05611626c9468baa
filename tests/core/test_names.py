"""Names that some file system cannot store, or takes for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.names import storage_fault, storage_key


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
@settings(deadline=None)
def test_ordinary_names_are_fine(name):
    assert storage_fault(name) == ""


@pytest.mark.parametrize(("one", "two"), [("Tile", "tILE"), ("\u00e4", "a\u0308"), ("ß", "SS")])
def test_names_that_are_one_file_have_one_key(one, two):
    assert storage_key(one) == storage_key(two) != storage_key("other")
