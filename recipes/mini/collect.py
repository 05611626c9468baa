"""Collect the open histology sets into 256 px tiles with their fields, groups and splits.

    python recipes/mini/collect.py SETS OUTPUT

SETS holds ``files.csv`` (set, file, kind, class, organ, group, label, licence) and the image
folders it names. OUTPUT gets ``images/*.png`` and ``fields.jsonl``, one row a tile. Captions are
composed from the fields afterwards (``recipes/mini/captions.py``), so that wording can change
without new pixels.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from crafts.data.splits import assign_splits

SIZE = 256
# set -> power of the microscope view as its source states it ("" where it does not)
POWER = {
    "prostate_gleason_NC": "low",
    "osteosarcoma_ut": "low",
    "crc_he7k": "low",
    "monuseg_NC": "high",
    "breakhis400": "high",
    "tnbc30": "high",
    "pannuke_NC": "high",
    "monusac_NC": "high",
}
# set -> factors by which its images are shrunk before they are cut, largest view last
SCALES = {
    "lc25000": (1, 2),
    "osteosarcoma_ut": (1, 2),
    "monuseg_NC": (1, 2),
    "tnbc30": (1, 2),
    "breakhis400": (1,),
    "monusac_NC": (1, 2),
    "pannuke_NC": (1, 2),
    "ebhi_polyp": (1, 2),
    "histolab_tiles": (1, 2),
    "mopadi_tiles": (1,),
}
USED = (
    "prostate_gleason_NC",
    "oral_oscc",
    "lizard128_NC",
    "lc25000",
    "crc_he7k",
    "osteosarcoma_ut",
    "breakhis400",
    "monuseg_NC",
    "monusac_NC",
    "tnbc30",
    "pannuke_NC",
    "ebhi_polyp",
    "histolab_tiles",
    "mopadi_tiles",
    "wikimedia_lung",
)
CELLS = {
    1: "neutrophil",
    2: "epithelial",
    3: "lymphocyte",
    4: "plasma",
    5: "eosinophil",
    6: "connective",
}


def main(sets: Path, output: Path) -> None:
    with (sets / "files.csv").open(newline="") as handle:
        files = [
            row for row in csv.DictReader(handle) if row["kind"] == "image" and row["set"] in USED
        ]
    files = [row for row in files if "background" not in row["class"]]
    (output / "images").mkdir(parents=True, exist_ok=True)
    by_set: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in files:
        by_set[row["set"]].append(row)
    tiles = []
    for name in USED:
        cut = lizard_tiles if name == "lizard128_NC" else plain_tiles
        for key, pixels, fields in cut(sets, name, by_set[name]):
            file_name = f"images/{key}.png"
            Image.fromarray(pixels).save(output / file_name, compress_level=1)
            tiles.append({"file_name": file_name, **fields})
    strata: dict[str, set[str]] = defaultdict(set)
    for tile in tiles:
        strata[f"{tile['set']}/{tile['class']}/{tile['power']}"].add(tile["patient"])
    splits = assign_splits(strata, seed=0)
    with (output / "fields.jsonl").open("w") as handle:
        for tile in tiles:
            handle.write(json.dumps({**tile, "split": splits[tile["patient"]]}) + "\n")
    print(len(tiles), "tiles;", Counter((t["set"], splits[t["patient"]]) for t in tiles))


def plain_tiles(
    sets: Path, name: str, rows: list[dict[str, str]]
) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Cut each image into non-overlapping tiles at each scale; a small one is enlarged."""
    for row in rows:
        image = Image.open(sets / name / row["file"]).convert("RGB")
        for factor in SCALES.get(name, (1,)):
            for index, tile in enumerate(cut_tiles(image, factor)):
                if not has_tissue(tile):
                    continue
                key = f"{name}-{Path(row['file']).stem}-x{factor}-{index}".replace(
                    ".", "_"
                ).replace(" ", "_")
                yield key, tile, fields_of(name, row, factor)


def cut_tiles(image: Image.Image, factor: int) -> list[np.ndarray]:
    width, height = image.width // factor, image.height // factor
    if factor > 1 and min(width, height) < SIZE:
        return []
    if min(width, height) < SIZE:
        grow = SIZE / min(width, height)
        width, height = max(SIZE, round(width * grow)), max(SIZE, round(height * grow))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    tops = spread(height)
    lefts = spread(width)
    return [pixels[y : y + SIZE, x : x + SIZE] for y in tops for x in lefts]


def spread(length: int) -> list[int]:
    """Starts of as many tiles as fit side by side, spread evenly over the length."""
    count = max(1, length // SIZE)
    slack = length - count * SIZE
    return [i * SIZE + (slack * (i + 1)) // (count + 1) for i in range(count)]


def has_tissue(pixels: np.ndarray) -> bool:
    """At least a tenth of the pixels is neither background white nor black."""
    grey = pixels.mean(axis=2)
    return float(((grey < 225) & (grey > 20)).mean()) > 0.1 and float((grey < 8).mean()) < 0.1


def fields_of(name: str, row: dict[str, str], factor: int) -> dict:
    patient = row["group"][:12] if row["group"].startswith("TCGA-") else row["group"]
    if name == "osteosarcoma_ut":
        patient = f"osteosarcoma-{patient}"
    power = {"100x": "low", "400x": "high"}.get(row["label"], POWER.get(name, ""))
    if factor > 1 and power == "high":
        power = "medium"
    return {
        "set": name,
        "source": row["file"],
        "class": row["class"],
        "organ": row["organ"],
        "patient": f"{name}:{patient}" if not patient.startswith("TCGA-") else patient,
        "power": power,
        "scale": factor,
        "licence": row["licence"],
    }


def lizard_tiles(
    sets: Path, name: str, rows: list[dict[str, str]]
) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Enlarge the 128 px tiles twofold (a high-power view); count cells by class from the mask."""
    for row in rows:
        path = sets / name / row["file"]
        pixels = np.asarray(
            Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        )
        mask = np.asarray(Image.open(sets / name / "semantic" / f"{path.stem}.png"))
        share = {label: round(float((mask == value).mean()), 4) for value, label in CELLS.items()}
        yield (
            f"{name}-{path.stem}",
            pixels,
            fields_of(name, row, 1) | {"power": "high", "cells": share},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
