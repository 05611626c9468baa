"""Paired gains against scipy and statsmodels, coverage in simulated studies, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from crafts.core.errors import DataError
from crafts.downstream.statistics import (
    balanced_weights,
    calibration_error,
    equivalence,
    holm,
    least_per_class,
    paired_gain,
)


def test_one_tile_a_patient_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    base = rng.normal(size=60)
    arm = base + rng.normal(0.3, 1, size=60)
    gain = paired_gain(arm - base, range(60), resamples=20_000)
    truth = stats.ttest_rel(arm, base)
    interval = truth.confidence_interval()
    assert gain.mean == pytest.approx(float((arm - base).mean()))
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert gain.p == pytest.approx(float(truth.pvalue), rel=0.15)


def test_patients_are_the_unit_as_in_cluster_robust_regression():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(3, 12, 40))
    values = rng.normal(size=40)[groups] + rng.normal(size=len(groups)) + 0.4
    gain = paired_gain(values, groups.tolist(), resamples=20_000)
    fitted = api.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    low, high = fitted.conf_int()[0]
    assert gain.mean == pytest.approx(fitted.params[0])
    assert gain.high - gain.low == pytest.approx(high - low, rel=0.06)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = [0.001, 0.2, 0.012, 0.04, 0.04, 0.9, 0.011]
    assert holm(values) == pytest.approx(multitest.multipletests(values, method="holm")[1])


def test_repetitions_that_differ_widen_the_interval():
    rng = np.random.default_rng(2)
    tiles, groups = rng.normal(0.2, 1, size=200), np.repeat(np.arange(40), 5).tolist()
    alike = paired_gain(np.stack([tiles] * 5), groups)
    apart = paired_gain(tiles + np.array([-1, -0.5, 0, 0.5, 1])[:, None], groups)
    assert apart.mean == pytest.approx(alike.mean)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)
    assert apart.p > alike.p and apart.visible > alike.visible


def test_the_interval_holds_the_truth_in_nineteen_of_twenty_studies():
    rng = np.random.default_rng(3)
    held, truth, patients, seeds = 0, 0.05, 20, 5
    for study in range(300):
        groups = np.repeat(np.arange(patients), rng.integers(2, 12, patients))
        share = truth + 0.2 * rng.normal(size=patients)[groups]
        draws = share + 0.1 * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, len(groups)))
        gain = paired_gain(draws, groups.tolist(), resamples=200, seed=study)
        held += gain.low <= truth <= gain.high
    assert held / 300 >= 0.93


def test_an_effect_of_the_visible_size_is_seen_in_four_of_five_studies():
    rng = np.random.default_rng(4)
    visible = paired_gain(rng.normal(size=(1, 400)), range(400)).visible
    seen = [
        paired_gain(rng.normal(visible, 1, size=(1, 400)), range(400), resamples=100).p < 0.05
        for _ in range(200)
    ]
    assert 0.7 < np.mean(seen) < 0.9


def test_arms_that_agree_everywhere_show_nothing():
    gain = paired_gain(np.zeros((3, 12)), list("aaabbbcccddd"))
    assert (gain.mean, gain.low, gain.high, gain.p, gain.visible) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize("groups", [["a", "a", "b", "b"], ["a", "b", "c"]])
def test_few_patients_and_wrong_shapes_are_refused(groups):
    with pytest.raises(DataError, match="expected"):
        paired_gain(np.zeros((2, 4)), groups)


def test_calibration_error_by_hand():
    # two bins: 0.9 sure and half right, 0.3 sure and all right
    sure, right = [0.9, 0.9, 0.3, 0.3], [1, 0, 1, 1]
    assert calibration_error(sure, right) == pytest.approx((0.4 * 2 + 0.7 * 2) / 4)
    assert calibration_error([1.0, 1.0], [1, 1]) == 0


def test_balanced_weights_make_a_mean_over_classes():
    labels = np.array([0, 0, 0, 1])
    right = np.array([1, 1, 0, 0])
    assert (balanced_weights(labels) * right).mean() == pytest.approx((2 / 3 + 0) / 2)
    assert balanced_weights(labels).mean() == pytest.approx(1)


def test_smaller_gains_need_more_tiles():
    assert least_per_class(0.2, 2) == 20
    assert least_per_class(0.1, 2) == 79
    assert least_per_class(0.2, 9) < least_per_class(0.2, 2)


def test_two_one_sided_tests_are_those_of_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(5)
    change = rng.normal(0.1, 1, size=80)
    low, high, p = equivalence(paired_gain(change, range(80), resamples=20_000), 0.4)
    truth = weightstats.DescrStatsW(change)
    assert p == pytest.approx(truth.ttost_mean(-0.4, 0.4)[0], rel=0.2)
    assert (low, high) == pytest.approx(truth.tconfint_mean(alpha=0.1), abs=0.01)
    same = paired_gain(np.zeros(12), list("aaabbbcccddd"))
    assert equivalence(same, 0.05) == (0, 0, 0)
