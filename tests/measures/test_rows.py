"""Checked rows and the marks that keep two sets apart."""

import numpy as np
import pytest

from crafts.core.errors import ConfigError
from crafts.evaluation import (
    frechet_distance,
    image_alignment,
    kernel_distance,
    prdc,
    prompt_alignment,
)
from crafts.measures.distances import (
    cmmd,
    frechet_from_moments,
    frechet_infinity,
    moments,
    normalised_frechet_distance,
)
from crafts.measures.rows import Generated, Real, check_features

RNG = np.random.default_rng(0)
ONE, TWO = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 4)) + 1


@pytest.mark.parametrize(
    "measure",
    [
        frechet_distance,
        normalised_frechet_distance,
        frechet_infinity,
        kernel_distance,
        cmmd,
        prdc,
    ],
)
def test_marked_sets_stand_in_their_own_place_only(measure):
    assert measure(Real(ONE), Generated(TWO)) == measure(ONE, TWO)
    with pytest.raises(
        ConfigError,
        match="features: real: a set marked as generated; expected one marked as real, or no mark. "
        "Swap the arguments.",
    ):
        measure(Generated(TWO), Real(ONE))
    with pytest.raises(ConfigError, match="features: generated: a set marked as real"):
        measure(Real(ONE), Real(TWO))


def test_moments_are_marked_alike():
    first, second = moments(ONE), moments(TWO)
    assert frechet_from_moments(Real(first), Generated(second)) == pytest.approx(
        frechet_distance(ONE, TWO)
    )
    with pytest.raises(ConfigError, match="marked as generated"):
        frechet_from_moments(Generated(second), Real(first))


def test_alignment_names_generated_first():
    assert image_alignment(Generated(ONE), Real(TWO)) == image_alignment(ONE, TWO)
    with pytest.raises(ConfigError, match="features: generated: a set marked as real"):
        image_alignment(Real(TWO), Generated(ONE))


def test_places_without_a_role_take_either_mark():
    assert prompt_alignment(Generated(ONE), TWO) == prompt_alignment(Real(ONE), TWO)


def test_features_become_float64():
    assert check_features(np.ones((2, 2), dtype=np.float16), "x").dtype == np.float64
