"""The pictures of a set: which are kept, in which split, with which nuclei."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.runtime import say
from crafts.data.cleaning.duplicates import find_duplicates, make_print
from crafts.data.splits import assign_splits
from crafts.workflows.labelled.classes import Wording

_BATCH = 8
_SPLIT_NAMES = {"train": "train", "validation": "validation", "heldout": "test"}
SPLITS = tuple(_SPLIT_NAMES.values())
SAME, COPY = "the same picture as", "a copy of training tile"
"""How the reasons begin for which a finished picture is given up."""


@dataclass(frozen=True)
class Picture:
    """One kept picture.

    Attributes:
        id: of its request; names its files.
        path: the PNG, which carries its own provenance.
        label: of its class.
        text: prompt.
        seed, k: it is the k-th try with this seed.
        sha256: of the file.
        split: train, validation or test.
        mask: PNG of its nuclei with a json beside it; None for none.
    """

    id: str
    path: Path
    label: str
    text: str
    seed: int
    k: int
    sha256: str
    split: str = "train"
    mask: Path | None = None

    def facts(self) -> dict[str, str | int]:
        """What every layout tells of it beside label and text."""
        return {"id": self.id, "seed": self.seed, "k": self.k, "sha256": self.sha256}

    def nuclei(self) -> NucleiMask | None:
        """Its nuclei; None for a set without masks."""
        return None if self.mask is None else load_mask(self.mask)


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H, W, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def list_pictures(generated: Path, asked: Mapping[str, Wording]) -> list[Picture]:
    """What ``generate`` made and kept, in the order of the requests."""
    with (generated / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = {row["id"]: row for row in csv.DictReader(handle)}
    return [
        Picture(
            name,
            generated / row["file_name"],
            wording.label,
            row["text"],
            int(row["seed"]),
            int(row["k"]),
            row["sha256"],
            mask=generated / row["mask"] if row.get("mask") else None,
        )
        for name, wording in asked.items()
        if (row := rows.get(name))
    ]


def find_repeats(pictures: Sequence[Picture]) -> dict[str, str]:
    """Pictures that show what an earlier one shows, turned or mirrored ones too: id -> reason."""
    prints = [make_print(read_pixels(picture.path)) for picture in pictures]
    return {
        pictures[found.index].id: f"{SAME} {pictures[found.of].id}"
        for found in find_duplicates(prints)
    }


def share_out(
    pictures: Sequence[Picture], *, validation: float, test: float, seed: int
) -> list[Picture]:
    """Give every picture a split, class by class.

    Each was made from noise of its own, so that no two splits share anything but the model.
    """
    strata: dict[str, list[str]] = {}
    for picture in pictures:
        strata.setdefault(picture.label, []).append(picture.id)
    split = assign_splits(
        strata, heldout=test, validation=validation, min_heldout=1 if test else 0, seed=seed
    )
    return [replace(picture, split=_SPLIT_NAMES[split[picture.id]]) for picture in pictures]


def segment_all(pictures: Sequence[Picture], folder: Path) -> list[Picture]:
    """Pictures with the nuclei that the shipped segmenter finds; what is there is not made again.

    Args:
        pictures: of one size.
        folder: gets ``ID.png`` and ``ID.json``.
    """
    from crafts.model.segmenter import open_segmenter

    folder.mkdir(exist_ok=True)
    missing = [one for one in pictures if not (folder / f"{one.id}.json").is_file()]
    if missing:
        segmenter = open_segmenter("mini")
    for start in range(0, len(missing), _BATCH):
        say(f"dataset: nuclei of {start} of {len(missing)} pictures")
        batch = missing[start : start + _BATCH]
        found = segmenter.segment([read_pixels(one.path) for one in batch])
        for one, mask in zip(batch, found, strict=True):
            save_mask(folder / f"{one.id}.png", replace(mask, source="crafts segmenter"))
    return [replace(one, mask=folder / f"{one.id}.png") for one in pictures]


def by_split(pictures: Sequence[Picture]) -> Iterator[tuple[str, list[Picture]]]:
    """Splits that have pictures, each with its own."""
    for split in SPLITS:
        found = [one for one in pictures if one.split == split]
        if found:
            yield split, found


def labels_of(pictures: Sequence[Picture]) -> list[str]:
    """Names of the classes, sorted; the number of a class is its place."""
    return sorted({one.label for one in pictures})
