"""Synthetic pairs of tile and mask: from the masks of real training tiles, and from invented ones.

A pair of kind ``masks`` has the mask and the text of a real tile, a pair of kind ``invented`` its
text and the numbers of its nuclei, but nuclei of other outlines in other places. So row by row
there are three pairs: real, masks, invented.
"""

from __future__ import annotations

import csv
import io
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from crafts.core.artifacts import write_bytes
from crafts.core.errors import DataError
from crafts.core.runtime import say, seed_from

REAL, MASKS, INVENTED = "real", "masks", "invented"
FEW_DRAWS = 8  # draws of a few real tiles, one for each seed
NO_TEXT = "H&E stain"  # the prompt of a tile whose set says nothing of it
TABLE = ("key", "file_name", "mask", "text", "patient", "split", "set")

Row = Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """A real training tile.

    Attributes:
        number: in the order of all; pairs of one number belong together.
        image: its file.
        mask: its file.
        text: its caption, or ``NO_TEXT``.
        patient: whom it comes from.
        set: where it comes from.
        tissue: tiles whose masks are fitted together.
    """

    number: int
    image: Path
    mask: Path
    text: str
    patient: str
    set: str
    tissue: str

    def name(self, kind: str) -> str:
        """Key of its pair of a kind; keys of all kinds sort alike."""
        return f"{kind}-{self.number:05d}"


def choose_sources(pairs: Path, num: int) -> list[Source]:
    """About ``num`` training tiles, of each set as many, and in a set of each patient as many.

    A set with fewer gives all that it has, and the others more.

    Raises:
        DataError: no training tile with a mask.
    """
    with (pairs / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "train" and row["mask"]]
    by_set: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_set[row["set"]].append(row)
    chosen: list[Row] = []
    smallest_first = sorted(by_set, key=lambda name: (len(by_set[name]), name))
    for place, name in enumerate(smallest_first):
        share = (num - len(chosen)) // (len(smallest_first) - place)
        chosen += spread_patients(by_set[name], share, seed=0)
    if not chosen:
        raise DataError(
            str(pairs),
            came="no training tile with a mask",
            allowed="what collect_masks.py wrote",
            do="Run collect_masks.py.",
        )
    return [_source(number, row, pairs) for number, row in enumerate(chosen)]


def _source(number: int, row: Row, pairs: Path) -> Source:
    return Source(
        number=number,
        image=pairs / row["file_name"],
        mask=pairs / row["mask"],
        text=row["text"] or NO_TEXT,
        patient=row["patient"],
        set=row["set"],
        tissue=f"{row['set']}, {row.get('power') or 'any'} power",
    )


def spread_patients(rows: Sequence[Row], count: int, *, seed: int) -> list[Row]:
    """At most ``count`` rows, from the patients in turn."""
    queues: dict[str, list[Row]] = defaultdict(list)
    for row in random.Random(seed).sample(list(rows), len(rows)):
        queues[row["patient"]].append(row)
    found: list[Row] = []
    while len(found) < count and any(queues.values()):
        found += [queue.pop() for queue in queues.values() if queue]
    return found[:count]


def draw_few(sources: Sequence[Source], share: float, *, seed: int) -> list[Source]:
    """That share of the tiles of each set, from as few patients as hold them.

    Args:
        sources: real tiles.
        share: of them, above 0; at least one tile a set.
        seed: decides which patients.
    """
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
    """Masks of both kinds in ``folder/masks`` and ``folder/invented``, and what was fitted.

    Nuclei are separated once, here: training would do it again in every run.
    """
    masks = [separate(load_mask(source.mask)) for source in sources]
    for kind in (MASKS, INVENTED):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for source, mask in zip(sources, masks, strict=True):
        save_mask(folder / MASKS / f"{source.number:05d}.png", mask)
    fitted = _fit(sources, masks)
    save_statistics(folder / "layouts.json", fitted)
    for source, mask in zip(sources, masks, strict=True):
        invented = invent_like(mask, fitted.get(source.tissue), seed=source.number)
        save_mask(folder / INVENTED / f"{source.number:05d}.png", invented)
    say(f"{2 * len(sources)} masks in {folder}")


