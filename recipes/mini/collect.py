"""Collect the open histology sets into 256 px tiles with their fields, groups and splits.

    python recipes/mini/collect.py SETS OUTPUT

SETS holds ``files.csv`` (set, file, kind, class, organ, group, label, licence) and the image
folders it names. OUTPUT gets ``images/*.png`` and ``fields.jsonl``, one row a tile. Captions are
composed from the fields afterwards (``recipes/mini/captions.py``), so that wording can change
without new pixels.

The main view of an image is its largest square field, shrunk to 256 px (two squares where it is
much longer than wide), so that a gland or a crypt fits. Its four quarters are closer views, where
the image has the pixels for them. Each row says how wide its field is.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crafts.data.splits import assign_splits

SIZE = 256
CLOSER = 448  # a field of at least so many pixels has quarters that show more than it does
LONG = 1.3  # length over width from which an image has two main fields

# Microns per pixel of the files as they lie in SETS. ``STATED``: the source says it, or the power
# of its objective; ``GUESSED``: from the size of nuclei. Sets in neither have no scale.
STATED = {
    "crc_he7k": 0.5,
    "fl_reactive_NC": 0.46,
    "glas_NC": 0.62,
    "osteosarcoma_ut": 1.0,
    "monuseg_NC": 0.25,
    "monuseg_test_NC": 0.25,
    "monusac_NC": 0.25,
    "tnbc50": 0.25,
    "pannuke_panels_NC": 0.25,
    "consep_NC": 0.25,
    "lizard128_NC": 0.5,
    "brecahad": 0.53,
    "ocdc": 0.5,
    "her2st_NC": 0.7,
    "ucsb_breast_NC": 0.35,
    "wsi_more": 0.25,
}
GUESSED = {"prostate_gleason_NC": 1.0, "lc25000": 0.27, "nuinsseg": 0.25, "lymphoma_iicbu_NC": 1.7}
UNSCALED = (
    "oral_oscc", "breakhis400", "pannuke_NC", "ebhi_polyp", "histolab_tiles", "mopadi_tiles",
    "wikimedia_lung", "bracs_rois_NC", "camelyon17_5centres", "camelyon_nodes", "endometrium_NC",
    "gastric_seed_NC", "gleason11_NC", "glioma_NC", "miccai15_NC", "pancan_spider_NC",
    "tcga_tiles",
)  # fmt: skip
USED = (*STATED, *GUESSED, *UNSCALED)

LEFT_OUT = ("background", "doubtful")  # in the class: no tissue, or of another organ than it says
TWENTY = ("-HE-", "-KB-", "-RD-")  # slides of MoNuSeg that were scanned at 20x
GREY_GLASS = {"nuinsseg"}  # glass is grey there: the white point is set before use
WHITE = 243.0
CELLS = {
    1: "neutrophil",
    2: "epithelial",
    3: "lymphocyte",
    4: "plasma",
    5: "eosinophil",
    6: "connective",
}


def main(sets: Path, output: Path) -> None:
    """Cut all tiles and give their groups splits; those of earlier versions keep theirs."""
    by_set: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (sets / "files.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            out = any(word in row["class"] for word in LEFT_OUT)
            if row["kind"] == "image" and row["set"] in USED and not out:
                by_set[row["set"]].append(row)
    (output / "images").mkdir(parents=True, exist_ok=True)
    tiles = []
    for name in USED:
        gain = white_gain(sets, by_set[name]) if name in GREY_GLASS and by_set[name] else 1.0
        for row in by_set[name]:
            for key, pixels, fields in tiles_of(sets, row, gain):
                Image.fromarray(pixels).save(output / f"images/{key}.png", compress_level=1)
                tiles.append({"file_name": f"images/{key}.png", **fields})
    splits = split_groups(tiles, read_earlier(Path(__file__).with_name("splits.csv")))
    with (output / "fields.jsonl").open("w") as handle:
        for tile in tiles:
            handle.write(json.dumps({**tile, "split": splits[tile["patient"]]}) + "\n")
    print(len(tiles), "tiles;", Counter((t["set"], splits[t["patient"]]) for t in tiles))


def tiles_of(
    sets: Path, row: dict[str, str], gain: Any
) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Key, pixels and fields of each view of one image that shows tissue."""
    name, stem = row["set"], Path(row["file"]).stem
    image = Image.open(sets / name / row["file"]).convert("RGB")
    if name in GREY_GLASS:
        image = Image.fromarray((np.asarray(image) * gain).clip(0, 255).astype(np.uint8))
    fields = fields_of(name, row)
    if name == "lizard128_NC":
        fields["cells"] = cell_shares(sets / name / "semantic" / f"{stem}.png")
    if name == "glas_NC":
        fields["glands"] = gland_share(sets / name / "masks" / f"{stem}.png")
    native = scale_of(row)
    for view, number, box in views(image.size):
        pixels = np.asarray(
            image.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box, reducing_gap=3)
        )
        if has_tissue(pixels):
            key = f"{name}-{stem}-{view}-{number}".replace(".", "_").replace(" ", "_")
            scale = native and round(native * (box[2] - box[0]) / SIZE, 4)
            yield key, pixels, {**fields, "view": view, "scale": scale}


