"""Tiles described for a search: what is kept of each, and the training tiles as a library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.matching.landmarks import TileStructure, describe
from crafts.auditing.matching.search import Index, build_cells
from crafts.core.artifacts import sha256_bytes
from crafts.core.runtime import say
from crafts.data.collection import Tile

MIN_STRUCTURE = 0.1
"""Share of the area; a tile with less is plain: there is nothing in it to recognise."""

ONE_COLOUR = 2
"""Grey levels by which the channels of a tile may vary that equals others by nature: bare white."""

_MIN_PIXELS, _MAX_ASPECT = 32, 8
_BLOCK = 5000  # tiles of either side in memory
_STEP = 200

OpenTile = Callable[[int], Tile | str]
"""Number of a tile in a set -> the tile, or the reason why it cannot be used."""


@dataclass(frozen=True)
class Seen:
    """What is kept of one opened tile.

    Attributes:
        file_hash: sha256 of the file.
        pixel_hash: sha256 of shape and pixels.
        colour: mean of the channels [3], which recompression keeps and another stain does not.
        described: structure and landmarks; None where they are not needed again.
        blank: of one colour, so that even an equal tile would mean nothing.
        fault: why the tile cannot be used; "" for a usable one.
    """

    file_hash: str = ""
    pixel_hash: str = ""
    colour: tuple[float, ...] = ()
    described: TileStructure | None = None
    blank: bool = False
    fault: str = ""


class Library:
    """Training tiles to be searched, some thousand at a time.

    Args:
        number: of tiles.
        open_tile: opens one.
        num_workers: threads that decode and describe.

    Attributes:
        facts: of each tile, without its structure map; filled by the first :meth:`iter_indexes`.
    """

    def __init__(self, number: int, open_tile: OpenTile, *, num_workers: int = 1) -> None:
        self.number, self.open_tile, self.num_workers = number, open_tile, num_workers
        self.facts: dict[int, Seen] = {}
        self._centres: NDArray[np.float32] | None = None
        self._only: tuple[Index, list[int]] | None = None

    def iter_indexes(self) -> Iterator[tuple[Index, list[int]]]:
        """Indexes of a block of tiles each, with the numbers of their tiles.

        A library of one block keeps it; others are described again, so that memory stays bounded.
        """
        if self._only is not None:
            yield self._only
            return
        for block in iter_blocks(self.number):
            rows, tiles = [], []
            for number, seen in self._look(block):
                self.facts[number] = replace(seen, described=None)
                if seen.described is not None and not is_plain(seen.described):
                    rows.append(number)
                    tiles.append(seen.described)
            if not tiles:
                continue
            if self._centres is None:
                self._centres = build_cells(tiles)
            index = (Index(tiles, self._centres), rows)
            if self.number <= _BLOCK:
                self._only = index
            yield index

    def _look(self, block: range) -> Iterator[tuple[int, Seen]]:
        return look(
            "audit: training", block, open_tile=self.open_tile, num_workers=self.num_workers
        )


def is_plain(described: TileStructure) -> bool:
    """Whether there is too little structure to recognise a tile by."""
    return described.structure < MIN_STRUCTURE or len(described.landmarks) < 3


def look(
    what: str,
    numbers: Sequence[int],
    *,
    open_tile: OpenTile,
    num_workers: int,
    scales: tuple[float, ...] = (1.0,),
) -> Iterator[tuple[int, Seen]]:
    """Open and describe tiles in order, with a line of progress now and then.

    Args:
        what: names the set in the lines of progress.
        numbers: of the tiles.
        open_tile: opens one.
        num_workers: threads that decode and describe.
        scales: at which landmarks are looked for.

    Yields:
        The number of each tile and what is kept of it; a tile that cannot be used has a ``fault``.
    """

    def work(number: int) -> Seen:
        tile = open_tile(number)
        return Seen(fault=tile) if isinstance(tile, str) else see(tile, scales)

    with ThreadPoolExecutor(num_workers) as pool:
        for start in range(0, len(numbers), _STEP):
            some = numbers[start : start + _STEP]
            yield from zip(some, pool.map(work, some), strict=True)
            say(f"{what}: {min(start + _STEP, len(numbers))} of {len(numbers)} tiles described")


def see(tile: Tile, scales: tuple[float, ...] = (1.0,)) -> Seen:
    """Describe one tile, or say why it cannot be."""
    height, width = tile.pixels.shape[:2]
    if min(height, width) < _MIN_PIXELS:
        return Seen(fault=f"{width} x {height} px; the shorter side must have {_MIN_PIXELS}")
    if max(height, width) > _MAX_ASPECT * min(height, width):
        return Seen(fault=f"{width} x {height} px; longer than {_MAX_ASPECT} times its width")
    flat = tile.pixels.reshape(-1, 3)
    colour = tuple(flat.mean(axis=0).tolist())
    pixel_hash = sha256_bytes(f"{width}x{height}:".encode() + tile.pixels.tobytes())
    blank = bool((np.ptp(flat, axis=0) <= ONE_COLOUR).all())
    return Seen(tile.sha256, pixel_hash, colour, describe(tile.pixels, scales=scales), blank)


def iter_blocks(number: int) -> Iterator[range]:
    """The numbers of so many tiles, by what is held in memory at once."""
    for start in range(0, number, _BLOCK):
        yield range(start, min(start + _BLOCK, number))
