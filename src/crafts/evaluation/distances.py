"""Distances between two sets of features: Fréchet (FID) and kernel (KID)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError

Array = NDArray[np.float64]


def frechet_distance(real: Any, generated: Any) -> float:
    """Fréchet distance of the two Gaussians fitted to the sets (Heusel et al. 2017, eq. 6).

    ``|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½)`` in float64. The trace of the root is the sum of the
    singular values of ``R1ᵀ R2`` with ``S = R Rᵀ`` from a symmetric eigendecomposition: no matrix
    root, hence no imaginary part and nothing added to singular covariances (N < D).

    Args:
        real: features [N, D].
        generated: features [M, D].

    Raises:
        DataError: a set is not [rows, D] with at least two rows, widths differ, or values are
            not finite.
    """
    first, second = check_pair(real, generated)
    gap = first.mean(axis=0) - second.mean(axis=0)
    root_first, root_second = _covariance_root(first), _covariance_root(second)
    cross = np.linalg.svd(root_first.T @ root_second, compute_uv=False).sum()
    trace = (root_first**2).sum() + (root_second**2).sum()
    return float(gap @ gap + max(trace - 2 * cross, 0.0))


def kernel_distance(
    real: Any, generated: Any, *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Kernel distance (KID, Bińkowski et al. 2018): unbiased MMD², kernel ``(xᵀy / D + 1)³``.

    Args:
        real: features [N, D].
        generated: features [M, D].
        num_subsets: subsets drawn, each without replacement.
        subset_size: rows of a subset; reduced to min(N, M) when the sets are smaller.
        seed: decides the subsets.

    Returns:
        Mean and (population) standard deviation over the subsets. The estimate has no bias and
        may therefore be slightly negative.

    Raises:
        DataError: as :func:`frechet_distance`.
        ConfigError: ``num_subsets`` < 1 or ``subset_size`` < 2.
    """
    first, second = check_pair(real, generated)
    if num_subsets < 1 or subset_size < 2:
        raise ConfigError(
            "kernel_distance",
            came=f"num_subsets={num_subsets}, subset_size={subset_size}",
            allowed="num_subsets of at least 1 and subset_size of at least 2",
            do="Pass larger numbers.",
        )
    size = min(subset_size, len(first), len(second))
    rng = np.random.default_rng(seed)
    values = [
        _unbiased_mmd(
            first[rng.choice(len(first), size, replace=False)],
            second[rng.choice(len(second), size, replace=False)],
        )
        for _ in range(num_subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def check_pair(real: Any, generated: Any) -> tuple[Array, Array]:
    """Both sets as float64 [rows, D] with one width.

    Raises:
        DataError: as :func:`frechet_distance`.
    """
    first, second = check_features(real, "real"), check_features(generated, "generated")
    if first.shape[1] != second.shape[1]:
        raise DataError(
            "features",
            came=f"width {first.shape[1]} for real and {second.shape[1]} for generated",
            allowed="one width for both",
            do="Extract both sets with the same encoder.",
        )
    return first, second


def check_features(features: Any, name: str, *, min_rows: int = 2) -> Array:
    """A set of features as float64 [rows, D].

    Raises:
        DataError: wrong shape, too few rows, or a value that is not finite.
    """
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < min_rows or array.shape[1] == 0:
        raise DataError(
            f"features: {name}",
            came=f"shape {list(array.shape)}",
            allowed=f"[rows, width] with at least {min_rows} rows",
            do="Pass one row of features for each image.",
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise DataError(
            f"features: {name}",
            came=f"{int(bad.sum())} rows that are not finite (first: row {int(bad.argmax())})",
            allowed="finite numbers",
            do="Look at these images; remove or mend them.",
        )
    return array


def _covariance_root(features: Array) -> Array:
    """A matrix R [D, D] with R Rᵀ the unbiased covariance."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def _unbiased_mmd(first: Array, second: Array) -> float:
    size, width = first.shape
    within = 0.0
    for block in (first, second):
        kernel = (block @ block.T / width + 1) ** 3
        within += (kernel.sum() - np.trace(kernel)) / (size * (size - 1))
    return float(within - 2 * ((first @ second.T / width + 1) ** 3).mean())
