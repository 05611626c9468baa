"""The Fréchet distance with scipy's matrix root, and its extrapolation by an explicit line."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg


def root_frechet(first: tuple[Any, Any], second: tuple[Any, Any]) -> float:
    """Heusel et al. 2017, equation 6, from (mean, covariance)."""
    gap = first[0] - second[0]
    root = scipy.linalg.sqrtm(first[1] @ second[1]).real
    return float(gap @ gap + np.trace(first[1] + second[1] - 2 * root))


def gaussian(rows: Any) -> tuple[Any, Any]:
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def root_frechet_infinity(real: Any, generated: Any, num_points: int, seed: int) -> float:
    """Chong and Forsyth 2020 with the sizes that `frechet_infinity` names, fitted by hand."""
    rng = np.random.default_rng(seed)
    low = max(2 * generated.shape[1], len(generated) // 10)
    inverse, values = [], []
    for size in np.linspace(low, len(generated), num_points).astype(int):
        drawn = generated[rng.choice(len(generated), size, replace=False)]
        inverse.append(1 / size)
        values.append(root_frechet(gaussian(real), gaussian(drawn)))
    x, y = np.array(inverse), np.array(values)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(y.mean() - slope * x.mean())
