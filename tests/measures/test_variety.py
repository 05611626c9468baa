"""The number of kinds, against its definition and sets whose kinds are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.measures.variety import vendi_score
from reference.kernels import naive_vendi


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (10, 10)])
def test_matches_the_definition_on_either_side(shape):
    features = np.random.default_rng(0).standard_normal(shape) + 0.3
    assert vendi_score(features) == pytest.approx(naive_vendi(features), rel=1e-9)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 10))
def test_counts_orthogonal_kinds_whatever_their_length(kinds, copies, length):
    features = np.tile(np.eye(6)[:kinds] * length, (copies, 1))
    assert vendi_score(features) == pytest.approx(kinds, rel=1e-9)


def test_one_row_and_constant_features_are_one_kind():
    assert vendi_score(np.ones((1, 5))) == pytest.approx(1)
    assert vendi_score(np.ones((30, 5))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((3, 2)), "row 0 is all zero"),
        (np.full((3, 2), np.inf), "3 rows that are not finite"),
        (np.ones(3), r"shape \[3\]"),
    ],
)
def test_refuses_what_has_no_direction(features, message):
    with pytest.raises(DataError, match=message):
        vendi_score(features)
