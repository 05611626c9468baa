"""A figure of a study with its interval, and how the two come from a variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy.special import ndtr, ndtri, stdtr, stdtrit

NORMAL_FROM = 50
"""Degrees of freedom above which the normal distribution stands for Student's t, as in iMRMC."""


@dataclass(frozen=True)
class Estimate:
    """One figure.

    Attributes:
        value: the estimate; NaN where it cannot be computed.
        low, high: ends of its interval; NaN where there is none.
        se: standard error; NaN where the interval does not rest on one.
        df: degrees of freedom of the interval; infinite for a normal one.
        level: share of studies whose interval is meant to hold the truth.
    """

    value: float
    low: float
    high: float
    se: float = math.nan
    df: float = math.inf
    level: float = 0.95

    @property
    def half_width(self) -> float:
        """Half of the length of the interval."""
        return (self.high - self.low) / 2

    def clipped(self, low: float, high: float) -> Estimate:
        """The same with its interval inside the range of the figure."""
        ends = [min(max(end, low), high) for end in (self.low, self.high)]
        return replace(self, low=ends[0], high=ends[1])


def t_quantile(level: float, df: float) -> float:
    """Two-sided quantile of Student's t: whole degrees of freedom, normal above 50, as iMRMC does.

    Args:
        level: between 0 and 1.
        df: at least 1.
    """
    if not df <= NORMAL_FROM:
        return float(ndtri((1 + level) / 2))
    return float(stdtrit(math.floor(df), (1 + level) / 2))


def upper_tail(size: float, df: float) -> float:
    """Share of Student's t above ``size``, with the same rule for its degrees of freedom."""
    return float(ndtr(-size) if not df <= NORMAL_FROM else stdtr(math.floor(df), -size))


def t_interval(value: float, variance: float, df: float, level: float = 0.95) -> Estimate:
    """Interval of a figure from its variance.

    Args:
        value: the figure.
        variance: of the figure; a negative or missing one gives no interval.
        df: degrees of freedom of the variance.
        level: between 0 and 1.
    """
    if not variance >= 0 or not df >= 1:
        return Estimate(value, math.nan, math.nan, math.nan, df, level)
    half = t_quantile(level, df) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, math.sqrt(variance), df, level)


def p_value(estimate: Estimate, null: float) -> float:
    """Two-sided p of "the figure is ``null``", from the same t as the interval; NaN without one."""
    if not estimate.se > 0:
        return math.nan
    size = abs(estimate.value - null) / estimate.se
    return 2 * upper_tail(size, estimate.df)
