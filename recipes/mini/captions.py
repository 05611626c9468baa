"""Compose the captions of collected tiles and write the table that training reads.

    python recipes/mini/captions.py TILES [--pathgen FILE]

TILES holds ``images/*.png`` and ``fields.jsonl`` (see ``collect.py``), and ``same_tissue.csv`` if
pictures of one tissue were looked for (see ``same_tissue.py``). It gets

- ``metadata.csv``: Hugging Face imagefolder layout, one row a tile;
- ``whole.csv``: those of its rows that show a field in which a gland fits;
- ``classes.json``: per label its tier, canonical prompt, held-back prompts and groups per split;
- ``texts.txt``: every training caption and, with ``--pathgen``, the captions of that JSON file.

What the source says of a tile stands in ``facts.py``.

A label is *measured* when at least five groups train and five are held out, else *nameable*. A
group is a patient where the source tells patients apart (prostate, osteosarcoma, breakhis, polyp,
TCGA); in oral, crc, lc25000 and tnbc it is one source image, joined where two show one tissue.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from collect import SIZE, STATED
from facts import UNITED, UNSORTED, facts_of, group_of
from PIL import Image

from crafts.captions.prompts import TileFields, compose, describe_class

WORDINGS = 50
GLAND = 120.0  # microns, from which a field shows a gland or a crypt whole
MIN_GROUPS = 5
COLUMNS = (
    "file_name",
    "text",
    "captions",
    "patient",
    "split",
    "set",
    "organ",
    "label",
    "tier",
    "power",
    "mpp",
    "field",
    "view",
    "licence",
    "lymphocytes",
)


def main(tiles: Path, pathgen: Path | None) -> None:
    """Read ``fields.jsonl`` and write the three files beside it."""
    with (tiles / "fields.jsonl").open() as handle:
        rows = [json.loads(line) for line in handle]
    merge_groups(rows, same_tissue(tiles))
    facts = [facts_of(row) for row in rows]
    glass = [glass_share(tiles / row["file_name"]) for row in rows]
    cells, features = cell_levels(rows), visible_features(rows, facts, glass)
    facts = [
        (
            replace(tile, cells=cells[i] or tile.cells, features=(*tile.features, *features[i])),
            label,
        )
        for i, (tile, label) in enumerate(facts)
    ]
    groups = count_groups(rows, facts)
    tiers = {
        label: "measured"
        if label != UNSORTED and min(len(g["train"]), len(g["heldout"])) >= MIN_GROUPS
        else "nameable"
        for label, g in groups.items()
    }
    table = [
        table_row(row, tile, label, tiers[label])
        for row, (tile, label) in zip(rows, facts, strict=True)
    ]
    write_table(tiles / "metadata.csv", table)
    write_table(tiles / "whole.csv", [row for row in table if is_whole_field(row)])
    write_classes(tiles / "classes.json", facts, rows, groups, tiers)
    write_texts(tiles / "texts.txt", table, pathgen)
    print_table(table, groups, tiers)


def write_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Rows of the table that ``crafts pack`` reads."""
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def is_whole_field(row: Mapping[str, str]) -> bool:
    """Whether a gland or a crypt fits: the main view of an image, as far as its width is known."""
    wide = not row["field"] or float(row["field"]) >= GLAND
    return row["view"].startswith("whole") and wide


def same_tissue(tiles: Path) -> dict[str, str]:
    """Group -> the group whose tissue it shows, as ``same_tissue.py`` found; empty without it."""
    if not (tiles / "same_tissue.csv").exists():
        return {}
    with (tiles / "same_tissue.csv").open(newline="") as handle:
        pairs = [(row["group"], row["joined_to"]) for row in csv.DictReader(handle)]
    joined: dict[str, str] = {}
    for group, other in pairs:
        first, second = root(group, joined), root(other, joined)
        if first != second:
            joined[first] = second
    return joined


def root(group: str, joined: Mapping[str, str]) -> str:
    """The group at the end of a chain of joined groups."""
    while group in joined:
        group = joined[group]
    return group


