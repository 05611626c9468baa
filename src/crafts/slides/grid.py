"""Where tiles of a physical size lie on a slide, and from which level they are read: geometry only.

A tile is asked for in microns (``size`` pixels of ``mpp`` microns). It is read from the coarsest
level that is at least as fine; a level within 0.9 % of that resolution is taken pixel for pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SNAP = 0.009  # relative difference of resolution below which nothing is resampled


class TooCoarseError(ValueError):
    """The slide has fewer pixels than the tiles ask for; the message says so in words."""


@dataclass(frozen=True)
class View:
    """How tiles are read. Pairs are (along x, along y).

    Attributes:
        level: of the pyramid.
        downsample: pixels of level 0 in one of this level.
        scale: pixels of this level in one of the tile; (1.0, 1.0) is taken pixel for pixel.
        mpp: microns per pixel of the finished tile.
    """

    level: int
    downsample: tuple[float, float]
    scale: tuple[float, float]
    mpp: tuple[float, float]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> View:
        """The view that ``dataclasses.asdict`` and JSON made lists of."""
        pairs = {name: tuple(values[name]) for name in ("downsample", "scale", "mpp")}
        return cls(level=values["level"], **pairs)

    @property
    def is_exact(self) -> bool:
        """Whether tiles are pixels of the level as they are."""
        return self.scale == (1.0, 1.0)

    @property
    def footprint(self) -> tuple[float, float]:
        """Pixels of level 0 in one pixel of a tile."""
        return self.downsample[0] * self.scale[0], self.downsample[1] * self.scale[1]


@dataclass(frozen=True)
class Grid:
    """All tiles that lie wholly on a slide, row by row.

    Attributes:
        columns: tiles in a row.
        rows: rows of tiles.
        step: (x, y) distance of neighbours in pixels of level 0, not rounded: errors do not add up.
        extent: (width, height) of a tile in pixels of level 0.
    """

    columns: int
    rows: int
    step: tuple[float, float]
    extent: tuple[float, float]

    def __len__(self) -> int:
        return self.columns * self.rows

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Left and top edges in pixels of level 0, row by row, [N] each."""
        x = np.rint(np.arange(self.columns) * self.step[0]).astype(np.int64)
        y = np.rint(np.arange(self.rows) * self.step[1]).astype(np.int64)
        return np.tile(x, self.rows), np.repeat(y, self.columns)


@dataclass(frozen=True)
class Crop:
    """What to read for one tile, and the part of it that becomes the tile.

    Attributes:
        x: left edge in pixels of level 0.
        y: top edge in pixels of level 0.
        width: pixels of the level to read.
        height: pixels of the level to read.
        box: (left, top, right, bottom) in what was read, in fractions of its pixels.
    """

    x: int
    y: int
    width: int
    height: int
    box: tuple[float, float, float, float]


def choose_view(
    sizes: Sequence[tuple[int, int]],
    slide_mpp: tuple[float, float],
    mpp: float,
    *,
    max_upsampling: float = 1.0,
) -> View:
    """The coarsest level that is not coarser than asked for.

    Args:
        sizes: (width, height) of the levels, largest first.
        slide_mpp: microns per pixel of level 0 along x and y.
        mpp: microns per pixel of the tiles.
        max_upsampling: how many times coarser than ``mpp`` level 0 may be, >= 1.

    Raises:
        TooCoarseError: level 0 is coarser than that.
    """
    coarsest = max(slide_mpp)
    if coarsest > mpp * max(max_upsampling, 1 + SNAP):
        raise TooCoarseError(
            f"the slide has {coarsest:g} microns per pixel, coarser than the {mpp:g} of the tiles; "
            "take a larger --mpp, or raise max_upsampling to enlarge its pixels"
        )
    chosen, factors = 0, (1.0, 1.0)
    for level, (width, height) in enumerate(sizes):
        downsample = sizes[0][0] / width, sizes[0][1] / height
        if max(_times(slide_mpp, downsample)) <= mpp * (1 + SNAP) and downsample[0] >= factors[0]:
            chosen, factors = level, downsample
    own = _times(slide_mpp, factors)
    if max(abs(value / mpp - 1) for value in own) <= SNAP:
        return View(chosen, factors, (1.0, 1.0), own)
    return View(chosen, factors, (mpp / own[0], mpp / own[1]), (mpp, mpp))


def plan_grid(slide: tuple[int, int], view: View, *, size: int, overlap: int) -> Grid:
    """Tiles that lie wholly on a slide, from its upper left corner.

    Args:
        slide: (width, height) of level 0.
        view: how tiles are read.
        size: edge of a tile in its own pixels.
        overlap: pixels of a tile shared with its neighbour, below ``size``.
    """
    extent = _times(view.footprint, (size, size))
    step = _times(view.footprint, (size - overlap, size - overlap))
    columns, rows = (
        # half a pixel of level 0 is within the rounding of level sizes
        max(0, math.floor((whole - edge + 0.5) / stride) + 1)
        for whole, edge, stride in zip(slide, extent, step, strict=True)
    )
    return Grid(columns, rows, step, extent)


def crop_of(x: int, y: int, view: View, size: int, level_size: tuple[int, int]) -> Crop:
    """The rectangle of a level that holds a tile.

    Args:
        x: left edge of the tile in pixels of level 0.
        y: top edge.
        view: how tiles are read.
        size: edge of a tile in its own pixels.
        level_size: (width, height) of the level, never read beyond.
    """
    left, width, first, last = _span(x, view, 0, size, level_size[0])
    top, height, upper, lower = _span(y, view, 1, size, level_size[1])
    return Crop(
        round(left * view.downsample[0]),
        round(top * view.downsample[1]),
        width,
        height,
        (first, upper, last, lower),
    )


def _span(
    origin: int, view: View, axis: int, size: int, limit: int
) -> tuple[int, int, float, float]:
    """First pixel and number of pixels to read, and the span of the tile in them."""
    if view.is_exact:
        start = min(round(origin / view.downsample[axis]), limit - size)
        return start, size, 0.0, float(size)
    begin = origin / view.downsample[axis]
    end = min(begin + size * view.scale[axis], limit)
    start = math.floor(begin)
    return start, math.ceil(end) - start, begin - start, end - start


def _times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] * b[0], a[1] * b[1]
