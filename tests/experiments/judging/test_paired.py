"""Paired differences against scipy's own test, and the detectable effect against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crafts.experiments.judging.paired import (
    compare_arms,
    count_after_holm,
    find,
    paired_difference,
    say_finding,
    shift_seen,
)

NUMBERS = st.floats(-50, 50, allow_nan=False)


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8))
def test_interval_is_that_of_the_paired_t_test(pairs):
    baseline, arm = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(arm - baseline) < 1e-6:
        return  # scipy has no interval for differences without spread
    expected = stats.ttest_rel(arm, baseline).confidence_interval(0.95)
    found = paired_difference(baseline, arm)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=1e-6)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_detectable_effect_is_found_four_times_in_five(seeds):
    rng = np.random.default_rng(0)
    shift = shift_seen(seeds) / np.sqrt(seeds)  # in deviations of a difference
    draws = rng.normal(shift, 1, (40_000, seeds))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.80, abs=0.01)


def test_seeds_that_all_agree_prove_nothing():
    found = paired_difference([1.0, 2.0, 4.0], [2.0, 3.0, 5.0])
    assert (found.mean, found.low, found.high, found.detectable) == (1.0, 1.0, 1.0, 0.0)
    assert find("diversity", found) == "no effect seen"
    said = say_finding("semc", "none", "diversity", found)
    assert said.endswith("; without a spread nothing is said of chance.")


@pytest.mark.parametrize("seeds", [3, 4, 5, 8])
def test_the_detectable_effect_is_that_of_the_noncentral_t(seeds):
    critical, degrees = stats.t.ppf(0.975, seeds - 1), seeds - 1
    shift = shift_seen(seeds)
    power = stats.nct.sf(critical, degrees, shift) + stats.nct.cdf(-critical, degrees, shift)
    assert power == pytest.approx(0.80, abs=1e-8)


def test_the_p_value_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(2)
    baseline, arm = rng.normal(size=(2, 5))
    expected = stats.ttest_rel(arm, baseline).pvalue
    assert paired_difference(baseline, arm).p_value == pytest.approx(expected, rel=1e-9)


def test_differences_that_are_equal_but_for_rounding_prove_nothing():
    baseline = [13.333333333333336, 20.0, 20.000000000000004]  # shares of few images
    found = paired_difference(baseline, [value - 20 / 3 for value in baseline])
    assert found.detectable == 0 and found.p_value == 1
    assert find("grey_accuracy", found) == "no effect seen"


def test_fewer_differences_stand_when_many_are_looked_at():
    base, spread = np.arange(4.0), np.array([-1.0, 0.0, 0.0, 1.0])
    differences = [paired_difference(base, base + shift + spread) for shift in (9, 5, 1.4, 0)]
    p_values = sorted(one.p_value for one in differences)
    adjusted = np.maximum.accumulate([p * (4 - i) for i, p in enumerate(p_values)])
    assert count_after_holm(differences) == int((adjusted <= 0.05).sum()) == 2
    assert count_after_holm(differences[2:]) == 0 and count_after_holm([]) == 0
    assert [one.excludes_zero for one in differences] == [True, True, True, False]


@pytest.mark.parametrize("arm", [[1.0], [1.0, 2.0, 3.0]])
def test_refuses_seeds_that_do_not_pair(arm):
    with pytest.raises(ValueError, match="as many values of both"):
        paired_difference([1.0] * (1 if len(arm) == 1 else 2), arm)


@pytest.mark.parametrize(
    ("measure", "change", "expected"),
    [
        ("class_agreement", 2.0, "helps"),
        ("class_agreement", -2.0, "harms"),
        ("kernel_distance", -2.0, "helps"),
        ("kernel_distance", 2.0, "harms"),
        ("likeness", 2.0, "differs"),
    ],
)
def test_a_finding_knows_which_way_is_better(measure, change, expected):
    base = np.array([10.0, 20.0, 30.0])
    spread = np.array([-0.1, 0.0, 0.1])
    assert find(measure, paired_difference(base, base + change + spread)) == expected


def test_words_name_the_effect_or_what_was_not_to_be_seen():
    base = [10.0, 20.0, 30.0]
    clear = paired_difference(base, [12.0, 22.1, 31.9])
    assert say_finding("semc", "none", "class_agreement", clear) == (
        "semc: helps, class agreement +2.0 points against none (95 % interval +1.8 to +2.2), "
        "over 3 seeds."
    )
    unclear = paired_difference(base, [12.0, 18.0, 31.0])
    said = say_finding("semc", "none", "class_agreement", unclear)
    assert said.startswith("semc: no effect seen, class agreement +0.3 points against none")
    assert said.endswith(f"; an effect below {unclear.detectable:.1f} may be there unseen.")


def test_a_measure_that_is_missing_once_is_not_compared():
    values = {
        "none": {"separation": [1.0, None], "diversity": [1.0, 2.0]},
        "semc": {"separation": [1.0, 2.0], "diversity": [2.0, 4.0]},
    }
    assert list(compare_arms(values, "none")["semc"]) == ["diversity"]
