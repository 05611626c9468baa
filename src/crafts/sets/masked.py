"""Tiles with their nuclei masks: found beside them or in a table, opened, brought to one scale.

A segmenter sees pixels: nuclei of 8 px are not found as those of 16 px are. So both sides are
brought to the pixels of the generated tiles before the one is held against the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.controls.maps import fit_mask, resize_mask
from crafts.controls.masks import load_tile_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.errors import ConfigError, DataError
from crafts.data.collection import group_of
from crafts.data.config import Columns
from crafts.data.listing.items import ListedTile
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.tiles.images import decode_rgb
from crafts.data.tiles.masks import decode_mask

_SAME = 1.1  # between scales that count as one, as between scanners of one nominal power
_SMALLEST = 16  # pixels a side of a tile that nuclei can be looked for in
_LARGEST = 4.0  # times that a tile is enlarged: beyond, there is nothing to find in it


@dataclass(frozen=True)
class MaskedTile:
    """An image with the mask that it was made from, or that was drawn on it.

    Attributes:
        name: of the image.
        image: uint8 [H, W, 3].
        mask: of the same size.
        patient: whom the mask comes from; "" where it is not known.
        mpp: microns per pixel; None where they are not known.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NucleiMask
    patient: str = ""
    mpp: float | None = None


@dataclass(frozen=True)
class Masked:
    """The tiles of one side that name a mask.

    Attributes:
        items: with a mask.
        unmasked: tiles that name none.
        rejected: tiles and rows of a table of masks that cannot be used, with the reason.
    """

    items: Sequence[ListedTile] = ()
    unmasked: int = 0
    rejected: Sequence[str] = field(default_factory=list)


def list_pairs(source: Path, split: str = "") -> list[ListedTile]:
    """Tiles of a folder, table or shards that have a mask.

    Args:
        source: as ``crafts pack`` takes it; masks in a column ``mask``, or in the tars.
        split: of the rows; "" for all.
    """
    items = [item for item in list_items(source) if item.mask and not item.fault]
    return [item for item in items if not split or item.fields.get("split") == split]


def iter_pairs(items: Sequence[ListedTile], *, resize: bool = False) -> Iterator[MaskedTile | str]:
    """Open tiles with their masks; one that cannot be used comes as its reason.

    Args:
        items: of :func:`list_pairs`.
        resize: bring a mask of the same field to the pixels of its tile; else it is refused.
    """
    for item in items:
        named = item.fields.get("mpp")
        mpp = float(named) if isinstance(named, int | float) else None
        load = partial(_load_fitting, mpp=mpp) if resize else load_tile_mask
        loaded = load_item(item, load_mask=load)
        if isinstance(loaded, str):
            yield f"{item.name}: {loaded}"
            continue
        arrays = decode_mask(loaded.mask)
        mask = NucleiMask(arrays.classes, arrays.instances, source=item.name)
        patient = group_of(item.fields)
        yield MaskedTile(item.name, decode_rgb(loaded.sample.image), mask, patient, mpp)


def find_masked(
    folders: Mapping[str, Path],
    *,
    split: str = "",
    table: Path | None = None,
    columns: Columns | None = None,
) -> Masked:
    """Tiles with a mask, whatever is listed without one, and what cannot be used.

    Args:
        folders: prefix of the names -> folder, table or shards, as ``crafts pack`` takes them.
        split: of the rows; "" for all.
        table: a table of two columns, ``file_name`` and ``mask`` (paths relative to the table),
            which goes before masks that the tiles name themselves. A row belongs to the tile of
            its name; a name without folders also to the only tile that ends in it.
        columns: of all these tables.

    Raises:
        ConfigError: no such table, no column ``mask``, or no row that belongs to a tile.
        DataError: the table cannot be read.
    """
    items = [
        replace(item, name=f"{prefix}/{item.name}" if prefix else item.name)
        for prefix, folder in folders.items()
        for item in list_items(folder, columns)
    ]
    rejected: list[str] = []
    if table is not None:
        items, rejected = _with_table(items, table, columns)
    items = [item for item in items if not split or item.fields.get("split") == split]
    named = [item for item in items if item.mask]
    faults = [f"{item.name}: {item.fault}" for item in named if item.fault]
    return Masked(
        [one for one in named if not one.fault], len(items) - len(named), rejected + faults
    )


