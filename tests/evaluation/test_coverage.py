"""Precision, recall, density and coverage against loops and hand-made sets."""

import numpy as np
import pytest

from crafts.core.errors import ConfigError
from crafts.evaluation import coverage, prdc


def naive_prdc(real, generated, k):
    def distance(x, y):
        return float(np.sqrt(((x - y) ** 2).sum()))

    def radii(points):
        return [
            sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    real_radii, generated_radii = radii(real), radii(generated)
    inside = [
        [distance(r, g) < rad for g in generated] for r, rad in zip(real, real_radii, strict=True)
    ]
    covered = [
        [distance(r, g) < rad for r in real]
        for g, rad in zip(generated, generated_radii, strict=True)
    ]
    return {
        "precision": np.mean(np.any(inside, axis=0)),
        "recall": np.mean(np.any(covered, axis=0)),
        "density": np.sum(inside) / (k * len(generated)),
        "coverage": np.mean(np.any(inside, axis=1)),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_matches_a_naive_loop(k, shift, monkeypatch):
    monkeypatch.setattr(coverage, "_BLOCK", 7)  # several blocks, the last one short
    rng = np.random.default_rng(k)
    real, generated = rng.standard_normal((31, 4)), rng.standard_normal((24, 4)) * 0.8 + shift
    assert prdc(real, generated, k=k) == pytest.approx(naive_prdc(real, generated, k), abs=1e-12)


def test_a_copy_is_inside_and_covers_everything():
    points = np.random.default_rng(0).standard_normal((40, 3)) + 1e3
    found = prdc(points, points, k=5)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] == pytest.approx(1)  # itself and its four nearest balls: 5 in k=5


def test_a_single_mode_is_precise_but_covers_little():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(100, 1, (50, 2))])
    found = prdc(real, rng.normal(0, 0.5, (50, 2)))
    assert found["precision"] == 1
    assert found["coverage"] <= 0.5


def test_the_boundary_is_outside():
    real = np.array([[0.0], [1.0], [2.0]])
    generated = np.array([[3.0], [30.0]])
    assert prdc(real, generated, k=1)["precision"] == 0  # 3 lies at exactly the radius of 2


def test_duplicates_have_a_radius_of_zero_and_hold_nothing():
    real = np.tile(np.random.default_rng(0).standard_normal((1, 8)) * 1e3, (6, 1))
    assert prdc(real, real, k=3) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_be_smaller_than_both_sets(k):
    with pytest.raises(ConfigError, match="expected 1 to 3 for these sets"):
        prdc(np.zeros((9, 2)), np.zeros((4, 2)), k=k)
