"""Spread and intervals: known answers, and coverage of the truth in simulated studies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import frechet_distance
from crafts.measures.intervals import (
    group_interval,
    power_of,
    power_of_interval,
    widen_for_few,
)

TRUTH = 5.0


def study(rng, groups):
    """Rows of patients that differ: tiles of one are alike, and some have many more than others."""
    sizes = rng.integers(2, 20, groups)
    means = 7 * rng.beta(5.0, 2.0, groups)  # true mean 5, skewed as cosines are
    values = np.repeat(means, sizes) + 0.5 * rng.standard_normal(sizes.sum())
    return values, np.repeat(np.arange(groups), sizes)


@pytest.mark.parametrize("groups", [10, 30])
def test_interval_holds_the_truth_in_95_percent_of_studies(groups):
    rng = np.random.default_rng(groups)
    held = 0
    for number in range(500):
        found = group_interval(*study(rng, groups), num_resamples=400, seed=number)
        held += found.low <= TRUTH <= found.high
    assert 0.93 <= held / 500 <= 0.97


def test_rows_as_groups_would_claim_too_much():
    """Why patients are drawn and not tiles: the same studies, each tile taken for a patient."""
    rng = np.random.default_rng(0)
    held = 0
    for number in range(100):
        values, _ = study(rng, 25)
        found = group_interval(values, np.arange(len(values)), num_resamples=200, seed=number)
        held += found.low <= TRUTH <= found.high
    assert held / 100 < 0.7


def test_interval_is_seeded_and_knows_its_sizes():
    values, groups = study(np.random.default_rng(1), 12)
    names = [f"patient {g}" for g in groups]
    found = group_interval(values, names, seed=3)
    assert found == group_interval(values, names, seed=3)
    assert found != group_interval(values, names, seed=4)
    assert (found.num_rows, found.num_groups, found.level) == (len(values), 12, 0.95)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    wide = group_interval(values, names, seed=3, level=0.99)
    assert wide.low < found.low and wide.high > found.high


def test_interval_of_constant_values_is_a_point():
    found = group_interval(np.full(10, 0.25), np.arange(10))
    assert found.low == found.mean == found.high == 0.25


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        (np.ones(8), np.arange(8) % 7, "7 groups; expected at least 8"),
        (np.ones(8), np.arange(7), r"values \[8\] and groups \[7\]"),
        (np.full(8, np.nan), np.arange(8), "one finite value and one group a row"),
        (np.ones((8, 2)), np.arange(8), r"values \[8, 2\]"),
    ],
)
def test_interval_refuses_what_is_no_mean_over_groups(values, groups, message):
    with pytest.raises(DataError, match=message):
        group_interval(values, groups)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"num_resamples": 10}])
def test_interval_refuses_wrong_numbers(wrong):
    with pytest.raises(ConfigError, match="level between 0 and 1 and num_resamples of at least"):
        group_interval(np.ones(8), np.arange(8), **wrong)


def test_a_bootstrap_of_the_frechet_distance_misses_its_own_value():
    """Why there is none: copies act like fewer rows, and the distance is biased by C / N."""
    rng = np.random.default_rng(0)
    real, generated = rng.standard_normal((400, 32)), rng.standard_normal((400, 32))
    boots = [
        frechet_distance(real[rng.integers(0, 400, 400)], generated[rng.integers(0, 400, 400)])
        for _ in range(40)
    ]
    assert min(boots) > 1.2 * frechet_distance(real, generated)


def test_four_tries_in_five_show_the_visible_difference():
    """Two means of draws whose spread is known, farther apart than both spreads together."""
    rng = np.random.default_rng(0)
    spread = 0.3
    power = power_of(spread, 10_000, wanted=1.0)
    got = rng.normal(power.visible, spread, 100_000)
    floor = rng.normal(0.0, spread, 100_000)
    assert np.mean(got - floor > 2 * spread) == pytest.approx(0.8, abs=0.01)


def test_few_groups_are_widened_as_student_says():
    assert widen_for_few(10**6, 2.0) == pytest.approx(1, abs=1e-4)
    assert widen_for_few(3, 2.0) == pytest.approx(stats.t.ppf(stats.norm.cdf(2), 3) / 2)
    assert widen_for_few(0, 2.0) == widen_for_few(1, 2.0) > 6


@given(
    st.floats(1e-6, 1e3),
    st.integers(2, 200),
    st.floats(1e-6, 1e3),
)
def test_the_groups_that_are_needed_are_the_least(spread, groups, wanted):
    power = power_of(spread, groups, wanted)
    if power.enough:
        assert power.needed == groups
    elif power.needed is not None:
        assert groups < power.needed <= 100_000
        scaled = [spread * np.sqrt(groups / n) for n in (power.needed, power.needed - 1)]
        assert power_of(scaled[0], power.needed, wanted).visible <= wanted * (1 + 1e-9)
        assert power_of(scaled[1], power.needed - 1, wanted).visible > wanted * (1 - 1e-9)


def test_nothing_is_enough_for_no_difference():
    assert power_of(0.1, 10, 0.0).needed is None and not power_of(0.1, 10, 0.0).enough
    assert power_of_interval(10.0, 20, 5.0).needed == 80
    assert power_of_interval(4.0, 20, 5.0).enough
