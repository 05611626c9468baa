"""YAML and JSON of anyone: a value or one line of reason, at once, whatever it holds."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.config import Config, load_config
from crafts.core.errors import ConfigError
from crafts.core.parsing import TooLargeError, parse_json, parse_yaml, shorten

LAUGH = "\n".join(
    ['a0: &a0 ["x", "x", "x", "x", "x", "x", "x", "x", "x", "x"]']
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
)
CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100))])


class Settings(Config):
    seed: int = 0
    name: str = ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGH, "more than 100000 values"),
        (CHAIN, "more than 64 levels"),
        ("[" * 10_000, "more than 64 levels"),
        ("seed: " + "1" * 6000, "a number of 6000 digits"),
        ("seed: 0x" + "f" * 6000, "a number of 6002 digits"),
        ("# " + "x" * 3_000_000, "at most 2000000"),
    ],
)
def test_a_document_beyond_the_bounds_is_refused(tmp_path, text, words):
    with pytest.raises(TooLargeError, match=words):
        parse_yaml(text)
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"r\.yaml: unreadable YAML \(.*{words}") as caught:
        load_config(Settings, path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    ["!!int ''", "!!bool x", "!!timestamp x", "a: 2024-13-45", "!!binary '*'", "{[a]: b}", "a: [",
     "!!python/object/apply:os.system ['true']", "&a [*a", "*a", "!!int " + "1" * 6000, "\x00",
     "1:" * 30 + "1: 2", "!!float ''", "? {a: b}\n: c"],
)  # fmt: skip
def test_what_fits_no_tag_or_grammar_has_a_reason_in_one_line(text):
    with pytest.raises(ValueError) as caught:
        if isinstance(parse_yaml(text), bytes | dict | str):  # fair readings
            raise ValueError("read")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=" + "1" * 6000, "--set seed: a number of 6000 digits; at most 100"),
        ("seed=" + "[" * 6000, "--set seed: more than 64 levels"),
        ("a." * 6000 + "b=1", "6001 levels; expected a.b=value"),
        ("seed=!!int 0x" + "f" * 6000, "--set seed: a number of 6002 digits; at most 100"),
        ("x" * 6000, "no `=`"),
    ],
)
def test_an_override_beyond_the_bounds_is_refused_in_one_line(override, words):
    with pytest.raises(ConfigError) as caught:
        load_config(Settings, None, [override])
    assert words in str(caught.value) and len(str(caught.value)) < 400


def test_an_override_that_is_no_yaml_is_a_text():
    assert load_config(Settings, None, ["name=[a"]).name == "[a"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_yaml_writes_is_read_back(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse_yaml(text) == yaml.safe_load(text)


def read(parse, text):
    try:
        parse(text)
    except ValueError as error:
        assert "\n" not in str(error) or parse is parse_json


@given(st.text() | st.text(alphabet="[]{}&*a:,-!|>?'\"\n 01.eE+~<=", max_size=60))
@settings(max_examples=60)
def test_any_text_is_a_value_or_a_reason(text):
    read(parse_yaml, text)
    read(parse_json, text)


@pytest.mark.soak
@given(st.text(alphabet="[]{}&*abc:,-!|>?'\"\n 01.eE+~<=%@`#\t", max_size=120))
@settings(max_examples=10_000)
def test_ten_thousand_texts_are_values_or_reasons(text):
    read(parse_yaml, text)
    read(parse_json, text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, b"\xff", "{"])
def test_json_that_cannot_be_read_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_any_value_is_short_in_a_message():
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    for value in (deep, 10**6000, "x" * 10**6, list(range(10**6)), {"a": "b"}):
        assert len(shorten(value)) <= 80
    assert shorten({"a": "b"}) == "{'a': 'b'}"
