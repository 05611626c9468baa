"""Distances against scipy's matrix root, torchmetrics and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import (
    KernelInceptionDistance,
    maximum_mean_discrepancy,
    poly_mmd,
)

from crafts.core.errors import ConfigError, DataError
from crafts.measures import distances
from crafts.measures.distances import (
    Moments,
    cmmd,
    frechet_distance,
    frechet_from_moments,
    frechet_infinity,
    frechet_is_meaningful,
    kernel_distance,
    moments,
    normalised_frechet_distance,
)
from crafts.measures.rows import Generated
from reference.frechet import gaussian, root_frechet, root_frechet_infinity
from reference.kernels import naive_cmmd


class AsGiven(torch.nn.Module):
    """Stands where torchmetrics has its Inception network: features come in and go out."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, features):
        return features


def two_sets(rows=200, width=12, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width))
    return rng.standard_normal((rows, width)) @ mix, rng.standard_normal((rows + 30, width)) + 0.4


def test_frechet_matches_scipy_sqrtm():
    real, generated = two_sets()
    expected = root_frechet(gaussian(real), gaussian(generated))
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_diagonal_gaussians_is_closed_form():
    rng = np.random.default_rng(1)
    white = rng.standard_normal((500, 5))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    scales, shift = np.array([1.0, 2, 3, 0, 0.5]), np.arange(5.0)
    expected = (shift**2).sum() + ((scales - 1) ** 2).sum()
    assert frechet_distance(white, white * scales + shift) == pytest.approx(expected, abs=1e-9)


def test_frechet_with_fewer_rows_than_width_and_with_itself():
    rng = np.random.default_rng(2)
    real = rng.standard_normal((9, 64))
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real, real + 1) == pytest.approx(64, rel=1e-9)


def test_frechet_is_symmetric_and_takes_float32_tensors():
    real, generated = two_sets()
    there = frechet_distance(torch.tensor(real).float(), torch.tensor(generated).float())
    assert there == pytest.approx(frechet_distance(generated, real), rel=1e-5)


@pytest.mark.parametrize("rows", [12, 40, 500])
def test_frechet_agrees_with_torchmetrics(rows):
    real, generated = two_sets(rows=rows, width=20)
    metric = FrechetInceptionDistance(feature=AsGiven(20)).set_dtype(torch.float64)
    metric.update(torch.tensor(real), real=True)
    metric.update(torch.tensor(generated), real=False)
    assert frechet_distance(real, generated) == pytest.approx(float(metric.compute()), rel=1e-4)


@pytest.mark.parametrize("rows", [12, 500])
def test_frechet_from_moments_is_that_of_the_rows(rows):
    real, generated = two_sets(rows=rows, width=20)
    found = frechet_from_moments(moments(real), moments(generated))
    assert found == pytest.approx(frechet_distance(real, generated), rel=1e-6)
    assert found == pytest.approx(
        root_frechet(gaussian(real), gaussian(generated)), rel=1e-4 if rows == 12 else 1e-9
    )


def test_frechet_of_known_gaussians():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    variances = np.array([4.0, 1.0, 0.25])
    first = Moments(np.zeros(3), rotation @ np.diag(variances) @ rotation.T)
    second = Moments(np.array([1.0, 2.0, 2.0]), rotation @ np.diag(variances * 9) @ rotation.T)
    # of commuting covariances: |gap|² + the squared distance of the standard deviations
    expected = 9 + (np.sqrt(variances) ** 2 * 4).sum()
    assert frechet_from_moments(first, second) == pytest.approx(expected, rel=1e-12)


def broken(**parts):
    return Moments(np.zeros(2), np.eye(2))._replace(**parts)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (broken(mean=np.zeros(3)), r"moments: real: a mean \[3\] and a covariance \[2, 2\]"),
        (broken(covariance=np.full((2, 2), np.nan)), r"finite numbers, \[D\] and \[D, D\]"),
        (broken(covariance=np.array([[1.0, 0.5], [0, 1]])), "a covariance that is not symmetric"),
        (broken(covariance=np.diag([1.0, -0.1])), "a covariance with an eigenvalue of -0.1"),
        (Moments(np.zeros(3), np.eye(3)), "features: width 3 for real and 2 for generated"),
    ],
)
def test_moments_that_are_none_are_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        frechet_from_moments(wrong, broken())


