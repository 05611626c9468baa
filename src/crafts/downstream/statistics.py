"""The statistics of a gain: paired, by patient, corrected for the number of arms looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crafts.core.errors import DataError

Array = NDArray[np.float64]

LEVEL, POWER = 0.95, 0.80
DISAGREEING = 0.2
"""Share of tiles on which two arms are taken to disagree when the size of a study is planned."""

LEAST_PATIENTS = 3
"""Test patients below which no interval is given."""


@dataclass(frozen=True)
class Gain:
    """Mean paired difference of two arms.

    Attributes:
        mean: of the differences.
        low, high: ends of the 95 % interval, over patients and seeds.
        p: two-sided, of no difference.
        visible: smallest true difference that four studies in five like this one would show.
        groups: patients drawn again.
        seeds: repetitions.
        error, freedom: of Student's t.
    """

    mean: float
    low: float
    high: float
    p: float
    visible: float
    groups: int
    seeds: int
    error: float = 0.0
    freedom: float = math.inf


def equivalence(gain: Gain, margin: float) -> tuple[float, float, float]:
    """Two one-sided tests (Schuirmann, 1987) that a true difference lies within a margin.

    Args:
        gain: of two arms.
        margin: largest difference that does not matter, above 0.

    Returns:
        Ends of the 90 % interval, and the p of a difference of the margin or more.
    """
    from scipy import stats

    if gain.error == 0:
        return gain.mean, gain.mean, float(abs(gain.mean) >= margin)
    reach = float(stats.t.ppf(LEVEL, gain.freedom)) * gain.error
    p = float(stats.t.sf((margin - abs(gain.mean)) / gain.error, gain.freedom))
    return gain.mean - reach, gain.mean + reach, p


def paired_gain(
    differences: ArrayLike, groups: Sequence[Any], *, resamples: int = 1000, seed: int = 0
) -> Gain:
    """A mean of paired differences with an interval over patients and over repetitions.

    Patients are drawn again as wholes (their tiles are alike); the variance of the means of the
    repetitions is added, as another draw of training patients gives another result. Student's t has
    the degrees of freedom of Welch and Satterthwaite, patients counted as Kish's effective number.

    Args:
        differences: [S, N], arm less baseline for each repetition and test tile.
        groups: [N], the patient of each tile; at least three distinct.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        DataError: shapes differ, values are not finite, or there are too few patients.
    """
    from scipy import stats

    rows, names = np.atleast_2d(np.asarray(differences, dtype=np.float64)), np.asarray(groups)
    if rows.ndim != 2 or rows.shape[1:] != names.shape or not np.isfinite(rows).all():
        raise DataError(
            "paired_gain",
            came=f"differences {list(rows.shape)} and groups {list(names.shape)}",
            allowed="one finite difference a repetition and tile, one patient a tile",
            do="Pass both for the same tiles.",
        )
    distinct, own, counts = np.unique(names, return_inverse=True, return_counts=True)
    number, seeds = len(distinct), len(rows)
    if number < LEAST_PATIENTS:
        raise DataError(
            "paired_gain: groups",
            came=f"{number} test patients",
            allowed=f"at least {LEAST_PATIENTS}",
            do="Add patients; tiles of one patient say nothing about the next.",
        )
    sums = np.bincount(own, rows.mean(0), number)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
    drawn = (times @ sums) / (times @ counts)
    among = float(drawn.var(ddof=1)) * number / (number - 1)
    between = float(rows.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    effective = max(float(counts.sum() ** 2 / (counts**2).sum()), 2.0)
    mean, error = float(rows.mean()), math.sqrt(among + between)
    if error == 0:  # arms that agree on every tile, or differ alike on all
        return Gain(mean, mean, mean, 1.0 if mean == 0 else 0.0, 0.0, number, seeds)
    spare = among**2 / (effective - 1) + (between**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom = (among + between) ** 2 / spare
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    visible = (reach + float(stats.t.ppf(POWER, freedom))) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    ends = mean - reach * error, mean + reach * error
    return Gain(mean, *ends, p, visible, number, seeds, error, freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values that hold when all of them are looked at (Holm, Scandinavian Journal 6:65, 1979)."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error of the first answer (Guo et al., ICML 2017, equation 3).

    Args:
        confidence: [N], probability given to the answer, in [0, 1].
        correct: [N], whether the answer was right.
        bins: of equal width.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, sure, bins) - np.bincount(place, right, bins)
    return float(np.abs(gaps).sum() / len(sure))


def balanced_weights(labels: NDArray[Any]) -> Array:
    """Weights [N] of mean 1, by which a mean over tiles becomes a mean over classes."""
    _, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(len(labels) / (len(counts) * counts[own]))


def least_per_class(effect: float, num_classes: int) -> int:
    """Test tiles of each class below which a gain cannot show, even if tiles were independent.

    A paired comparison with a share of :data:`DISAGREEING` of disagreeing tiles has the standard
    error ``sqrt(share / (K n))``; the gain shows in four tries in five from 2.8 of them on.

    Args:
        effect: gain in balanced accuracy.
        num_classes: K.
    """
    return math.ceil(2.8**2 * DISAGREEING / (effect**2 * num_classes))
