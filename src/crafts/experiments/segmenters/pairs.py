"""Synthetic pairs of tile and mask: from the masks of real training tiles, and from invented ones.

A pair of kind ``masks`` has the mask and the text of a real tile, a pair of kind ``invented`` its
text and the numbers of its nuclei, but nuclei of other outlines in other places. So row by row
there are three pairs: real, masks, invented.
"""

from __future__ import annotations

import csv
import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crafts.controls.layouts import (
    MEGAPIXEL,
    LayoutStatistics,
    fit_layouts,
    measure_nuclei,
    save_statistics,
)
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import CLASSES, NucleiMask, separate
from crafts.controls.synthesis.invent import sample_layout
from crafts.core.errors import DataError
from crafts.core.runtime import say, seed_from
from crafts.core.tables import csv_writer
from crafts.data.listing.items import ListedTile
from crafts.experiments.corpus.tiles import in_turn
from crafts.sets.masked import list_pairs

REAL, MASKS, INVENTED, FEW = "real", "masks", "invented", "few"
NO_TEXT = "H&E stain"  # the prompt of a tile whose set says nothing of it


@dataclass(frozen=True)
class Source:
    """A real training tile; pairs of one number belong together."""

    number: int
    item: ListedTile

    @property
    def set(self) -> str:
        """Where it comes from."""
        return str(self.item.fields["set"])

    @property
    def patient(self) -> str:
        """Whom it comes from."""
        return str(self.item.fields["patient"])

    @property
    def tissue(self) -> str:
        """Tiles whose masks are fitted together."""
        return f"{self.set}, {self.item.fields.get('power') or 'any'} power"

    def key(self, kind: str) -> str:
        """Of its pair of a kind; keys of all kinds sort alike."""
        return f"{kind}-{self.number:05d}"


