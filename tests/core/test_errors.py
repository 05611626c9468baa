"""Four parts in every message, an exit code for every kind, and a way through process borders."""

from __future__ import annotations

import pickle

import pytest

from crafts.core import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.NotYetError, 2),
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
