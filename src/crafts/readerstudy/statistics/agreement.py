"""Agreement of readers with each other, beyond chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.statistics.estimates import Estimate

Array = NDArray[np.float64]
Scale = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]


def fleiss_kappa(answers: Array) -> float:
    """Agreement of many readers on categories (Fleiss, Psychological Bulletin 76:378, 1971).

    Args:
        answers: [R, N] categories as numbers; items that not all readers answered are left out.

    Returns:
        1 for full agreement, 0 for chance; NaN without a complete item or with one category.
    """
    rows = answers[:, ~np.isnan(answers).any(axis=0)]
    num_readers, num_items = rows.shape
    if num_items == 0 or num_readers < 2:
        return math.nan
    counts = np.array([(rows == value).sum(axis=0) for value in np.unique(rows)], dtype=np.float64)
    observed = ((counts**2).sum(axis=0) - num_readers) / (num_readers * (num_readers - 1))
    expected = float(((counts.sum(axis=1) / rows.size) ** 2).sum())
    return float((observed.mean() - expected) / (1 - expected)) if expected < 1 else math.nan


def cohen_kappa(first: Array, second: Array, weights: Weights = "none") -> float:
    """Agreement of two readers (Cohen, Psychological Bulletin 70:213, 1968).

    Args:
        first: [N] categories as numbers, in order for the weighted forms; NaN is left out.
        second: likewise.
        weights: how disagreement grows with distance.

    Returns:
        1 for full agreement, 0 for chance; NaN where chance alone agrees fully.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    if not both.any():
        return math.nan
    values, codes = np.unique(np.concatenate([first[both], second[both]]), return_inverse=True)
    one, two = codes[: both.sum()], codes[both.sum() :]
    table = np.zeros((len(values), len(values)))
    np.add.at(table, (one, two), 1)
    gap = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    cost = {"none": gap > 0, "linear": gap, "quadratic": gap**2}[weights].astype(np.float64)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chance = float((cost * expected).sum())
    return 1 - float((cost * table).sum()) / chance if chance else math.nan


def mean_pair_kappa(answers: Array, weights: Weights) -> float:
    """Mean of Cohen's kappa over all pairs of readers; NaN where no pair has one.

    Args:
        answers: [R, N], NaN where nothing was answered.
        weights: as in :func:`cohen_kappa`.
    """
    pairs = [
        cohen_kappa(answers[i], answers[j], weights)
        for i in range(len(answers))
        for j in range(i + 1, len(answers))
    ]
    known = [value for value in pairs if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def krippendorff_alpha(answers: Array, scale: Scale) -> float:
    """Agreement of any number of readers with answers missing (Krippendorff 2011).

    "Computing Krippendorff's Alpha-Reliability", University of Pennsylvania.

    Args:
        answers: [R, N], NaN where nothing was answered.
        scale: what a difference of two values means.

    Returns:
        1 for full agreement, 0 for chance; NaN where no item has two answers, or all are alike.
    """
    known = ~np.isnan(answers)
    values, codes = np.unique(answers[known], return_inverse=True)
    counts = np.zeros((answers.shape[1], len(values)))  # how often each item got each value
    np.add.at(counts, (np.nonzero(known)[1], codes), 1)
    per_item = counts.sum(axis=1)
    counts, per_item = counts[per_item >= 2], per_item[per_item >= 2]
    scaled = counts / (per_item - 1)[:, None] if len(counts) else counts
    coincidences = counts.T @ scaled - np.diag(scaled.sum(axis=0))
    totals = coincidences.sum(axis=1)
    number = totals.sum()
    cost = _cost(values, totals, scale)
    expected = float((cost * np.outer(totals, totals)).sum())
    if not expected:
        return math.nan
    return 1 - float((number - 1) * (cost * coincidences).sum() / expected)


def _cost(values: Array, totals: Array, scale: Scale) -> Array:
    if scale == "nominal":
        return (values[:, None] != values).astype(np.float64)
    if scale == "interval":
        return (values[:, None] - values) ** 2
    place = np.cumsum(totals) - totals / 2  # ordinal: how many values lie between the two
    return (place[:, None] - place) ** 2


def over_items(
    answers: Array,
    measure: Callable[[Array], float],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """A measure of agreement with its percentile interval over other items, for these readers.

    Args:
        answers: [R, N], NaN where nothing was answered.
        measure: of such an array.
        level: between 0 and 1.
        num_resamples: draws of items with replacement.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    number = answers.shape[1]
    value = measure(answers)
    if math.isnan(value):
        return Estimate(value, math.nan, math.nan, level=level)
    drawn = [measure(answers[:, rng.integers(number, size=number)]) for _ in range(num_resamples)]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), level=level)
