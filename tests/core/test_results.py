"""Results as strict JSON, read back by a parser that knows nothing of them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.results import Number, ResultFile


class Scores(ResultFile):
    score: Number = None
    by_class: dict[str, Number] = {}
    limit: float = 0.0


@given(st.floats() | st.integers(-(2**53), 2**53) | st.none())
def test_what_is_not_finite_is_null(value):
    found = json.loads(Scores(score=value, by_class={"a": value}).to_json())
    expected = None if value is None or not math.isfinite(value) else float(value)
    assert found["score"] == found["by_class"]["a"] == expected


def test_text_stays_readable():
    assert '"Gewebe ä": 1.0' in Scores(by_class={"Gewebe ä": 1}).to_json()


def test_a_plain_number_that_is_not_finite_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Scores(limit=math.nan).to_json()