def choose_sources(pairs: Path, num: int) -> list[Source]:
    """About ``num`` training tiles, of each set as many, and in a set of each patient as many.

    A set with fewer gives all that it has, and the others more.

    Raises:
        DataError: no training tile with a mask.
    """
    by_set: dict[str, dict[str, list[ListedTile]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(list_pairs(pairs, "train"), key=lambda item: seed_from("pairs", item.key)):
        by_set[str(item.fields["set"])][str(item.fields["patient"])].append(item)
    if not by_set:
        raise DataError(
            str(pairs),
            came="no training tile with a mask",
            allowed="a table with file_name, mask, set, patient and split",
            do="Collect the pairs with their splits.",
        )
    chosen: list[ListedTile] = []
    sizes = {name: sum(map(len, patients.values())) for name, patients in by_set.items()}
    for place, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        share = (num - len(chosen)) // (len(sizes) - place)
        chosen += in_turn(by_set[name])[:share]
    return [Source(number, item) for number, item in enumerate(chosen)]


def draw_few(sources: Sequence[Source], share: float, *, seed: int) -> list[Source]:
    """That share of the tiles of each set, at least one, from as few patients as hold them."""
    by_set: dict[str, dict[str, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        by_set[source.set][source.patient].append(source)
    found: list[Source] = []
    for name, patients in sorted(by_set.items()):
        order = sorted(patients)
        random.Random(seed_from(seed, "few", name)).shuffle(order)
        tiles = [tile for patient in order for tile in patients[patient]]
        found += tiles[: max(1, round(share * len(tiles)))]
    return sorted(found, key=lambda source: source.number)


def write_masks(sources: Sequence[Source], folder: Path) -> None:
    """Masks of both kinds, ``folder/KEY.png``, and what was fitted.

    Nuclei are separated once, here: training would do it again in every run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    masks = [separate(load_mask(Path(source.item.mask))) for source in sources]
    by_tissue: dict[str, list[NucleiMask]] = defaultdict(list)
    for source, mask in zip(sources, masks, strict=True):
        by_tissue[source.tissue].append(mask)
    fitted = {}
    for tissue, members in sorted(by_tissue.items()):
        try:
            fitted[tissue] = fit_layouts(members, tissue)
        except DataError as error:  # a handful of nuclei: their invented masks stay empty
            say(f"no layouts of {tissue}: {error}")
    save_statistics(folder / "layouts.json", fitted)
    for source, mask in zip(sources, masks, strict=True):
        invented = invent_like(mask, fitted.get(source.tissue), seed=source.number)
        save_mask(folder / f"{source.key(MASKS)}.png", mask)
        save_mask(folder / f"{source.key(INVENTED)}.png", invented)


def invent_like(mask: NucleiMask, statistics: LayoutStatistics | None, *, seed: int) -> NucleiMask:
    """A layout with as many nuclei of each class as a mask, so that its tile's text fits.

    Args:
        mask: with nuclei.
        statistics: of its tissue; None gives a mask without nuclei.
        seed: of the layout.
    """
    found = measure_nuclei(mask)
    scale = MEGAPIXEL / (mask.size[0] * mask.size[1])
    numbers, counts = np.unique(found.classes[found.counted], return_counts=True)
    wanted = {
        CLASSES[number]: count * scale
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
        if statistics is not None and CLASSES[number] in statistics.classes
    }
    if statistics is None or not wanted:
        return NucleiMask(np.zeros(mask.size, np.uint8), np.zeros(mask.size, np.int32))
    alike = statistics.model_copy(update={"compositions": (wanted,)})
    return sample_layout(alike, size=mask.size, seed=seed)


def write_requests(sources: Sequence[Source], masks: Path, path: Path) -> None:
    """The manifest for ``crafts generate``: both kinds of every tile, each with a seed of its own.

    Args:
        sources: real tiles.
        masks: folder of :func:`write_masks`; lies beside the manifest.
        path: of the manifest.
    """
    rows = [
        {
            "id": source.key(kind),
            "prompt": source.item.text or NO_TEXT,
            "nuclei": f"{masks.name}/{source.key(kind)}.png",
            "seed": seed_from("synthetic pairs", kind, source.number),
        }
        for source in sources
        for kind in (MASKS, INVENTED)
    ]
    _write_table(rows, path)


def write_pairs(
    sources: Sequence[Source], output: Path, *, few: float, seeds: Sequence[int]
) -> None:
    """``output/table/metadata.csv`` for ``crafts pack``; column ``set`` begins with the kind.

    A draw of a few real tiles for seed S has the kind ``few-S``. A tile from a mask keeps the
    patient of the mask, so that both kinds are drawn equally often; an invented one stands for
    itself.

    Args:
        sources: real tiles.
        output: with ``masks/`` and ``generated/``.
        few: share of the tiles in a draw of few.
        seeds: of the draws.
    """
    with (output / "generated" / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        made = {
            row["id"]: output / "generated" / row["file_name"] for row in csv.DictReader(handle)
        }
    drawn = {f"{FEW}-{seed}": draw_few(sources, few, seed=seed) for seed in seeds}
    rows = []
    for kind, members in {REAL: sources, **drawn, MASKS: sources, INVENTED: sources}.items():
        for source in members:
            real = kind not in (MASKS, INVENTED)
            image = Path(source.item.path) if real else made.get(source.key(kind))
            if image is None:  # generate has left it out
                continue
            mask = output / "masks" / f"{source.key(MASKS if real else kind)}.png"
            files = [
                os.path.relpath(path.resolve(), (output / "table").resolve())
                for path in (image, mask)
            ]
            rows.append(
                {
                    "key": source.key(kind),
                    "file_name": files[0],
                    "mask": files[1],
                    "text": source.item.text or NO_TEXT,
                    "patient": "" if kind == INVENTED else source.patient,
                    "split": "train",
                    "set": f"{kind} {source.set}",
                }
            )
    _write_table(rows, output / "table" / "metadata.csv")


def _write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(list(rows[0]))
        writer.writerows(list(row.values()) for row in rows)
