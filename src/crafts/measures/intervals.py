"""How far a figure can be trusted: intervals over patients, and what could have been seen.

A mean over images (alignment, a share) gets an interval by drawing patients again
(:func:`group_interval`), since tiles of one patient are alike and rows are not independent. A
measure of whole sets (Fréchet, kernel, precision) is computed for at least five independent draws,
and its spread is theirs.

The Fréchet distance is never bootstrapped. A bootstrap sample holds each row about 1.6 times among
those it holds at all, which acts like fewer rows, and the distance is biased by C / N: with 128
dimensions and 1,000 rows of one population it is 0.627, and its bootstrap interval is [1.157,
1.296], which does not even hold the value itself. :func:`group_interval` takes values of single
rows, so that nothing but a mean can be passed to it.

"No difference was found" says something only where one would have been found. The draws of real
groups against each other tell how far a distance moves by chance; from that follow the smallest
difference that shows, and how many groups a smaller one needs (:class:`Power`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crafts.core.errors import ConfigError, DataError
from crafts.measures.rows import Array

_SEEN = 0.84  # normal quantile of four tries in five
_MOST_GROUPS = 100_000  # beyond, no number of groups counts as enough

LEAST_GROUPS = 8
"""Patients below which no interval is given."""


@dataclass(frozen=True)
class Interval:
    """A mean over rows and its interval over groups.

    Attributes:
        mean: over all rows.
        low: lower end.
        high: upper end.
        level: share of studies whose interval is meant to hold the truth.
        num_rows: rows.
        num_groups: groups (patients) that were drawn again.
    """

    mean: float
    low: float
    high: float
    level: float
    num_rows: int
    num_groups: int


def group_interval(
    values: ArrayLike,
    groups: Sequence[Any],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean over rows, whole groups drawn again.

    In simulated studies of 8 to 60 groups with 2 to 19 rows each, the 95 % interval held the truth
    in 93 to 95 %; in 91 to 94 % where the means of groups were strongly skewed.

    Args:
        values: one number a row [N]: a cosine, or 0 and 1 for a share.
        groups: the group (patient) of each row [N]; at least eight distinct.
        level: between 0 and 1.
        num_resamples: draws of groups with replacement.
        seed: of the draws.

    Raises:
        DataError: shapes differ, a value is not finite, or there are fewer than eight groups.
        ConfigError: ``level`` is not between 0 and 1, or ``num_resamples`` < 100.
    """
    rows, sums, counts = _by_group(values, groups)
    if not 0 < level < 1 or num_resamples < 100:
        raise ConfigError(
            "group_interval",
            came=f"level={level:g}, num_resamples={num_resamples}",
            allowed="level between 0 and 1 and num_resamples of at least 100",
            do="Correct the number.",
        )
    num = len(sums)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(num, np.full(num, 1 / num), size=num_resamples)
    low, high = np.quantile((times @ sums) / (times @ counts), _percentiles(counts, level))
    return Interval(float(rows.mean()), float(low), float(high), level, len(rows), num)


def widen_for_few(freedom: int, deviations: float) -> float:
    """How much wider some deviations of few groups are than as many of infinitely many.

    Student's t has the same share beyond ``deviations`` of the wider ones as the normal
    distribution beyond ``deviations``.

    Args:
        freedom: degrees of freedom; below 1 counts as 1.
        deviations: how many.
    """
    from scipy import stats

    quantile = stats.t.ppf(stats.norm.cdf(deviations), max(freedom, 1))
    return float(quantile) / deviations


@dataclass(frozen=True)
class Power:
    """What a comparison can show.

    Attributes:
        groups: patients (or tiles) that the draws rest on.
        visible: smallest difference that four tries in five would show.
        wanted: the difference that matters.
        needed: about as many groups show it; None where no number is enough.
    """

    groups: int
    visible: float
    wanted: float
    needed: int | None

    @property
    def enough(self) -> bool:
        """Whether the difference that matters would have been seen."""
        return self.visible <= self.wanted


def power_of(spread: float, groups: int, wanted: float) -> Power:
    """The power of "apart when farther than both spreads together".

    If generated tiles were like real ones, both spreads were that of the real draws. A true
    difference then shows in four tries in five from ``2 s + 0.84 * sqrt(2) s`` on, with s widened
    as Student's t is for few groups. s falls with the root of the number of groups.

    Args:
        spread: standard deviation of the draws of real against real.
        groups: groups that were drawn from, at least 1.
        wanted: the difference that should be seen.
    """

    def visible(number: int) -> float:
        deviation = spread * math.sqrt(groups / number) * widen_for_few(number - 1, 2.0)
        return (2 + _SEEN * math.sqrt(2)) * deviation

    return Power(groups, visible(groups), wanted, _least(visible, groups, wanted))


def power_of_interval(half: float, groups: int, wanted: float) -> Power:
    """The power of "its 95 % interval does not hold it": half its width is what shows.

    Args:
        half: of the width of the interval.
        groups: groups that were drawn again.
        wanted: the difference that should be seen.
    """
    return Power(
        groups, half, wanted, _least(lambda n: half * math.sqrt(groups / n), groups, wanted)
    )


def _percentiles(counts: Array, level: float) -> Array:
    """Shares of the draws below the ends of an interval over groups of these numbers of rows [G].

    Those of the expanded percentile interval (Hesterberg 2015, section 4.2): normal ones at
    ``sqrt(G / (G - 1))`` times the t quantile of G - 1 degrees of freedom, as plain percentiles are
    too narrow with few groups. A group of many rows weighs more, hence G is Kish's effective
    number ``(Σ n)² / Σ n²``.
    """
    from scipy import stats

    effective = max(float(counts.sum() ** 2 / (counts**2).sum()), 2.0)
    reach = np.sqrt(effective / (effective - 1)) * stats.t.ppf((1 + level) / 2, effective - 1)
    return np.asarray(stats.norm.cdf([-reach, reach]))


def _by_group(values: ArrayLike, groups: Sequence[Any]) -> tuple[Array, Array, Array]:
    """Values [N], and their sum [G] and number [G] in each group."""
    rows, names = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if rows.ndim != 1 or rows.shape != names.shape or not np.isfinite(rows).all():
        raise DataError(
            "group_interval",
            came=f"values {list(rows.shape)} and groups {list(names.shape)}",
            allowed="one finite value and one group a row",
            do="Pass a value and a patient for each image.",
        )
    distinct, own, counts = np.unique(names, return_inverse=True, return_counts=True)
    if len(distinct) < LEAST_GROUPS:
        raise DataError(
            "group_interval: groups",
            came=f"{len(distinct)} groups",
            allowed=f"at least {LEAST_GROUPS}",
            do="Add patients; tiles of one patient say nothing about the next.",
        )
    sums = np.zeros(len(distinct))
    np.add.at(sums, own, rows)
    return rows, sums, counts.astype(np.float64)


def _least(visible: Callable[[int], float], groups: int, wanted: float) -> int | None:
    """The least number of groups at which a difference shows, by bisection; None beyond 100,000."""
    low, high = max(groups, 2), _MOST_GROUPS
    if wanted <= 0 or visible(high) > wanted:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if visible(middle) <= wanted else (middle + 1, high)
    return low
