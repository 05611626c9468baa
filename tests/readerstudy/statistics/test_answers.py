"""Proportions, detection, agreement and equivalence against other people's code and papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, roc_auc_score

from crafts.readerstudy.statistics import agreement, detection, equivalence, proportions
from crafts.readerstudy.statistics.estimates import Estimate

statsmodels = pytest.importorskip("statsmodels.stats.api")


@pytest.mark.parametrize(("hits", "number"), [(0, 7), (3, 10), (10, 10), (57, 99)])
def test_wilson_is_that_of_statsmodels(hits, number):
    low, high = statsmodels.proportion_confint(hits, number, method="wilson")
    found = proportions.wilson(hits, number)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_no_tries_tell_nothing():
    found = proportions.wilson(0, 0)
    assert math.isnan(found.value) and (found.low, found.high) == (0, 1)


@pytest.fixture
def answers():
    rng = np.random.default_rng(3)
    synthetic = rng.random(60) < 0.4
    called = (rng.random(60) < np.where(synthetic, 0.7, 0.4)).astype(float)
    called[5] = np.nan
    return called, synthetic


def test_counts_are_those_of_sklearn(answers):
    called, synthetic = answers
    known = ~np.isnan(called)
    found = proportions.count(*answers)
    (tr, fs), (fr, ts) = confusion_matrix(synthetic[known], called[known])
    ours = found.true_synthetic, found.false_synthetic, found.true_real, found.false_real
    assert ours == (ts, fs, tr, fr)
    both = [f1_score(synthetic[known], called[known], pos_label=k) for k in (1, 0)]
    assert proportions.f1(found) == pytest.approx(both)


def test_one_answer_for_all_scores_two_thirds_and_is_named():
    synthetic = np.repeat([True, False], 50)
    found = proportions.count(np.ones(100), synthetic)
    assert found.is_one_class
    assert proportions.f1(found)[0] == pytest.approx(2 / 3)
    assert proportions.f1(found)[0] == pytest.approx(proportions.f1_of_one_answer(0.5))
    assert proportions.balanced_accuracy(found).value == 0.5
    guess = proportions.count(np.tile([0.0, 1.0], 50), synthetic)
    assert not guess.is_one_class and proportions.f1(guess)[0] == 0.5


def test_scores_order_answers_by_confidence():
    scores = detection.score(np.array([0, 0, 1, 1, np.nan]), np.array([5, 1, 1, 5, 3]))
    assert scores[:4].tolist() == [1, 5, 6, 10] and np.isnan(scores[4])


def test_area_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    scores, synthetic = rng.integers(1, 11, 50).astype(float), rng.random(50) < 0.5
    assert detection.area(scores, synthetic) == pytest.approx(roc_auc_score(synthetic, scores))
    assert math.isnan(detection.area(scores, np.zeros(50, bool)))


def test_d_prime_of_known_rates():
    found = proportions.Confusion(69, 31, 69, 31)
    value, criterion = detection.d_prime(found)
    assert value.value == pytest.approx(2 * stats.norm.ppf(69.5 / 101))
    assert criterion.value == 0
    perfect, _ = detection.d_prime(proportions.Confusion(50, 0, 50, 0))
    assert math.isfinite(perfect.value) and perfect.low > 3


def test_d_prime_interval_holds_the_truth():
    rng = np.random.default_rng(0)
    truth, number, held = 1.0, 60, 0
    for _ in range(1000):
        hits = rng.binomial(number, stats.norm.cdf(truth / 2))
        alarms = rng.binomial(number, stats.norm.cdf(-truth / 2))
        found = proportions.Confusion(hits, alarms, number - alarms, number - hits)
        value, _ = detection.d_prime(found)
        held += value.low <= truth <= value.high
    assert 930 <= held <= 975


@pytest.fixture
def ratings():
    rng = np.random.default_rng(5)
    base = rng.integers(1, 5, 40)
    noise = rng.integers(-1, 2, (4, 40)) * (rng.random((4, 40)) < 0.5)
    return np.clip(base + noise, 1, 4).astype(float)


def test_fleiss_is_that_of_statsmodels(ratings):
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    theirs = fleiss_kappa(aggregate_raters(ratings.T.astype(int))[0])
    assert agreement.fleiss_kappa(ratings) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_that_of_sklearn_and_statsmodels(ratings, weights):
    from statsmodels.stats.inter_rater import cohens_kappa

    first, second = ratings[:2].astype(int)
    ours = agreement.cohen_kappa(*ratings[:2], weights)
    kind = None if weights == "none" else weights
    assert ours == pytest.approx(cohen_kappa_score(first, second, weights=kind), abs=1e-12)
    table = np.zeros((4, 4))
    np.add.at(table, (first - 1, second - 1), 1)
    power = {"none": None, "linear": "linear", "quadratic": "quadratic"}[weights]
    theirs = cohens_kappa(table, wt=power)["kappa"]
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorffs_own_example(scale, alpha):
    """Krippendorff 2011, section C: four observers, twelve units, answers missing."""
    nan = np.nan
    data = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    assert agreement.krippendorff_alpha(data, scale) == pytest.approx(alpha, abs=5e-4)


def test_agreement_without_variety_is_unknown():
    same = np.ones((3, 5))
    values = agreement.fleiss_kappa(same), agreement.cohen_kappa(*same[:2])
    assert all(math.isnan(value) for value in values)
    assert math.isnan(agreement.krippendorff_alpha(same, "nominal"))
    assert math.isnan(agreement.krippendorff_alpha(np.full((2, 3), np.nan), "nominal"))


def test_interval_over_items_holds_its_value(ratings):
    found = agreement.over_items(ratings, agreement.fleiss_kappa, num_resamples=200)
    assert found.low < found.value < found.high
    assert found == agreement.over_items(ratings, agreement.fleiss_kappa, num_resamples=200)


def test_two_one_sided_tests_are_those_of_statsmodels():
    sample = np.random.default_rng(1).normal(0.05, 1, 40)
    theirs = statsmodels.DescrStatsW(sample).ttost_mean(-0.4, 0.4)[0]
    se = float(stats.sem(sample))
    found = equivalence.two_one_sided(
        Estimate(float(sample.mean()), 0, 0, se, 39), null=0, margin=0.4
    )
    assert found.p == pytest.approx(theirs, abs=1e-12)
    assert found.shown == (-0.4 < found.low and found.high < 0.4)


def test_no_evidence_is_no_equivalence():
    wide = Estimate(0.5, 0.1, 0.9, 0.2, 4)
    found = equivalence.two_one_sided(wide, null=0.5, margin=0.1)
    assert not found.shown and not found.excluded
    apart = equivalence.two_one_sided(Estimate(0.9, 0, 0, 0.01, 30), null=0.5, margin=0.1)
    assert apart.excluded and not apart.shown
    assert math.isnan(equivalence.two_one_sided(Estimate(1, 1, 1, 0.0), null=1, margin=1).p)
