"""Differences between arms over paired seeds: interval, what could be seen, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from crafts.experiments.judging.measures import MEASURES

CONFIDENCE, POWER = 0.95, 0.80
_NOISE = 1e-9  # spread of differences, as a share of the values, that is rounding alone
Outcome = Literal["helps", "harms", "differs", "no effect seen"]


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline, seed by seed.

    Attributes:
        mean: of the differences.
        low: lower end of the 95 % t interval.
        high: upper end.
        detectable: true difference that the design finds four times in five, from the spread of the
            differences (paired t test, two-sided, 5 %).
        num_seeds: pairs.
    """

    mean: float
    low: float
    high: float
    detectable: float
    num_seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; seeds that all agree give no interval."""
        return self.detectable > 0 and (self.low > 0 or self.high < 0)

    @property
    def p_value(self) -> float:
        """Of the paired t test, two-sided; 1 where seeds that all agree give none."""
        from scipy import stats

        if self.detectable == 0:
            return 1.0
        degrees = self.num_seeds - 1
        error = (self.high - self.low) / 2 / stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)
        return float(2 * stats.t.sf(abs(self.mean) / error, degrees))


def paired_difference(baseline: Sequence[float], arm: Sequence[float]) -> Difference:
    """Mean paired difference with a t interval and the smallest detectable effect.

    Args:
        baseline: one value a seed, at least two.
        arm: of the same seeds in the same order.

    Raises:
        ValueError: other numbers of seeds, or fewer than two.
    """
    from scipy import stats

    if len(baseline) != len(arm) or len(arm) < 2:
        raise ValueError("as many values of both, at least two")
    differences = np.asarray(arm, float) - np.asarray(baseline, float)
    number = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(number)
    if error < _NOISE * float(np.abs((*baseline, *arm)).max()):
        error = 0.0  # equal but for rounding, as shares of few images often are
    mean, reach = float(differences.mean()), float(stats.t.ppf(0.5 + CONFIDENCE / 2, number - 1))
    return Difference(
        mean, mean - reach * error, mean + reach * error, shift_seen(number) * error, number
    )


@cache
def shift_seen(num_seeds: int) -> float:
    """True mean difference, in standard errors, that a paired t test finds with 80 % power.

    A mean shifted by so many standard errors, divided by an estimated one, passes the critical
    value of the t distribution in 80 % of draws: 5.7 for three seeds, 3.8 for five.

    Args:
        num_seeds: pairs, at least two.
    """
    from scipy import integrate, optimize, stats

    degrees = num_seeds - 1
    critical = stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)

    def lack(shift: float) -> float:
        def passed(squares: float) -> float:  # by the error's estimate, whose square is chi²
            least = critical * math.sqrt(squares / degrees)
            chance = stats.norm.sf(least - shift) + stats.norm.cdf(-least - shift)
            return float(chance * stats.chi2.pdf(squares, degrees))

        return float(integrate.quad(passed, 0, math.inf)[0]) - POWER

    return float(optimize.brentq(lack, 0.0, 2 * critical))


def find(measure: str, difference: Difference) -> Outcome:
    """What a difference says of an arm, by the direction in which the measure is better."""
    higher = MEASURES[measure].higher
    if not difference.excludes_zero:
        return "no effect seen"
    if higher is None:
        return "differs"
    return "helps" if (difference.mean > 0) == higher else "harms"


def say_finding(
    arm: str, baseline: str, measure: str, difference: Difference, *, over: str = ""
) -> str:
    """One plain sentence on an arm and a measure; ``over`` says over what, in place of seeds."""
    known = MEASURES[measure]

    def number(value: float) -> str:
        return f"{value:+.{known.digits}f}"

    unit = f" {known.unit}" if known.unit else ""
    span = f"95 % interval {number(difference.low)} to {number(difference.high)}"
    found = find(measure, difference)
    change = f"{known.title} {number(difference.mean)}{unit} against {baseline} ({span})"
    if difference.detectable == 0:
        return f"{arm}: all seeds gave {change}; without a spread nothing is said of chance."
    if found == "no effect seen":
        least = f"{difference.detectable:.{known.digits}f}"
        return f"{arm}: no effect seen, {change}; an effect below {least} may be there unseen."
    return f"{arm}: {found}, {change}, over {over or f'{difference.num_seeds} seeds'}."


def count_after_holm(differences: Sequence[Difference]) -> int:
    """How many differences are beyond chance when all of them are looked at (Holm, 5 %)."""
    values = sorted(one.p_value for one in differences)
    kept = 0
    while kept < len(values) and values[kept] <= (1 - CONFIDENCE) / (len(values) - kept):
        kept += 1
    return kept


def compare_arms(
    values: Mapping[str, Mapping[str, Sequence[float | None]]], baseline: str
) -> dict[str, dict[str, Difference]]:
    """Differences of every arm and measure to the baseline.

    Args:
        values: arm -> measure -> one value a seed; a measure with a missing value is left out.
        baseline: name of the arm that the others are compared with.
    """
    found: dict[str, dict[str, Difference]] = {}
    for arm, measures in values.items():
        if arm == baseline:
            continue
        found[arm] = {}
        for name, seeds in measures.items():
            own = [value for value in seeds if value is not None]
            other = [value for value in values[baseline].get(name, ()) if value is not None]
            if len(own) == len(other) == len(seeds):
                found[arm][name] = paired_difference(other, own)
    return found
