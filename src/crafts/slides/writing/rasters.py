"""Rows of pixels on the disk, and coarser levels made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crafts.core.disk import replacing, retry_when_full, sync

EDGE = 256
"""Pixels along a tile of a slide file."""


class Level(Protocol):
    """One level of a picture, read in stretches of rows."""

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    def read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows uint8 [bottom - top, W, 3], or [bottom - top, W] of classes."""
        ...


@dataclass(frozen=True)
class Raster:
    """RGB rows in a file without a header.

    Attributes:
        path: of the file.
        width: in pixels.
        height: in pixels.
    """

    path: Path
    width: int
    height: int

    def read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows uint8 [bottom - top, W, 3]."""
        count = (bottom - top) * self.width * 3
        found = np.fromfile(self.path, np.uint8, count, offset=top * self.width * 3)
        return found.reshape(bottom - top, self.width, 3)

    def write(self, top: int, rows: NDArray[np.uint8]) -> None:
        """Write rows [r, W, 3] from ``top`` on and bring them to the disk.

        Raises:
            RetryError: the disk is full.
        """
        with retry_when_full(self.path), self.path.open("r+b" if self.path.exists() else "wb") as f:
            f.seek(top * self.width * 3)
            f.write(np.ascontiguousarray(rows).tobytes())
            f.flush()
            sync(f.fileno())


def build_pyramid(finest: Raster) -> list[Raster]:
    """The finest level and those of half its size, down to one of a single tile.

    They lie beside it, in files of its name with a number; what is there already is kept.

    Raises:
        RetryError: the disk is full.
    """
    levels = [finest]
    while max(levels[-1].width, levels[-1].height) > EDGE:
        levels.append(_halve(levels[-1], finest.path.with_suffix(f".{len(levels)}")))
    return levels


def _halve(level: Raster, path: Path) -> Raster:
    """Means of squares of four pixels; the last row or column stands for one that is not there."""
    half = Raster(path, -(-level.width // 2), -(-level.height // 2))
    if path.exists():
        return half
    with replacing(path) as temporary:
        target = Raster(temporary, half.width, half.height)
        for top in range(0, half.height, EDGE):
            bottom = min(top + EDGE, half.height)
            rows = level.read(2 * top, min(2 * bottom, level.height)).astype(np.uint16)
            odd = [(0, size % 2) for size in rows.shape[:2]]
            rows = np.pad(rows, [*odd, (0, 0)], mode="edge")
            total = rows[::2, ::2] + rows[1::2, ::2] + rows[::2, 1::2] + rows[1::2, 1::2]
            target.write(top, ((total + 2) // 4).astype(np.uint8))
    return half


def read_band(level: Level, number: int) -> NDArray[np.uint8]:
    """Rows of the tiles of a level, [EDGE, W], W a multiple of ``EDGE``; its edge is repeated."""
    top = number * EDGE
    rows = level.read(top, min(top + EDGE, level.height))
    missing = [(0, EDGE - len(rows)), (0, -rows.shape[1] % EDGE)]
    return np.pad(rows, missing + [(0, 0)] * (rows.ndim - 2), mode="edge")


def iter_tiles(level: Level) -> Iterator[NDArray[np.uint8]]:
    """Squares of ``EDGE`` pixels, row by row; the last ones repeat the edge of the picture."""
    for number in range(-(-level.height // EDGE)):
        rows = read_band(level, number)
        for left in range(0, rows.shape[1], EDGE):
            yield np.ascontiguousarray(rows[:, left : left + EDGE])