unit_sets = arrays(
    np.float64, st.tuples(st.integers(2, 6), st.just(3)), elements=st.floats(-1, 1, width=16)
).map(lambda rows: rows + 2 * np.eye(3)[0] * (np.abs(rows).max(axis=1, keepdims=True) == 0))


@settings(max_examples=60)
@given(unit_sets, unit_sets)
def test_normalised_frechet_is_at_most_four(real, generated):
    assert 0 <= normalised_frechet_distance(real, generated) <= 4 + 1e-9


def test_normalised_frechet_knows_no_length_and_reaches_four():
    real, generated = two_sets()
    scaled = real * np.arange(1, 1 + len(real))[:, None]
    expected = frechet_distance(
        real / np.linalg.norm(real, axis=1)[:, None],
        generated / np.linalg.norm(generated, axis=1)[:, None],
    )
    assert normalised_frechet_distance(scaled, generated) == pytest.approx(expected, rel=1e-12)
    ends = np.array([[1.0, 0], [1, 0]])
    assert normalised_frechet_distance(ends, -ends) == pytest.approx(4)
    with pytest.raises(DataError, match="features: generated: row 0 is all zero"):
        normalised_frechet_distance(ends, 0 * ends)


@pytest.mark.parametrize(("num", "meant"), [(1023, False), (1024, True)])
def test_frechet_needs_twice_as_many_rows_as_width(num, meant):
    assert frechet_is_meaningful(num, 512) is meant


def test_frechet_infinity_is_the_line_at_zero():
    real, generated = two_sets(rows=400, width=6)
    found = frechet_infinity(real, generated, num_points=5, seed=3)
    assert found == pytest.approx(root_frechet_infinity(real, generated, 5, 3), rel=1e-9)
    assert found == frechet_infinity(real, generated, num_points=5, seed=3)
    assert found != frechet_infinity(real, generated, num_points=5, seed=4)


def test_frechet_infinity_needs_no_more_of_the_real_rows_than_their_moments():
    real, generated = two_sets(rows=400, width=6)
    found = frechet_infinity(moments(real), generated, num_points=5)
    assert found == pytest.approx(frechet_infinity(real, generated, num_points=5), rel=1e-9)
    with pytest.raises(DataError, match="width 6 for real and 3 for generated"):
        frechet_infinity(moments(real), generated[:, :3])
    with pytest.raises(ConfigError, match="Swap the arguments"):
        frechet_infinity(Generated(moments(real)), generated)


def test_frechet_infinity_takes_most_of_the_bias_away():
    rng = np.random.default_rng(0)
    real = rng.standard_normal((20_000, 16))
    pairs = [
        (frechet_distance(real, rows), frechet_infinity(real, rows, seed=seed))
        for seed, rows in enumerate(rng.standard_normal((5, 400, 16)))
    ]
    raw, extrapolated = np.mean(pairs, axis=0)
    assert abs(extrapolated) < 0.2 * raw


def test_frechet_infinity_refuses_what_gives_no_line():
    with pytest.raises(DataError, match=r"31 rows of width 8; expected at least 32 rows"):
        frechet_infinity(np.ones((40, 8)), np.ones((31, 8)))
    with pytest.raises(ConfigError, match="num_points: 2; expected at least 3"):
        frechet_infinity(np.ones((40, 8)), np.ones((40, 8)), num_points=2)


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("sigma", [10.0, 2.0])
def test_cmmd_matches_all_pairs(scale, sigma):
    real, generated = two_sets(rows=25, width=5)
    expected = naive_cmmd(real, generated, sigma, scale)
    assert cmmd(real, generated, sigma=sigma, scale=scale) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.05])
@pytest.mark.parametrize("common", [0.0, 3.0])
def test_cmmd_of_large_sets_is_that_of_all_pairs(shift, common, monkeypatch):
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(64))
    real = rng.standard_normal((600, 64)) * scale + common * scale[::-1]
    generated = rng.standard_normal((500, 64)) * scale + (common + shift) * scale[::-1]
    pairs = cmmd(real, generated)
    monkeypatch.setattr(distances, "_PAIRS_UP_TO", 100)
    assert cmmd(real, generated) == pytest.approx(pairs, rel=1e-5)


