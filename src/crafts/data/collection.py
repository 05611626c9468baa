"""A folder of images, whoever made it, opened one image at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import MANIFEST, load_manifest, sha256_bytes
from crafts.core.errors import ConfigError
from crafts.core.patients import patient_in
from crafts.data.config import Columns
from crafts.data.listing.items import ListedTile
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.loader import ShardReader
from crafts.data.tiles.images import MAX_PIXELS, decode_rgb

_GROUPS = ("group", "slide")  # what stands for the patient where none is named


@dataclass(frozen=True)
class Tile:
    """One usable image.

    Attributes:
        name: as its folder lists it.
        pixels: uint8 [H, W, 3].
        sha256: of the image file.
        text: caption or prompt, possibly empty.
        fields: what else is known of it (label, patient, split, set, seed, ...).
    """

    name: str
    pixels: NDArray[np.uint8]
    sha256: str
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


class Collection:
    """Images by number: a folder of tiles in any layout that ``pack`` reads, or packed shards.

    Args:
        source: folder, table or tar as :func:`~crafts.data.listing.tilesets.list_items` knows them,
            the output of ``generate``, or the output of ``pack``.
        split: keep rows of this split only; rows that name no split are then left out.
        columns: names of columns in tables.

    Attributes:
        source: where the images lie.
        splits: names of the splits that its rows name, whichever is kept.

    Raises:
        ConfigError: nothing there, or no row of this split.
        DataError: the layout is not recognised.
    """

    def __init__(
        self, source: Path, *, split: str | None = None, columns: Columns | None = None
    ) -> None:
        self.source = source
        self._shards = ShardReader(source) if _is_packed(source) else None
        self._items: list[ListedTile] = [] if self._shards else list_items(source, columns)
        every: list[Mapping[str, Any]] = (
            list(self._shards.rows) if self._shards else [item.fields for item in self._items]
        )
        self.splits = sorted({str(row["split"]) for row in every if row.get("split")})
        self._order = [
            i for i, row in enumerate(every) if split is None or row.get("split") == split
        ]
        if not self._order:
            found = sorted({str(row.get("split") or "none") for row in every})
            raise ConfigError(
                f"{source}: split",
                came=f"no image of split {split!r}",
                allowed=f"one of {', '.join(found)}",
                do="Correct the split, or leave it out.",
            )

    def __len__(self) -> int:
        """Number of listed images, usable or not."""
        return len(self._order)

    def name(self, index: int) -> str:
        """The image as its folder lists it."""
        where = self._order[index]
        return str(self._shards.rows[where]["key"] if self._shards else self._items[where].name)

    def groups(self) -> list[str]:
        """Patient (or group, case, slide) of each image, "" where none is named."""
        if self._shards:
            return [group_of(self._shards.rows[where]) for where in self._order]
        return [group_of(self._items[where].fields) for where in self._order]

    def row(self, index: int) -> Mapping[str, Any]:
        """What is known of an image before it is opened: its fields and its ``text``."""
        where = self._order[index]
        if self._shards:
            return self._shards.rows[where]
        return {**self._items[where].fields, "text": self._items[where].text}

    def encoded(self, index: int) -> bytes | str:
        """One image file without its metadata, or the reason why it cannot be used."""
        where = self._order[index]
        if self._shards:
            return self._shards.image_bytes(where)
        found = load_item(self._items[where], MAX_PIXELS)
        return found if isinstance(found, str) else found.sample.image

    def load(self, index: int) -> Tile | str:
        """Open one image: the tile, or the reason in words why it cannot be used."""
        where = self._order[index]
        if self._shards:
            row = dict(self._shards.rows[where])
            text = str(row.pop("text", "") or "")
            return Tile(row["key"], self._shards.image(where), row["sha256"], text, row)
        item = self._items[where]
        found = load_item(item, MAX_PIXELS)
        if isinstance(found, str):
            return found
        sample = found.sample
        pixels = decode_rgb(sample.image)
        return Tile(item.name, pixels, sha256_bytes(sample.image), sample.text, sample.fields)


def group_of(fields: Mapping[str, Any]) -> str:
    """What a row names as the unit of a split; "" for none."""
    known = {name: value for name, value in fields.items() if value not in (None, "", "unknown")}
    named = (known.get(name) for name in _GROUPS)
    return patient_in(known) or next((str(value) for value in named if value), "")


def _is_packed(source: Path) -> bool:
    return (source / MANIFEST).is_file() and load_manifest(source).stage == "pack"
