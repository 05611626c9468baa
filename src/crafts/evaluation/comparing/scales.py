"""Do two sets show tissue at one scale? Distances and blur mean little where they do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crafts.evaluation.comparing.slices import Described

_TOLERANCE = 1.1  # between scanners of one nominal power
_MOST = (0.05, 0.95)  # a few odd tiles do not make a set mixed
_KNOWN = 0.9


@dataclass(frozen=True)
class Scale:
    """Pixels of a set.

    Attributes:
        low, middle, high: shorter side of its tiles in pixels, 5 %, median and 95 %.
        mpp: median microns per pixel, None unless nine tiles in ten name theirs and agree.
    """

    low: float
    middle: float
    high: float
    mpp: float | None

    @property
    def words(self) -> str:
        """The scale in words."""
        mixed = self.high > _TOLERANCE * self.low
        size = f"{self.low:.0f} to {self.high:.0f}" if mixed else f"{self.middle:.0f}"
        return f"{size} px at {f'{self.mpp:g}' if self.mpp else 'unknown'} µm a pixel"


def scale_of(side: Described) -> Scale | None:
    """The scale of a set; None where its rows do not tell the size of their images."""
    rows = [row for row in side.set.rows if row.get("width") and row.get("height")]
    if not rows:
        return None
    sides = [min(int(row["width"]), int(row["height"])) for row in rows]
    low, middle, high = np.quantile(sides, (_MOST[0], 0.5, _MOST[1]))
    named = [float(row["mpp"]) for row in rows if isinstance(row.get("mpp"), int | float)]
    mpp = None
    if len(named) >= _KNOWN * len(rows):
        ends = np.quantile(named, _MOST)
        mpp = float(np.median(named)) if ends[1] <= _TOLERANCE * ends[0] else None
    return Scale(float(low), float(middle), float(high), mpp)


def same_pixels(one: Scale | None, two: Scale | None) -> bool:
    """Whether a pixel is as large in both, so that blur and block edges compare.

    By microns per pixel where both name them; else equal sizes are taken for equal scales.
    """
    if one is None or two is None:
        return True
    if one.mpp and two.mpp:
        return _close(one.mpp, two.mpp)
    return _close(min(one.low, two.low), max(one.high, two.high))


def same_fields(one: Scale | None, two: Scale | None) -> bool:
    """Whether a tile shows as much tissue in both, so that an encoder sees both at one scale."""
    if one is None or two is None:
        return True
    if one.mpp and two.mpp:
        return _close(one.mpp * one.middle, two.mpp * two.middle)
    return _close(one.middle, two.middle)


def _close(one: float, two: float) -> bool:
    return max(one, two) <= _TOLERANCE * min(one, two)