def test_cmmd_by_series_keeps_its_bound_at_worst(monkeypatch):
    ends = np.array([[1.0, 0], [1, 0], [1, 0.1]])
    pairs = cmmd(ends, -ends)
    monkeypatch.setattr(distances, "_PAIRS_UP_TO", 1)
    assert cmmd(ends, -ends) == pytest.approx(pairs, abs=1000 / 10**6)


def test_cmmd_of_a_set_with_itself_is_zero_and_sees_no_length():
    real, generated = two_sets()
    assert cmmd(real, 5 * real) == pytest.approx(0, abs=1e-9)
    assert cmmd(real, 5 * generated) == pytest.approx(cmmd(real, generated), rel=1e-9)


def test_cmmd_refuses_a_kernel_without_width():
    with pytest.raises(ConfigError, match="cmmd: sigma: 0; expected above 0"):
        cmmd(np.ones((3, 2)), np.ones((3, 2)), sigma=0)


def test_constant_features_are_their_gap_apart():
    real, generated = np.full((9, 4), 1.0), np.full((7, 4), 3.0)
    assert frechet_distance(real, generated) == pytest.approx(16)
    assert kernel_distance(real, generated)[0] == pytest.approx(8 + 1000 - 2 * 64)
    assert cmmd(real, generated) == pytest.approx(0, abs=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kernel_agrees_with_the_metric_of_torchmetrics():
    real, generated = two_sets(rows=60)
    generated = generated[:60]
    metric = KernelInceptionDistance(feature=AsGiven(12), subsets=2, subset_size=60)
    metric.set_dtype(torch.float64)
    metric.update(torch.tensor(real), real=True)
    metric.update(torch.tensor(generated), real=False)
    found = kernel_distance(real, generated, num_subsets=2)[0]
    assert found == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_kernel_matches_torchmetrics_on_whole_sets():
    real, generated = two_sets(rows=80)
    generated = generated[:80]
    expected = float(poly_mmd(torch.tensor(real), torch.tensor(generated), degree=3, coef=1.0))
    mean, std = kernel_distance(real, generated, num_subsets=3)
    assert mean == pytest.approx(expected, rel=1e-10)
    assert std == pytest.approx(0, abs=1e-9)


def test_kernel_matches_a_naive_loop():
    real, generated = two_sets(rows=7, width=3)
    generated = generated[:7]

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / 3 + 1) ** 3

    total = 0.0
    for i in range(7):
        for j in range(7):
            if i != j:
                total += (kernel(real[i], real[j]) + kernel(generated[i], generated[j])) / 42
            total -= 2 * kernel(real[i], generated[j]) / 49
    assert kernel_distance(real, generated, num_subsets=1)[0] == pytest.approx(total, rel=1e-12)


def test_torchmetrics_estimator_is_the_unbiased_one():
    real, _ = two_sets(rows=40)
    gram = torch.tensor((real @ real.T / real.shape[1] + 1) ** 3)
    expected = float(maximum_mean_discrepancy(gram, gram, gram))
    assert kernel_distance(real, real, num_subsets=1)[0] == pytest.approx(expected, rel=1e-10)


def test_kernel_has_no_bias_between_halves_of_one_population():
    rng = np.random.default_rng(3)
    values = [
        kernel_distance(rng.standard_normal((40, 4)), rng.standard_normal((40, 4)), num_subsets=1)[
            0
        ]
        for _ in range(300)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)


def test_kernel_is_decided_by_its_seed():
    real, generated = two_sets()
    one = kernel_distance(real, generated, subset_size=50, num_subsets=5, seed=1)
    assert one == kernel_distance(real, generated, subset_size=50, num_subsets=5, seed=1)
    assert one != kernel_distance(real, generated, subset_size=50, num_subsets=5, seed=2)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "width 3 for real and 4 for generated"),
        (np.zeros(5), np.zeros((5, 4)), r"features: real: shape \[5\]"),
        (np.zeros((5, 3)), np.zeros((1, 3)), r"features: generated: shape \[1, 3\]"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), r"5 rows that are not finite \(first: row 0\)"),
    ],
)
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_bad_sets_are_refused(distance, real, generated, message):
    with pytest.raises(DataError, match=message):
        distance(real, generated)


@pytest.mark.parametrize("wrong", [{"num_subsets": 0}, {"subset_size": 1}])
def test_kernel_refuses_empty_subsets(wrong):
    with pytest.raises(
        ConfigError, match="num_subsets of at least 1 and subset_size of at least 2"
    ):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 3)), **wrong)
