"""Could a difference have been seen? What the draws of real against real leave room for.

"No difference was found" says something only where one would have been found. The draws of real
groups against each other tell how far a distance moves by chance; from that follow the smallest
difference that shows, and how many groups a smaller one needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from crafts.evaluation.intervals import widen_for_few

_SEEN = 0.84  # normal quantile of four tries in five
_MOST = 100_000


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


def _least(visible: Callable[[int], float], groups: int, wanted: float) -> int | None:
    """The least number of groups at which a difference shows, by bisection; None beyond 100,000."""
    low, high = max(groups, 2), _MOST
    if wanted <= 0 or visible(high) > wanted:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if visible(middle) <= wanted else (middle + 1, high)
    return low