def bring_to_one_scale(
    made: Sequence[MaskedTile], real: Sequence[MaskedTile]
) -> tuple[list[MaskedTile], list[MaskedTile], str]:
    """Both sides on the pixels of the generated tiles.

    By microns per pixel where every tile names them; else tiles are taken to show fields of one
    size, and are brought to the shorter side of the generated ones.

    Args:
        made: generated tiles, at least one.
        real: real tiles, perhaps none.

    Returns:
        Both sides, and what was done, in a sentence; "" where nothing was.

    Raises:
        DataError: a side mixes sizes and does not name its microns per pixel, or a tile would have
            fewer than 16 pixels a side, or more than four times as many as it has.
    """
    every = [*made, *real]
    known = all(pair.mpp for pair in every)
    if known:
        scales, unit = [float(pair.mpp or 0) for pair in every], "µm a pixel"
    else:
        scales, unit = [float(min(pair.image.shape[:2])) for pair in every], "px"
        for name, side in (("generated", scales[: len(made)]), ("real", scales[len(made) :])):
            _refuse_mixed(name, side)
    target = float(np.median(scales[: len(made)]))
    factors = [scale / target if known else target / scale for scale in scales]
    if max(factors) <= _SAME and min(factors) >= 1 / _SAME:
        return list(made), list(real), ""
    done = [_resized(pair, one) for pair, one in zip(every, factors, strict=True)]
    ends = sorted({f"{scale:g}" for scale in (min(scales), max(scales))})
    taken = "" if known else ", taking tiles to show fields of one size (microns per pixel unknown)"
    words = f"Tiles of {' to '.join(ends)} {unit} and their masks were brought to {target:g} {unit}"
    return done[: len(made)], done[len(made) :], f"{words}{taken}."


def _with_table(
    items: Sequence[ListedTile], table: Path, columns: Columns | None
) -> tuple[list[ListedTile], list[str]]:
    """Items with the masks of a table, and its rows that cannot be used."""
    rows, rejected = list_items(table, columns), []
    if not any(row.mask for row in rows):
        raise ConfigError(
            str(table),
            came="no column `mask` with a path",
            allowed="a table of masks: file_name, mask",
            do="Name the columns so; paths are relative to the table.",
        )
    places = _Places(items)
    masks: dict[int, str] = {}
    for row in rows:
        place = places.find(row)
        if row.fault or place is None or not row.mask:
            rejected.append(f"{table.name}: {row.name}: {row.fault or 'no such tile, or no mask'}")
        else:
            masks[place] = row.mask
    if not masks:
        raise ConfigError(
            str(table),
            came=f"{len(rows)} rows, the first for {rows[0].name!r}, none for a tile that is there",
            allowed=f"names as the tiles have them, such as {items[0].name!r}",
            do="Correct the column file_name.",
        )
    changed = [
        replace(item, mask=masks[k], mask_offset=-1, mask_size=0) if k in masks else item
        for k, item in enumerate(items)
    ]
    return changed, rejected


class _Places:
    """Where the tiles of a list stand: by name, by key, and by the end of a name."""

    def __init__(self, items: Sequence[ListedTile]) -> None:
        self.names = {item.name: k for k, item in enumerate(items)}
        self.keys = _unique((item.key, k) for k, item in enumerate(items))
        self.ends = _unique((PurePosixPath(item.name).name, k) for k, item in enumerate(items))

    def find(self, row: ListedTile) -> int | None:
        """The tile that a row means; None for none, or for one of several."""
        for table, name in ((self.names, row.name), (self.keys, row.key)):
            if name in table:
                return table[name]
        return None if "/" in row.name else self.ends.get(row.name)


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Names that come once."""
    listed = list(pairs)
    counts = Counter(name for name, _ in listed)
    return {name: place for name, place in listed if counts[name] == 1}


def _refuse_mixed(name: str, sides: Sequence[float]) -> None:
    if sides and max(sides) > _SAME * min(sides):
        raise DataError(
            f"evaluate: masks of {name} tiles",
            came=f"tiles of {min(sides):g} to {max(sides):g} px that do not name their scale",
            allowed="tiles of one size, or a column `mpp` on both sides",
            do="Name the microns per pixel, or cut the tiles to one size.",
        )


def _resized(pair: MaskedTile, factor: float) -> MaskedTile:
    """A pair on other pixels; its mask loses no nucleus."""
    height, width = (max(1, round(side * factor)) for side in pair.image.shape[:2])
    if min(height, width) < _SMALLEST or factor > _LARGEST:
        raise DataError(
            f"evaluate: masks: {pair.name}",
            came=f"{width} x {height} px at the scale of the generated tiles",
            allowed=f"at least {_SMALLEST} px a side, at most {_LARGEST:g} times what it has",
            do="Check the microns per pixel of both sides.",
        )
    if (height, width) == pair.image.shape[:2]:
        return pair
    kind = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    image = np.asarray(Image.fromarray(pair.image).resize((width, height), kind))
    mpp = pair.mpp / factor if pair.mpp else None
    return replace(pair, image=image, mask=resize_mask(pair.mask, (height, width)), mpp=mpp)


def _load_fitting(path: Path, size: tuple[int, int], *, mpp: float | None) -> NucleiMask:
    return fit_mask(load_tile_mask(path, size), size=size, mpp=mpp, resize=True)
