"""ImageFolder: ``train/CLASS/ID.png`` with a ``metadata.csv`` in each split, masks apart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from crafts.core.tables import csv_writer
from crafts.workflows.labelled.classes import slug
from crafts.workflows.labelled.pictures import Picture, by_split


def write(pictures: Sequence[Picture], folder: Path, *, licence: str) -> None:
    """Write the layout that ``datasets`` (imagefolder), torchvision and ``crafts pack`` read.

    Args:
        pictures: of the set.
        folder: new and empty.
        licence: of the weights, named in each row.
    """
    for split, mine in by_split(pictures):
        table = folder / split / "metadata.csv"
        table.parent.mkdir()
        with table.open("w", newline="", encoding="utf-8") as handle:
            writer = csv_writer(handle)
            named = ["mask"] if mine[0].mask else []
            facts = list(mine[0].facts())
            writer.writerow(["file_name", "label", "text", *facts, "licence", *named])
            for one in mine:
                name = f"{slug(one.label)}/{one.id}.png"
                place_file(one.path, table.parent / name)
                mask = [f"../{_place_mask(one.mask, folder, one.id)}"] if one.mask else []
                writer.writerow([name, one.label, one.text, *one.facts().values(), licence, *mask])


def place_file(source: Path, target: Path) -> None:
    """The same file under another name: a hard link, or a copy where disks do not share files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _place_mask(mask: Path, folder: Path, name: str) -> str:
    for suffix in (".png", ".json"):
        place_file(mask.with_suffix(suffix), folder / "masks" / f"{name}{suffix}")
    return f"masks/{name}.png"
