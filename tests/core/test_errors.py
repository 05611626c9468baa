"""Four parts in every message, an exit code for every kind, and a way through process borders."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from crafts.core import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.DataError, 3),
        (errors.IntegrityError, 3),
        (errors.RetryError, 75),
    ],
)
def test_message_code_and_pickle(kind, code):
    error = kind("file: field", came="this", allowed="that", do="Do so.")
    assert str(error) == "file: field: this; expected that. Do so."
    assert error.exit_code == code
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error) and again.do == "Do so."


def test_a_refusal_keeps_what_its_errors_share():
    bad = errors.refusal(errors.DataError, allowed="a table", do="Save it again.")
    for where in (Path("a.csv"), "a.csv"):
        error = bad(where, "no header")
        assert isinstance(error, errors.DataError) and error.exit_code == 3
        assert str(error) == "a.csv: no header; expected a table. Save it again."


def test_the_first_line_of_an_error_or_its_name():
    assert errors.first_line(ValueError("one\ntwo")) == "one"
    assert errors.first_line(ValueError()) == errors.first_line(ValueError("\n")) == "ValueError"
