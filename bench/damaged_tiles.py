"""Real tiles, whole and damaged at five strengths, with their features kept on disk.

Read by ``sensitivity.py`` and ``diagnosis.py`` beside it; nothing to run by itself.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import say
from crafts.experiments.corpus.tiles import in_turn
from crafts.imaging.stains import stain_vectors
from crafts.measures.appearance import appearance
from crafts.measures.structure import blur
from crafts.sets.features import encode_tiles, read_image
from crafts.testing.damage import compress, shift_stain, variations, wash_eosin
from crafts.workflows.scorecards.judges import Judges

BLUR = (0.6, 1.0, 1.5, 2.0, 3.0)  # pixels
WASH = (0.35, 0.5, 0.65, 0.8, 0.95)  # share of the eosin
SHIFT = (0.2, 0.3, 0.4, 0.5, 0.6)  # length of the change of the three densities
QUALITY = (70, 50, 35, 20, 10)  # of JPEG
TURNS = (0.0, 0.37, 0.63, 0.83, 0.2)  # which colours the shift moves, at each strength others
MODES, VIEWS = 6, 24  # fields of each class, and pictures of each of them, for collapse
LEVELS = range(5)
Tiles = NDArray[np.uint8]


@dataclass(frozen=True)
class Bank:
    """Tiles with what is known of them.

    Attributes:
        tiles: uint8 [N, H, W, 3].
        labels: class of each tile: set and label.
        groups: patient of each tile.
        texts: features of each tile's caption [N, D].
        variants: name -> features [N, D] and appearance [N, 5] of the tiles so damaged; "views"
            holds ``VIEWS`` pictures of each of the rows ``fields``, field by field.
        stains: class -> stain vectors [2, 3].
    """

    tiles: Tiles
    labels: NDArray[Any]
    groups: NDArray[Any]
    texts: NDArray[np.float32]
    variants: dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]
    stains: dict[str, NDArray[np.float64]]
    fields: NDArray[np.int64]


def load_bank(tiles: Path, output: Path, per_class: int) -> Bank:
    """Choose the tiles, and encode those variants that ``output`` does not hold yet."""
    rows = choose_rows(tiles, per_class)
    pixels = np.stack([read_image(tiles / row["file_name"]) for row in rows])
    labels = np.array([row["class"] for row in rows])
    stains = {str(name): stain_vectors(pixels[labels == name]) for name in np.unique(labels)}
    fields = np.concatenate([np.flatnonzero(labels == name)[:MODES] for name in stains])
    judges = Judges.load()
    found = {}
    for name in variant_names():
        place = output / "variants" / f"{name.replace(' ', '-')}.npz"
        if not place.is_file():
            say(f"encode: {name}, {len(pixels)} tiles")
            source = np.repeat(pixels[fields], VIEWS, axis=0) if name == "views" else pixels
            damaged = damage(name, source, labels, stains)
            features = encode_tiles(damaged, judges.encoder.image_features)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(place, features=features, appearance=appearance(damaged))
        with np.load(place) as kept:
            found[name] = (kept["features"], kept["appearance"])
            if len(kept["features"]) != (len(fields) * VIEWS if name == "views" else len(pixels)):
                raise SystemExit(f"{place} holds other tiles; remove {place.parent}")
    texts = judges.text_features([row["text"] for row in rows])
    groups = np.array([row["patient"] for row in rows])
    return Bank(pixels, labels, groups, texts, found, stains, fields)


def choose_rows(tiles: Path, per_class: int) -> list[dict[str, str]]:
    """Rows of classes of at least seven patients and forty tiles, patients in turn.

    All splits are taken, because stains differ so much between patients that only many of them
    tell a damage from chance; tiles of one patient never stand on both sides of a comparison.
    """
    with (tiles / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] != "tissue"]  # no class
    classes: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        row["class"] = f"{row['set']}: {row['label']}"
        classes[row["class"]][row["patient"]].append(row)
    chosen = []
    for _, patients in sorted(classes.items()):
        if len(patients) >= 7 and sum(map(len, patients.values())) >= 40:
            chosen += in_turn(patients)[:per_class]
    return chosen


def variant_names() -> list[str]:
    """All variants that are encoded."""
    kinds = ["blur", "washed eosin", "stain shift", "redder", "compression"]
    kinds += ["washed eosin and blur"]
    return ["clean", *(f"{kind} {level}" for kind in kinds for level in LEVELS), "views"]


def damage(
    name: str, tiles: Tiles, labels: NDArray[Any], stains: dict[str, NDArray[np.float64]]
) -> Tiles:
    """One variant of all tiles."""
    if name in ("clean", "views"):
        return tiles if name == "clean" else variations(tiles)
    kind, _, number = name.rpartition(" ")
    level = int(number)
    out = tiles
    if kind.startswith("washed eosin"):
        out = np.empty_like(tiles)
        for label, vectors in stains.items():
            out[labels == label] = wash_eosin(tiles[labels == label], WASH[level], vectors)
    if kind.endswith("blur"):
        out = np.concatenate([blur(out[k : k + 64], BLUR[level]) for k in range(0, len(out), 64)])
    if kind == "stain shift":
        return shift_stain(tiles, SHIFT[level], turn=TURNS[level])
    if kind == "redder":  # one stain shift at all strengths: red light is taken less and less
        return shift_stain(tiles, SHIFT[level], turn=0.5)
    return compress(tiles, QUALITY[level]) if kind == "compression" else out
