"""The user's tiles: packed, so many as the clock allows, and what they are asked back for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crafts import api
from crafts.core.artifacts import fingerprint
from crafts.core.errors import DataError
from crafts.core.runtime import say, seed_from
from crafts.core.tables import csv_writer
from crafts.data.collection import group_of
from crafts.data.config import EncodeConfig, PackConfig
from crafts.data.listing.tilesets import list_items
from crafts.data.loader import ShardReader
from crafts.data.pack import assign_item_splits
from crafts.data.tiles.variants import prepare
from crafts.workflows.finetuning.config import FinetuneConfig

Row = dict[str, Any]
REAL = 200  # tiles of a side that the judge looks at, at most
NAMELESS = "Tissue, H&E."  # prompt of tiles that have neither text nor folder


@dataclass(frozen=True)
class Tiles:
    """Packed tiles.

    Attributes:
        shards: their folder.
        rows: of the index.
        judged: split that the judge looks at; "" where nothing is held out.
    """

    shards: Path
    rows: list[Row]
    judged: Literal["heldout", "validation", ""]

    @property
    def fingerprint(self) -> str:
        """Identity of the packed tiles."""
        return fingerprint(self.shards)

    def of_split(self, split: str, most: int | None = None) -> list[int]:
        """Numbers of the rows of a split, patients and classes mixed, at most so many."""
        found = [i for i, row in enumerate(self.rows) if row["split"] == split]
        return sorted(found, key=lambda i: seed_from("tile", self.rows[i]["key"]))[:most]

    def images(self, numbers: Sequence[int], size: int) -> list[NDArray[np.uint8]]:
        """Tiles as the model sees them, uint8 [size, size, 3]."""
        reader, config = ShardReader(self.shards), encode_config(size, 1)
        tiles = (prepare(reader.image(i), config) for i in numbers)
        return [
            ((tile + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
            for tile in tiles
        ]

    def groups(self, numbers: Sequence[int]) -> list[str]:
        """Patient of each tile; where none is named, the tile itself."""
        return [group_of(self.rows[i]) or f"tile:{self.rows[i]['key']}" for i in numbers]

    def mpp(self, size: int) -> float | None:
        """Microns per pixel after the tiles were brought to ``size``; None where they differ."""
        scales = set()
        for row in self.rows:
            known = row.get("mpp")
            if not isinstance(known, int | float):
                return None
            scales.add(round(known * min(row["width"], row["height"]) / size, 4))
        return scales.pop() if len(scales) == 1 else None


def encode_config(size: int, variants: int) -> EncodeConfig:
    """Whole tiles, brought to the size of the model: the tile shows what a picture shall hold."""
    return EncodeConfig(tile_size=size, larger="resize", smaller="resize", variants=variants)


def pack_tiles(config: FinetuneConfig, source: Path, output: Path, *, most: int | None) -> Tiles:
    """Pack a source; of more tiles than ``most`` those that stand for all classes and splits.

    Args:
        config: of the run.
        source: as ``crafts pack`` takes it.
        output: of the run; gets ``shards/`` and, where tiles are left out, ``chosen.csv``.
        most: tiles that there is time for; None: all.
    """
    items = list_items(source)
    labelled = any(item.fields.get("label") for item in items)
    values: dict[str, Any] = {
        "untitled": config.untitled if labelled else config.untitled.replace("{label}", NAMELESS),
        "heldout": config.heldout,
        "min_heldout": 1,
        "seed": config.seed,
        "max_reject_fraction": config.max_reject_fraction,
    }
    splits = None
    if most is not None and len(items) > most:
        splits = output / "chosen.csv"
        sound = assign_item_splits(items, PackConfig(**values), None)
        _choose([item.fields | {"key": item.key} for item in sound if not item.fault], most, splits)
        values["max_reject_fraction"] = 1.0  # those left out for time count as rejected
        within = f"no time within --minutes {config.minutes:g}"
        values["left_out"] = f"not used: {within}"
        say(f"finetune: {most} of {len(items)} tiles are used: {within} for more")
    shards = output / "shards"
    api.pack(values, source, shards, splits=splits)
    rows = ShardReader(shards).rows
    splits_there = {row["split"] for row in rows}
    judged: Any = next((name for name in ("heldout", "validation") if name in splits_there), "")
    return Tiles(shards, rows, judged)


def _choose(rows: Sequence[Row], most: int, path: Path) -> None:
    """Write which tiles are packed: splits and classes take turns, in an order the keys decide."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: seed_from("chosen", row["key"])):
        groups.setdefault((row["split"], str(row.get("label", ""))), []).append(row)
    turns = sorted(
        (place / len(group), number, row["key"], row["split"])
        for number, group in enumerate(groups.values())
        for place, row in enumerate(group)
    )
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("key", "split"))
        writer.writerows((key, split) for _, _, key, split in turns[:most])


def write_prompts(tiles: Tiles, number: int, path: Path) -> list[str]:
    """The manifest of the pictures before and after: held-out captions, each with its own seed.

    Args:
        tiles: packed.
        number: of pictures.
        path: of the manifest.

    Returns:
        What each picture shall show: its label, or its prompt where tiles have none.

    Raises:
        DataError: no tile has a text.
    """
    order = [*tiles.of_split(tiles.judged), *tiles.of_split("train")]
    captioned = [i for i in order if tiles.rows[i]["text"]]
    if not captioned:
        raise DataError(
            "finetune: tiles",
            came="no tile with a text",
            allowed="a caption in metadata.csv, or a folder a class",
            do="Give the tiles texts; docs/finetune-mini.md shows how.",
        )
    chosen = [i for i in captioned if tiles.rows[i]["split"] == tiles.judged] or captioned
    by_kind: dict[str, list[int]] = {}
    for index in chosen:
        by_kind.setdefault(kind_of(tiles.rows[index]), []).append(index)
    kinds = sorted(by_kind)
    asked = [(kinds[n % len(kinds)], n // len(kinds)) for n in range(number)]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("id", "prompt", "seed"))
        for n, (kind, turn) in enumerate(asked):
            row = tiles.rows[by_kind[kind][turn % len(by_kind[kind])]]
            writer.writerow((f"{n:03d}", row["text"], n))
    return [kind for kind, _ in asked]


def kind_of(row: Row) -> str:
    """Label of a tile, or its text where it has none."""
    return str(row.get("label") or row["text"])


def write_classes(tiles: Tiles, path: Path) -> dict[str, str]:
    """``label,prompt`` of the training tiles, as ``crafts dataset --classes`` takes it.

    Returns:
        Label -> its most frequent prompt.
    """
    texts: dict[str, list[str]] = {}
    for index in tiles.of_split("train"):
        row = tiles.rows[index]
        texts.setdefault(kind_of(row), []).append(row["text"])
    found = {kind: max(sorted(set(own)), key=own.count) for kind, own in sorted(texts.items())}
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("label", "prompt"))
        writer.writerows(found.items())
    return found
