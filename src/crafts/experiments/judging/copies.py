"""How many images of an arm are parts of training tiles, by the search of ``crafts audit``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.copies import Found, calibrate, find_copies, judge
from crafts.auditing.matching.library import Library
from crafts.core.artifacts import sha256_bytes
from crafts.core.runtime import seed_from
from crafts.data.collection import Tile
from crafts.experiments.corpus.tiles import Tiles

Pixels = NDArray[np.uint8]
_CALIBRATING = 400  # held-out tiles that say how alike other patients' tissue is by chance


class CopySearch:
    """The training tiles as a library, and how alike a copy must be.

    Args:
        tiles: of the experiment; those that are held out set the limit.
    """

    def __init__(self, tiles: Tiles) -> None:
        training = tiles.training
        self._library = Library(
            len(training), lambda number: _tile(tiles.shards.image(training[number]))
        )
        rows = tiles.shards.rows
        held = [i for i, row in enumerate(rows) if row.get("split") in ("heldout", "validation")]
        held = sorted(held, key=lambda i: seed_from("copies", rows[i]["key"]))[:_CALIBRATING]
        self._limits = calibrate(self._search("held-out tiles", tiles.images(held)))

    def rates(self, sets: Sequence[Sequence[Pixels]]) -> list[float]:
        """Share of the images of each set that are copies, in percent.

        Args:
            sets: of images uint8 [S, S, 3].
        """
        found = iter(self._search("images", [image for images in sets for image in images]))
        return [100 * sum(self._is_copy(next(found)) for _ in one) / len(one) for one in sets]

    def _search(self, what: str, images: Sequence[Pixels]) -> list[Found]:
        return find_copies(
            what,
            len(images),
            open_tile=lambda number: _tile(images[number]),
            library=self._library,
        )

    def _is_copy(self, found: Found) -> bool:
        return judge("", found, limits=self._limits, sources=str).verdict == "copy"


def _tile(pixels: Pixels) -> Tile:
    return Tile("", pixels, sha256_bytes(pixels.tobytes()))
