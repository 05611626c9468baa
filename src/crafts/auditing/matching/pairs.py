"""Copies between two sets of tiles, for stages that only ask whether there are any."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from crafts.auditing.matching.copies import calibrate, find_copies, judge
from crafts.auditing.matching.library import Library
from crafts.data.collection import Tile


class Images(Protocol):
    """Tiles by number, as a folder gives them."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """As its folder lists it."""
        ...

    def load(self, index: int) -> Tile | str:
        """The tile, or why it cannot be used."""
        ...


class Pair(NamedTuple):
    """A tile that shows another one: its name, that of the other, and what was done to it."""

    name: str
    source: str
    how: str


def find_pairs(suspects: Images, known: Images, *, num_workers: int = 2) -> list[Pair]:
    """Tiles of one set that show a tile of another, whole or in part, at the default limits.

    Args:
        suspects: to be judged.
        known: that they may be copies of.
        num_workers: threads that decode and describe.
    """
    library = Library(len(known), known.load, num_workers=num_workers)
    found = find_copies("copies", len(suspects), open_tile=suspects.load, library=library)
    limits = calibrate(())
    verdicts = [
        judge(suspects.name(k), one, limits=limits, sources=known.name)
        for k, one in enumerate(found)
    ]
    return [Pair(one.name, one.source, one.how) for one in verdicts if one.verdict == "copy"]