def _fit(sources: Sequence[Source], masks: Sequence[NucleiMask]) -> dict[str, LayoutStatistics]:
    """Layouts of each tissue that has enough nuclei."""
    by_tissue: dict[str, list[NucleiMask]] = defaultdict(list)
    for source, mask in zip(sources, masks, strict=True):
        by_tissue[source.tissue].append(mask)
    fitted = {}
    for tissue, members in sorted(by_tissue.items()):
        try:
            fitted[tissue] = fit_layouts(members, tissue)
        except DataError as error:  # a handful of nuclei: their invented masks stay empty
            say(f"no layouts of {tissue}: {error}")
    return fitted


def invent_like(mask: NucleiMask, statistics: LayoutStatistics | None, *, seed: int) -> NucleiMask:
    """A layout with as many nuclei of each class as a mask, so that its tile's text fits.

    Args:
        mask: with nuclei.
        statistics: of its tissue; None gives a mask without nuclei.
        seed: of the layout.
    """
    table = measure_nuclei(mask)
    scale = MEGAPIXEL / (mask.size[0] * mask.size[1])
    numbers, counts = np.unique(table.classes[table.counted], return_counts=True)
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
            "id": source.name(kind),
            "prompt": source.text,
            "nuclei": f"{masks.name}/{kind}/{source.number:05d}.png",
            "seed": str(seed_from("synthetic pairs", kind, source.number)),
        }
        for source in sources
        for kind in (MASKS, INVENTED)
    ]
    write_table(rows, ("id", "prompt", "nuclei", "seed"), path)


def pair_rows(
    sources: Sequence[Source], generated: Path, folder: Path, *, few: float
) -> list[dict[str, str]]:
    """Rows of all pairs for ``crafts pack``; the column ``set`` begins with the kind.

    Draw S of a few real tiles has the kind ``few-S``. A tile from a mask keeps the patient of the
    mask, so that both kinds are drawn equally often; an invented one stands for itself.

    Args:
        sources: real tiles.
        generated: output of ``crafts generate``.
        folder: that the paths shall start from.
        few: share of the tiles in a draw of few.
    """
    with (generated / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        made = {row["id"]: row for row in csv.DictReader(handle)}
    rows = [_real_row(source, REAL, generated, folder) for source in sources]
    for draw in range(FEW_DRAWS):
        kind = f"few-{draw}"
        drawn = draw_few(sources, few, seed=draw)
        rows += [_real_row(source, kind, generated, folder) for source in drawn]
    for kind in (MASKS, INVENTED):
        for source in sources:
            row = made.get(source.name(kind))
            if row is not None:
                files = (generated / row["file_name"], generated / row["mask"])
                patient = source.patient if kind == MASKS else ""
                rows.append(_row(source, kind, files, folder) | {"patient": patient})
    return rows


def _real_row(source: Source, kind: str, generated: Path, folder: Path) -> dict[str, str]:
    separated = generated.parent / "masks" / MASKS / f"{source.number:05d}.png"
    return _row(source, kind, (source.image, separated), folder)


def _row(source: Source, kind: str, files: tuple[Path, Path], folder: Path) -> dict[str, str]:
    image, mask = (os.path.relpath(path.resolve(), folder.resolve()) for path in files)
    return {
        "key": source.name(kind),
        "file_name": image,
        "mask": mask,
        "text": source.text,
        "patient": source.patient,
        "split": "train",
        "set": f"{kind} {source.set}",
    }


def write_table(rows: Iterable[Mapping[str, str]], columns: Sequence[str], path: Path) -> None:
    """Write a csv."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue().encode())