def views(size: tuple[int, int]) -> Iterator[tuple[str, int, tuple[int, int, int, int]]]:
    """Name, number and box (left, top, right, bottom) of the views of an image."""
    width, height = size
    side = min(size)
    starts = (0, max(size) - side) if max(size) >= LONG * side else ((max(size) - side) // 2,)
    for number, start in enumerate(starts):
        left, top = (start, 0) if width > height else (0, start)
        yield "whole", number, (left, top, left + side, top + side)
        half = side // 2
        for quarter in range(4 if side >= CLOSER else 0):
            x, y = left + half * (quarter % 2), top + half * (quarter // 2)
            yield "quarter", 4 * number + quarter, (x, y, x + half, y + half)


def has_tissue(pixels: np.ndarray) -> bool:
    """At least a tenth of the pixels is neither background white nor black."""
    grey = pixels.mean(axis=2)
    return float(((grey < 225) & (grey > 20)).mean()) > 0.1 and float((grey < 8).mean()) < 0.1


def white_gain(sets: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """Factor [3] that makes the glass of a set white, from the brightest colours of all images."""
    bright = []
    for row in rows:
        image = Image.open(sets / row["set"] / row["file"]).convert("RGB")
        bright.append(np.percentile(np.asarray(image.reduce(4)), 99, (0, 1)))
    return WHITE / np.percentile(bright, 98, axis=0)


def scale_of(row: dict[str, str]) -> float | None:
    """Microns per pixel of an image as it lies there, stated or guessed; None: unknown."""
    if row["set"] == "monuseg_NC" and any(site in row["file"] for site in TWENTY):
        return 0.5
    return STATED.get(row["set"], GUESSED.get(row["set"]))


def fields_of(name: str, row: dict[str, str]) -> dict[str, Any]:
    """What the table of the sets says of an image."""
    patient = row["group"][:12] if row["group"].startswith("TCGA-") else row["group"]
    if name == "osteosarcoma_ut":
        patient = f"osteosarcoma-{patient}"
    return {
        "set": name,
        "source": row["file"],
        "class": row["class"],
        "organ": row["organ"],
        "note": row["label"],
        "patient": f"{name}:{patient}" if not patient.startswith("TCGA-") else patient,
        "licence": row["licence"],
    }


def cell_shares(path: Path) -> dict[str, float]:
    """Share of the pixels of a semantic mask by kind of cell."""
    mask = np.asarray(Image.open(path))
    return {name: round(float((mask == value).mean()), 4) for value, name in CELLS.items()}


def gland_share(path: Path) -> float:
    """Share of the pixels of a gland mask that lie in glands."""
    return round(float((np.asarray(Image.open(path)) > 0).mean()), 4)


def read_earlier(path: Path) -> dict[str, str]:
    """Group -> split of the versions before: what a model has seen is never held out later."""
    with path.open(newline="") as handle:
        return {row["patient"]: row["split"] for row in csv.DictReader(handle)}


def split_groups(tiles: list[dict[str, Any]], earlier: dict[str, str]) -> dict[str, str]:
    """Group -> split: as before, and new groups by set and class."""
    strata: dict[str, set[str]] = defaultdict(set)
    for tile in tiles:
        if tile["patient"] not in earlier:
            strata[f"{tile['set']}/{tile['class']}"].add(tile["patient"])
    return assign_splits(strata, seed=0) | earlier


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
