"""Right and wrong answers: sensitivity, specificity, F1, and why F1 says little."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from crafts.readerstudy.statistics.estimates import Estimate

ONE_CLASS = 0.95
"""Share of one answer from which a rater counts as one who always says the same."""


@dataclass(frozen=True)
class Confusion:
    """Counts of one reader's answers; "positive" is synthetic.

    Attributes:
        true_synthetic: synthetic called synthetic.
        false_synthetic: real called synthetic.
        true_real: real called real.
        false_real: synthetic called real.
    """

    true_synthetic: int
    false_synthetic: int
    true_real: int
    false_real: int

    @property
    def num_synthetic(self) -> int:
        """Synthetic items that were read."""
        return self.true_synthetic + self.false_real

    @property
    def num_real(self) -> int:
        """Real items that were read."""
        return self.true_real + self.false_synthetic

    @property
    def share_called_synthetic(self) -> float:
        """Of all answers; NaN without any."""
        number = self.num_real + self.num_synthetic
        return (self.true_synthetic + self.false_synthetic) / number if number else math.nan

    @property
    def is_one_class(self) -> bool:
        """Whether nearly all answers are the same, so that no item was told from another."""
        share = self.share_called_synthetic
        return share >= ONE_CLASS or share <= 1 - ONE_CLASS


def count(answers: NDArray[np.float64], synthetic: NDArray[np.bool_]) -> Confusion:
    """Count one reader's answers.

    Args:
        answers: [N], 1 for synthetic, 0 for real, NaN where nothing was answered.
        synthetic: [N], the truth.
    """
    called, real = answers == 1, answers == 0
    return Confusion(
        int((called & synthetic).sum()),
        int((called & ~synthetic).sum()),
        int((real & ~synthetic).sum()),
        int((real & synthetic).sum()),
    )


def wilson(successes: int, number: int, *, level: float = 0.95) -> Estimate:
    """A share with its interval (Wilson, J. of the American Statistical Association 22:209, 1927).

    Args:
        successes: 0 to ``number``.
        number: of tries; 0 gives NaN and the whole range.
        level: between 0 and 1.
    """
    if number == 0:
        return Estimate(math.nan, 0.0, 1.0, level=level)
    z = float(ndtri((1 + level) / 2))
    share, scale = successes / number, 1 + z**2 / number
    centre = (share + z**2 / (2 * number)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    found = Estimate(share, centre - half, centre + half, level=level)
    # at 0 and at 1 the end is the share itself, which rounding would miss
    low, high = (0.0 if successes == 0 else found.low), (1.0 if successes == number else found.high)
    return Estimate(share, low, high, level=level).clipped(0, 1)


def sensitivity(found: Confusion, *, level: float = 0.95) -> Estimate:
    """Share of synthetic items that were called synthetic, with Wilson's interval."""
    return wilson(found.true_synthetic, found.num_synthetic, level=level)


def specificity(found: Confusion, *, level: float = 0.95) -> Estimate:
    """Share of real items that were called real, with Wilson's interval."""
    return wilson(found.true_real, found.num_real, level=level)


def balanced_accuracy(found: Confusion, *, level: float = 0.95) -> Estimate:
    """Mean of the two, for this reader and other items; its interval from theirs.

    The square-and-add of two Wilson intervals (Newcombe, Statistics in Medicine 17:873, 1998).
    """
    parts = sensitivity(found, level=level), specificity(found, level=level)
    value = sum(part.value for part in parts) / 2
    below = math.hypot(*(part.value - part.low for part in parts)) / 2
    above = math.hypot(*(part.high - part.value for part in parts)) / 2
    return Estimate(value, value - below, value + above, level=level).clipped(0, 1)


def f1(found: Confusion) -> tuple[float, float]:
    """F1 with synthetic, and with real, as the class that is looked for; 0 without a hit."""
    wrong = found.false_synthetic + found.false_real
    return tuple(  # type: ignore[return-value]
        2 * hits / (2 * hits + wrong) if hits else 0.0
        for hits in (found.true_synthetic, found.true_real)
    )


def f1_of_one_answer(prevalence: float) -> float:
    """F1 of a rater who gives the looked-for class every time: 2/3 on a balanced set.

    Args:
        prevalence: share of the looked-for class among the items.
    """
    return 2 * prevalence / (1 + prevalence)
