"""Fit the gland finder on half of the groups of open sets, and say what it does on the other half.

    python bench/glands.py DATA            # what the shipped weights do
    python bench/glands.py DATA --fit      # weights and threshold anew, then the same

DATA holds the folders of the sets and ``files.csv`` with their class, label and group. A tile is a
positive where its label promises glands, whatever the field shows; so some have none, and a share
of positives found is a lower bound. Groups are halved by their hash.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crafts.measures import glands

MOST = 60  # tiles of a class
LARGEST = 768  # pixels a side that are decoded further
FALSE_ALARMS = 0.07  # share of the negatives of the first half that the threshold lets through
ROUNDS = 6  # of choosing the lumen that makes a tile a positive

GLANDS = {
    ("glas_NC", ""): "colon, crypts (glas)",
    ("crc_he7k", "NORM"): "colon, normal (crc)",
    ("lc25000", "colon_n"): "colon, benign (lc25000)",
    ("lc25000", "colon_aca"): "colon, adenocarcinoma (lc25000)",
    ("prostate_gleason_NC", "Gleason 3"): "prostate, Gleason 3",
    ("prostate_gleason_NC", "gland-rich"): "prostate, benign, gland-rich",
}
OTHERS = {
    ("crc_he7k", "STR"): "stroma (crc)",
    ("crc_he7k", "MUS"): "muscle (crc)",
    ("crc_he7k", "LYM"): "lymphocytes (crc)",
    ("crc_he7k", "ADI"): "fat (crc)",
    ("lc25000", "lung_n"): "lung, normal",
    ("lc25000", "lung_scc"): "lung, squamous carcinoma",
    ("fl_reactive_NC", ""): "lymphoid, high power",
    ("lymphoma_iicbu_NC", ""): "lymphoid, low power",
    ("camelyon17_5centres", ""): "lymph nodes",
    ("nuinsseg", "muscle"): "muscle (nuinsseg)",
    ("nuinsseg", "spleen"): "spleen",
    ("nuinsseg", "thymus"): "thymus",
    ("nuinsseg", "heart"): "heart",
    ("nuinsseg", "cerebrum"): "brain",
    ("nuinsseg", "umbilical"): "umbilical cord",
    ("nuinsseg", "liver"): "liver",
    ("glioma_NC", ""): "glioma",
    ("osteosarcoma_ut", ""): "osteosarcoma",
    ("oral_oscc", "Normal"): "oral, normal",
    ("oral_oscc", "OSCC"): "oral, carcinoma",
}
HELD = {
    *("stroma (crc)", "muscle (crc)", "muscle (nuinsseg)", "heart", "lymphocytes (crc)"),
    *("lymphoid, high power", "lymphoid, low power", "lymph nodes", "spleen", "thymus"),
}
"""Stroma, muscle and lymphoid tissue, of which a judge of pictures must not fire on a tenth."""


@dataclass(frozen=True)
class Tile:
    """What was measured on one tile."""

    name: str
    positive: bool
    second_half: bool
    lumens: glands.Lumens

    def score(self, weights: NDArray[np.float64], bias: float) -> float:
        """That of the best lumen."""
        return float((self.lumens.facts @ weights + bias).max(initial=-10.0))


def name_of(row: Mapping[str, str]) -> tuple[str, bool] | None:
    """Name of the class, and whether it has glands; None for classes that are left aside."""
    for table, positive in ((GLANDS, True), (OTHERS, False)):
        for (source, word), name in table.items():
            words = f"{row['class']} {row['label']}"
            if row["set"] == source and (word in words.split() or word in words):
                return name, positive
    return None


def read(data: Path) -> list[Tile]:
    """A sample of every class, measured."""
    rows = [row for row in csv.DictReader((data / "files.csv").open()) if row["kind"] == "image"]
    taken: dict[str, int] = defaultdict(int)
    found = []
    for index in np.random.default_rng(0).permutation(len(rows)):
        row = rows[index]
        if (named := name_of(row)) is None or taken[named[0]] >= MOST:
            continue
        taken[named[0]] += 1
        group = hashlib.sha256(f"{row['set']}/{row['group']}".encode()).digest()
        lumens = glands.find_lumens(opened(data / row["set"] / row["file"]))
        found.append(Tile(*named, bool(group[0] % 2), lumens))
    return found


def opened(path: Path) -> NDArray[np.uint8]:
    """The middle square of an image."""
    with Image.open(path) as image:
        edge = min(image.size)
        left, top = ((side - edge) // 2 for side in image.size)
        square = image.convert("RGB").crop((left, top, left + edge, top + edge))
    if edge > LARGEST:
        square = square.resize((LARGEST, LARGEST), Image.Resampling.BOX)
    return np.asarray(square)


def fit(tiles: list[Tile]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias, the threshold at 0: a tile is as positive as its best lumen."""
    tiles = [tile for tile in tiles if len(tile.lumens.facts)]
    sizes: dict[str, int] = defaultdict(int)
    for tile in tiles:
        sizes[tile.name] += 1
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    for number in range(ROUNDS):
        rows, labels, counts = [], [], []
        for tile in tiles:
            facts = tile.lumens.facts
            if tile.positive and number:
                facts = facts[[model.decision_function(facts).argmax()]]
            rows.append(facts)
            labels += [tile.positive] * len(facts)
            counts += [1 / np.sqrt(sizes[tile.name] * len(facts))] * len(facts)
        model.fit(np.concatenate(rows), labels, logisticregression__sample_weight=counts)
    scaler, logistic = model
    weights = logistic.coef_[0] / scaler.scale_
    bias = float(logistic.intercept_[0] - weights @ scaler.mean_)
    negative = [tile.score(weights, bias) for tile in tiles if not tile.positive]
    return weights, bias - float(np.quantile(negative, 1 - FALSE_ALARMS))


def report(tiles: list[Tile], weights: NDArray[np.float64], bias: float) -> None:
    """AUC of each half, then the share of tiles of each class that show a gland."""
    for half in (False, True):
        mine = [tile for tile in tiles if tile.second_half == half]
        scores = [tile.score(weights, bias) for tile in mine]
        auc = roc_auc_score([tile.positive for tile in mine], scores)
        print(f"{'second' if half else 'first'} half: {len(mine)} tiles, AUC {auc:.3f}")
    fired: dict[tuple[bool, str], list[bool]] = defaultdict(list)
    for tile in tiles:
        if tile.second_half:
            fired[not tile.positive, tile.name].append(tile.score(weights, bias) >= glands.GLAND)
    for (_, name), values in sorted(fired.items()):
        print(f"{name}: {np.mean(values):.2f} of {len(values)}")
    held = [value for (_, name), values in fired.items() if name in HELD for value in values]
    print(f"stroma, muscle and lymphoid tissue: {np.mean(held):.3f} of {len(held)}")


def main() -> None:
    """Measure, fit where asked, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", action="store_true")
    given = parser.parse_args()
    tiles = read(given.data)
    weights, bias = glands.WEIGHTS, glands.BIAS
    if given.fit:
        weights, bias = fit([tile for tile in tiles if not tile.second_half])
        weights, bias = np.round(weights, 2), round(bias, 2)
        print(dict(zip(glands.FACTS, weights.tolist(), strict=True)), "bias", bias)
    report(tiles, weights, bias)


if __name__ == "__main__":
    main()
