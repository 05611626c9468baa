"""Distances against scipy's matrix root, torchmetrics and closed forms."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_mmd

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import frechet_distance, kernel_distance
from crafts.evaluation.distances import check_features


def two_sets(rows=200, width=12, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width))
    return rng.standard_normal((rows, width)) @ mix, rng.standard_normal((rows + 30, width)) + 0.4


def test_frechet_matches_scipy_sqrtm():
    real, generated = two_sets()
    first, second = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    gap = real.mean(0) - generated.mean(0)
    expected = gap @ gap + np.trace(first + second - 2 * root)
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


def test_features_become_float64():
    assert check_features(np.ones((2, 2), dtype=np.float16), "x").dtype == np.float64
