"""Differences that would have been seen, against simulated draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crafts.evaluation.intervals import widen_for_few
from crafts.evaluation.power import power_of, power_of_interval


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


@settings(deadline=None)
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
