"""Simulated readers: what they see, how they lean, and how they change over a session."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crafts.readerstudy.config import Readers

Array = NDArray[np.float64]

EDGES = (-1.6, -1.1, -0.7, -0.35, 0.0, 0.35, 0.7, 1.1, 1.6)
"""Where impressions become steps of the scale from surely real (1) to surely synthetic (10)."""


@dataclass(frozen=True)
class Session:
    """What simulated readers answered.

    Attributes:
        impressions: [R, N], before they become answers.
        scores: [R, N], 1 (surely real) to 10 (surely synthetic).
        ratings: [R, N], 1 to 4.
    """

    impressions: Array
    scores: Array
    ratings: Array


def draw_session(
    readers: Readers, synthetic: NDArray[np.bool_], *, number: int, rng: np.random.Generator
) -> Session:
    """Readers of one population on new cases.

    Args:
        readers: the population.
        synthetic: [N], the truth.
        number: of readers.
        rng: of all draws.
    """
    cases = len(synthetic)
    sign = np.where(synthetic, 0.5, -0.5)
    distance = rng.normal(readers.d_prime, readers.d_prime_sd, (number, 1))
    bias = rng.normal(readers.bias, readers.bias_sd, (number, 1))
    shared, own = math.sqrt(readers.correlation), math.sqrt(1 - readers.correlation)
    noise = shared * rng.normal(size=cases) + own * rng.normal(size=(number, cases))
    impressions = sign * distance + bias + noise
    mean = readers.rating + np.where(synthetic, 0.0, readers.rating_gap)
    rated = mean + 0.4 * rng.normal(size=(number, cases)) + 0.3 * rng.normal(size=cases)
    rated = rated + 0.2 * rng.normal(size=(number, 1))
    return Session(impressions, to_scores(impressions), np.clip(np.rint(rated), 1, 4))


def to_scores(impressions: Array) -> Array:
    """Steps 1 to 10 of impressions of any shape."""
    return 1.0 + np.searchsorted(EDGES, impressions).astype(np.float64)


def true_area(readers: Readers) -> float:
    """Area under the ROC curve of the scores in the whole population, by quadrature."""
    return _over_readers(readers, _area)


def true_accuracy(readers: Readers) -> float:
    """Balanced accuracy in the whole population."""
    return _over_readers(readers, lambda d, b: float(ndtr(d / 2 + b) + ndtr(d / 2 - b)) / 2)


def _area(distance: float, bias: float) -> float:
    edges = np.array([-np.inf, *EDGES, np.inf])
    made = np.diff(ndtr(edges - distance / 2 - bias))
    real = np.diff(ndtr(edges + distance / 2 - bias))
    below = np.cumsum(real) - real
    return float((made * (below + real / 2)).sum())


def _over_readers(readers: Readers, figure) -> float:  # type: ignore[no-untyped-def]
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    weights = weights / weights.sum()
    return sum(
        w * v * figure(readers.d_prime + readers.d_prime_sd * x, readers.bias + readers.bias_sd * y)
        for (x, w), (y, v) in product(zip(nodes, weights, strict=True), repeat=2)
    )
