"""Two one-sided tests: "no difference that matters" is a claim and needs evidence of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crafts.readerstudy.statistics.estimates import Estimate, t_quantile, upper_tail


@dataclass(frozen=True)
class Equivalence:
    """What two one-sided tests say.

    Attributes:
        estimate: the figure.
        null: the value that would mean no difference.
        margin: a difference from it that would matter, fixed before the study.
        p: the larger of the two one-sided p; NaN without a standard error.
        alpha: below which p shows equivalence.
        low, high: ends of the 1 - 2 alpha interval, which lies inside the margin exactly then.
    """

    estimate: Estimate
    null: float
    margin: float
    p: float
    alpha: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the figure is shown to lie within the margin."""
        return self.p < self.alpha

    @property
    def excluded(self) -> bool:
        """Whether the interval lies outside the margin altogether: a difference that matters."""
        return self.low > self.null + self.margin or self.high < self.null - self.margin


def two_one_sided(
    estimate: Estimate, *, null: float, margin: float, alpha: float = 0.05
) -> Equivalence:
    """TOST (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15:657, 1987).

    Args:
        estimate: figure with standard error and degrees of freedom.
        null: the value that would mean no difference.
        margin: above 0, in units of the figure.
        alpha: of each test.
    """
    if not estimate.se > 0:
        ends = (math.nan, math.nan)
        return Equivalence(estimate, null, margin, math.nan, alpha, *ends)
    gap = margin - abs(estimate.value - null)
    p = upper_tail(gap / estimate.se, estimate.df)
    half = t_quantile(1 - 2 * alpha, estimate.df) * estimate.se
    ends = estimate.value - half, estimate.value + half
    return Equivalence(estimate, null, margin, p, alpha, *ends)
