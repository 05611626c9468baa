"""Signal detection: how far apart the two classes are to a reader, and where the line is drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from crafts.readerstudy.statistics.estimates import Estimate
from crafts.readerstudy.statistics.proportions import Confusion
from crafts.readerstudy.statistics.ustatistics import success_kernel

LEVELS = 5
"""Levels of confidence."""


def score(answers: NDArray[np.float64], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """One scale from "surely real" (1) to "surely synthetic" (10).

    Args:
        answers: of any shape, 1 for synthetic, 0 for real, NaN where nothing was answered.
        confidence: 1 (a guess) to 5 (sure), of the same shape.
    """
    return np.where(answers == 1, LEVELS + confidence, LEVELS + 1 - confidence) + 0 * answers


def d_prime(found: Confusion, *, level: float = 0.95) -> tuple[Estimate, Estimate]:
    """Distance d' and the criterion of one reader, with intervals over other items.

    Half an item is added to each cell (Hautus, Behavior Research Methods 27:46, 1995), so that a
    perfect reader has a finite d'; variances by the delta method (Gourevitch and Galanter,
    Psychometrika 32:25, 1967).

    Args:
        found: counts of the reader.
        level: between 0 and 1.

    Returns:
        d' (0 is chance) and the criterion c (positive: leans to "real").
    """
    numbers = found.num_synthetic + 1, found.num_real + 1
    hits = (found.true_synthetic + 0.5) / numbers[0]
    alarms = (found.false_synthetic + 0.5) / numbers[1]
    z_hits, z_alarms = (float(ndtri(rate)) for rate in (hits, alarms))
    variance = sum(
        rate * (1 - rate) * 2 * math.pi * math.exp(z**2) / number
        for rate, number, z in ((hits, numbers[0], z_hits), (alarms, numbers[1], z_alarms))
    )
    quantile, se = float(ndtri((1 + level) / 2)), math.sqrt(variance)
    # the two quantiles of a balanced reader differ in their last digit
    distance, criterion = (
        round(v, 12) + 0.0 for v in (z_hits - z_alarms, -(z_hits + z_alarms) / 2)
    )
    values = (distance, se), (criterion, se / 2)
    both = [Estimate(v, v - quantile * s, v + quantile * s, s, level=level) for v, s in values]
    return both[0], both[1]


def area(scores: NDArray[np.float64], synthetic: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one reader, ties counted half; NaN when a class is missing.

    Args:
        scores: [N], NaN where nothing was answered.
        synthetic: [N].
    """
    kernel = success_kernel(scores[None], synthetic)
    return float(np.nanmean(kernel)) if (~np.isnan(kernel)).any() else math.nan
