"""Fidelity and diversity apart: precision, recall, density and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError
from crafts.evaluation.distances import Array, check_pair

_BLOCK = 1024


def prdc(real: Any, generated: Any, *, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball around a point reaches to its k-th neighbour in its own set, itself not counted; a point
    lies in a ball when its distance is strictly smaller. Squared distances within rounding of zero
    count as zero. Rows are taken in blocks: memory grows with N + M, not with N · M.

    Args:
        real: features [N, D], N > k.
        generated: features [M, D], M > k.
        k: neighbour that sets the radius.

    Returns:
        precision: share of generated points inside some real ball; recall: share of real points
        inside some generated ball; density: mean number of real balls around a generated point,
        over k; coverage: share of real balls that hold a generated point.

    Raises:
        DataError: as :func:`crafts.evaluation.frechet_distance`.
        ConfigError: ``k`` < 1 or not smaller than both sets.
    """
    first, second = check_pair(real, generated)
    if not 1 <= k < min(len(first), len(second)):
        raise ConfigError(
            "prdc: k",
            came=str(k),
            allowed=f"1 to {min(len(first), len(second)) - 1} for these sets",
            do="Pass a smaller k or more images.",
        )
    centre = first.mean(axis=0)  # distances do not change; rounding does
    first, second = first - centre, second - centre
    real_radius, generated_radius = _radii(first, k), _radii(second, k)
    inside_real = np.zeros(len(second), dtype=np.int64)
    inside_generated = np.zeros(len(first), dtype=bool)
    covered = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance = _squared_distances(first[rows], second)
        within = distance < real_radius[rows, None]
        inside_real += within.sum(axis=0)
        covered[rows] = within.any(axis=1)
        inside_generated[rows] = (distance < generated_radius[None, :]).any(axis=1)
    return {
        "precision": float((inside_real > 0).mean()),
        "recall": float(inside_generated.mean()),
        "density": float(inside_real.mean() / k),
        "coverage": float(covered.mean()),
    }


def _radii(points: Array, k: int) -> Array:
    """Squared distance to the k-th neighbour of each point in its own set, itself not counted."""
    radii = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        distance = _squared_distances(points[start : start + _BLOCK], points)
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        radii[start : start + _BLOCK] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return radii


def _squared_distances(first: Array, second: Array) -> NDArray[np.float64]:
    scale = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :]
    squared = scale - 2 * first @ second.T
    squared[squared < 1e-13 * scale] = 0.0  # equal points: the difference is rounding only
    return np.asarray(squared)