def merge_groups(rows: list[dict[str, Any]], joined: Mapping[str, str]) -> None:
    """Give tiles of one patient one group; a group in two splits goes where training saw it."""
    for row in rows:
        row["patient"] = root(group_of({**row, "patient": root(row["patient"], joined)}), joined)
    order = ("train", "validation", "heldout")
    split: dict[str, str] = {}
    for row in rows:
        split[row["patient"]] = min(
            split.get(row["patient"], "heldout"), row["split"], key=order.index
        )
    for row in rows:
        row["split"] = split[row["patient"]]


def cell_levels(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Turn the share of pixels by nucleus class into words, by quantiles of the training tiles.

    None = not one pixel; many = at or above the 80th percentile of all training tiles; few = below
    the median, some = between. The rare kinds (plasma, eosinophil, neutrophil) are said only when
    present: some below, many from the 95th percentile.
    """
    rows = list(rows)
    seen = [row["cells"] for row in rows if "cells" in row and row["split"] == "train"]
    if not seen:
        return [{} for _ in rows]
    cuts = {
        kind: (0.5, 0.8) if kind in ("lymphocyte", "epithelial", "connective") else (0.0, 0.95)
        for kind in seen[0]
    }
    bounds = {kind: np.quantile([cells[kind] for cells in seen], q) for kind, q in cuts.items()}
    print(
        "cell thresholds (few below, many from):",
        {kind: tuple(round(float(b), 4) for b in pair) for kind, pair in bounds.items()},
    )

    def level(kind: str, share: float) -> str:
        few, many = bounds[kind]
        return (
            "none" if share == 0 else "many" if share >= many else "few" if share < few else "some"
        )

    return [
        {kind: level(kind, share) for kind, share in row.get("cells", {}).items()} for row in rows
    ]


def glass_share(path: Path) -> float:
    """Share of the tile that shows no tissue: pale, grey and smooth at a quarter of the size."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").reduce(4), np.float32)
    grey = pixels.mean(axis=-1)
    steps = np.maximum(np.abs(np.diff(grey, axis=0))[:, :-1], np.abs(np.diff(grey, axis=1))[:-1])
    spread = pixels.max(axis=-1) - pixels.min(axis=-1)
    return float(((grey > 150) & (spread < 45))[:-1, :-1][steps < 6].sum() / steps.size)


def visible_features(
    rows: list[dict[str, Any]], facts: list[tuple[TileFields, str]], glass: list[float]
) -> list[tuple[str, ...]]:
    """Empty space from the pixels; density of nuclei from the masks only (stain depth misleads)."""
    density = {i: sum(row["cells"].values()) for i, row in enumerate(rows) if "cells" in row}
    trained = [share for i, share in density.items() if rows[i]["split"] == "train"]
    low, high = np.quantile(trained, (0.2, 0.8)) if trained else (0.0, 1.0)
    result = []
    for i, (tile, _) in enumerate(facts):
        said = ["open space"] if glass[i] > 0.35 and tile.tissue != "adipose tissue" else []
        if i in density:
            said += (
                ["densely cellular"]
                if density[i] >= high
                else ["sparsely cellular"]
                if density[i] <= low
                else []
            )
        result.append(tuple(said))
    return result


def count_groups(
    rows: list[dict[str, Any]], facts: list[tuple[TileFields, str]]
) -> dict[str, dict[str, set[str]]]:
    """Label -> split -> the groups in it."""
    groups: dict[str, dict[str, set[str]]] = {}
    for row, (_, label) in zip(rows, facts, strict=True):
        groups.setdefault(label, {"train": set(), "validation": set(), "heldout": set()})[
            row["split"]
        ].add(row["patient"])
    return dict(sorted(groups.items()))


