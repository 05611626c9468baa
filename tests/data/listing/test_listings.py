"""A JSON list is read member by member, and equals what the json module reads at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.data.listing.listings import index_images, iter_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    value=st.lists(VALUES, max_size=5) | st.dictionaries(st.text(), VALUES, max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_members_equal_those_of_the_json_module(tmp_path_factory, value, chunk, indent, ascii_only):
    path = tmp_path_factory.mktemp("json") / "list.json"
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(DataError, match="unreadable"):
            list(iter_members(path, chunk))
        return
    found = list(iter_members(path, chunk))
    if isinstance(value, dict):
        assert found == list(value.items())
    else:
        assert found == [(str(number), one) for number, one in enumerate(value, 1)]


@pytest.mark.parametrize(
    "text",
    ["", "3", '"a"', "[", "[1", "[1,", "[1 2]", "[1,]", '{"a"}', '{"a": }', "[1] x", "[{]", "[}"],
)
@pytest.mark.parametrize("chunk", [1, 100])
def test_what_is_no_list_is_refused(tmp_path, text, chunk):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected a JSON list or object"):
        list(iter_members(path, chunk))


def test_a_deeply_nested_file_is_refused(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[" + "[" * 200_000)
    with pytest.raises(DataError, match="no JSON at member 1"):
        list(iter_members(path))


def test_images_are_found_by_name_and_stem_in_any_case(tmp_path):
    for name in ("a/One.PNG", "b/two.jpg", "c/two.jpg", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    index = index_images(tmp_path)
    assert index["one"] == index["one.png"] == index["a/one"] == "a/One.PNG"
    assert index["two"] == "" and index["c/two"] == "c/two.jpg"  # two of this name
    assert "notes" not in index
