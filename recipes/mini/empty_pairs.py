"""Add windows of tissue without nuclei to the pairs of tile and mask.

    python recipes/mini/empty_pairs.py TILES PAIRS [--segmenter mini]

TILES is what ``captions.py`` wrote, PAIRS what ``collect_masks.py`` wrote. The sets with masks have
next to no tissue without nuclei, and some leave nuclei out: MoNuSAC marks four kinds of cell, so a
ControlNet learns from it that nuclei may stand where the mask has none. This looks through training
and validation tiles for the window of half their edge in which the segmenter finds nothing, the one
with most tissue, and writes it with an empty mask as a row of the set ``empty``. A patient keeps
its split; held-out tiles are left alone.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from collect import SIZE
from collect_masks import COLUMNS
from PIL import Image

from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import write_bytes
from crafts.core.protocols import SegmentNuclei
from crafts.model.segmenter import open_segmenter
from crafts.workflows.scorecards.nuclei import MOST_GLASS, find_window

SET = "empty"
WINDOW = SIZE // 2  # pixels; the crops on which the ControlNet is trained
MOST_NUCLEI = 0.002  # share of pixels that the segmenter may take for nuclei


def main(tiles: Path, pairs: Path, segment: SegmentNuclei) -> None:
    """Look through the tiles, write the windows, put their rows into the table of the pairs."""
    with (pairs / "metadata.csv").open(newline="") as handle:
        known = [row for row in csv.DictReader(handle) if row["set"] != SET]
    with (tiles / "metadata.csv").open(newline="") as handle:
        listed = [row for row in csv.DictReader(handle) if row["split"] != "heldout"]
    mask = NucleiMask(np.zeros((WINDOW, WINDOW), np.uint8), None)
    rows = []
    for row in listed:
        tile = np.asarray(Image.open(tiles / row["file_name"]).convert("RGB"))
        found = find_window(tile, segment(tile).classes > 0, most=MOST_NUCLEI)
        if found is None or found.glass > MOST_GLASS:
            continue
        key = f"{SET}-{Path(row['file_name']).stem}"
        Image.fromarray(found.pixels).save(pairs / f"images/{key}.png", compress_level=1)
        save_mask(pairs / f"masks/{key}.png", mask)
        rows.append(describe(row, key))
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*known, *rows])
    write_bytes(pairs / "metadata.csv", table.getvalue().encode())
    print(len(rows), "windows;", dict(Counter(row["split"] for row in rows)))


def describe(row: dict[str, str], key: str) -> dict[str, Any]:
    """Columns of the table; the text stays that of the tile, as the mask goes before it."""
    kept = {name: row[name] for name in ("text", "patient", "split", "organ", "power", "licence")}
    files = {"file_name": f"images/{key}.png", "mask": f"masks/{key}.png"}
    return files | kept | {"set": SET, "mpp": "unknown", "nuclei": "classes"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("tiles", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--segmenter", default="mini")
    given = parser.parse_args()
    main(given.tiles, given.pairs, open_segmenter(given.segmenter))