def table_row(row: Mapping[str, Any], tile: TileFields, label: str, tier: str) -> dict[str, str]:
    """One row of ``metadata.csv``; its wordings depend on the file name alone."""
    captions = wordings(tile, row["file_name"], WORDINGS, held_back=False)
    lymphocytes = tile.cells.get("lymphocyte", "")
    return {
        "file_name": row["file_name"],
        "text": captions[0],
        "captions": json.dumps(captions),
        "patient": row["patient"],
        "split": row["split"],
        "set": row["set"],
        "organ": tile.organ,
        "label": label,
        "tier": tier,
        "power": tile.power,
        "mpp": str(row["scale"]) if row["scale"] and row["set"] in STATED else "unknown",
        "field": str(round(row["scale"] * SIZE, 1)) if row["scale"] else "",  # microns, or a guess
        "view": row["view"],
        "licence": row["licence"],
        "lymphocytes": lymphocytes if lymphocytes in ("none", "few", "many") else "",
    }


def wordings(tile: TileFields, seed: str, count: int, *, held_back: bool) -> list[str]:
    """``count`` different captions of one tile (fewer where its facts allow no more)."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    for _ in range(20 * count):
        found.setdefault(compose(tile, rng, held_back=held_back))
        if len(found) == count:
            break
    return list(found)


def write_classes(
    path: Path,
    facts: list[tuple[TileFields, str]],
    rows: list[dict[str, Any]],
    groups: dict[str, dict[str, set[str]]],
    tiers: dict[str, str],
) -> None:
    """Per label: what all its training tiles share, as prompts for evaluation."""
    result = {}
    for label in groups:
        tiles = [tile for (tile, name), row in zip(facts, rows, strict=True) if name == label]
        shared = TileFields(
            organ=shared_value([tile.organ for tile in tiles]),
            diagnosis=UNITED.get(label) or shared_value([tile.diagnosis for tile in tiles]),
            tissue=shared_value([tile.tissue for tile in tiles]),
            power=shared_value([tile.power for tile in tiles]),
        )
        result[label] = {
            "tier": tiers[label],
            "prompt": describe_class(shared),
            "prompts": wordings(shared, label, WORDINGS, held_back=False),
            "held_back": wordings(shared, label, WORDINGS, held_back=True),
            "groups": {split: len(members) for split, members in groups[label].items()},
        }
    path.write_text(json.dumps(result, indent=1) + "\n")


def shared_value(values: list[str]) -> str:
    """The value of most tiles when at least 60 % agree, else unknown."""
    best = max(sorted(set(values)), key=values.count)
    return best if values.count(best) >= 0.6 * len(values) else ""


def write_texts(path: Path, table: list[dict[str, str]], pathgen: Path | None) -> None:
    """All different training captions, then the real ones, one a line."""
    texts = dict.fromkeys(
        text for row in table if row["split"] == "train" for text in json.loads(row["captions"])
    )
    real = (
        [" ".join(entry["caption"].split()) for entry in json.loads(pathgen.read_text())]
        if pathgen
        else []
    )
    path.write_text("".join(f"{text}\n" for text in (*texts, *real)))
    print(f"{path}: {len(texts)} composed, {len(real)} real")


def print_table(
    table: list[dict[str, str]], groups: dict[str, dict[str, set[str]]], tiers: dict[str, str]
) -> None:
    """Label x split: tiles / groups."""
    tiles: dict[tuple[str, str], int] = defaultdict(int)
    for row in table:
        tiles[row["label"], row["split"]] += 1
    print(f"{'label':30s} {'tier':9s} {'train':>12s} {'validation':>12s} {'heldout':>12s}")
    for label, by_split in groups.items():
        cells = " ".join(
            f"{tiles[label, split]:6d}/{len(members):<5d}" for split, members in by_split.items()
        )
        print(f"{label:30s} {tiers[label]:9s} {cells}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("tiles", type=Path)
    parser.add_argument(
        "--pathgen",
        type=Path,
        help="JSON list of {caption: ...}, for the tokenizer and language training",
    )
    arguments = parser.parse_args()
    main(arguments.tiles, arguments.pathgen)
