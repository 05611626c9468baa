"""Collect the open sets with nuclei masks into 256 px tiles with a mask each.

    python recipes/mini/collect_masks.py SETS OUTPUT [--tiles TILES] [--fluorescence]

SETS is what ``collect.py`` reads. OUTPUT gets ``images/*.png``, ``masks/*.png`` (as
``crafts.controls.masks.save_mask`` writes them) and ``metadata.csv``, whose column ``mask`` names
the mask of a tile; ``crafts pack OUTPUT`` makes shards of it. With ``--tiles`` a patient that is
in TILES/metadata.csv (``captions.py``) keeps its name and its split, so that nothing leaks between
a generator and what is trained on these pairs; sets that are not in it are split by image. The
fluorescence images of DSB 2018 are no H&E: ``--fluorescence`` collects them alone.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from collect import SIZE, fields_of, has_tissue
from PIL import Image

from crafts.controls.augment import Move, move_mask
from crafts.controls.maps import resize_mask
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.data.splits import assign_splits

# set -> folder of its masks, suffix, options of load_mask
MASKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lizard128_NC": ("semantic", ".png", {"values": "classes", "table": "lizard"}),
    "monuseg_NC": ("instance_labels", ".png", {"values": "instances"}),
    "monusac_NC": ("masks", ".jpg", {"values": "foreground"}),
    "pannuke_NC": ("masks", ".png", {"values": "classes", "table": "pannuke"}),
    "tnbc30": ("masks", ".jpg", {"values": "foreground"}),
    "dsb2018_cc0": ("stained_labels", ".png", {"values": "instances"}),
}
# set -> factors by which its images are shrunk before they are cut: nuclei want close views
SCALES = {
    "monuseg_NC": (1, 2), "tnbc30": (1, 2), "monusac_NC": (1, 2), "pannuke_NC": (1, 2),
}  # fmt: skip
# warped copies whose mask went another way than the image: mask and haematoxylin correlate at 0.26
# to 0.55 where the other images of the set have 0.63 on average
APART = ("distorted_",)
FLUORESCENCE = ("fluo_labels", ".png", {"values": "instances"})
COLUMNS = (
    "file_name", "mask", "text", "patient", "split", "set", "organ", "power", "mpp", "nuclei",
    "licence",
)  # fmt: skip


def main(sets: Path, output: Path, tiles: Path | None, *, fluorescence: bool) -> None:
    """Cut all tiles, give patients their splits, write the table."""
    with (sets / "files.csv").open(newline="") as handle:
        files = [row for row in csv.DictReader(handle) if row["kind"] == "image"]
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    known = read_known(tiles) if tiles else {}
    rows = []
    for name in ("dsb2018_cc0",) if fluorescence else MASKS:
        for row in files:
            if Path(row["file"]).name.startswith(APART):
                continue
            if row["set"] == name and row["file"].startswith("fluo") == fluorescence:
                rows += list(cut_pairs(sets, row, output, known))
    give_splits(rows)
    with (output / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(len(rows), "pairs;", dict(Counter((row["set"], row["split"]) for row in rows)))


def read_known(tiles: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(set, name of the source image) -> a row of the table that captions.py wrote."""
    found = {}
    with (tiles / "metadata.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            stem = Path(row["file_name"]).stem.removeprefix(f"{row['set']}-")
            found[row["set"], stem.rsplit("-", 2)[0]] = row  # <image>-<view>-<number>
    return found


def cut_pairs(
    sets: Path, row: dict[str, str], output: Path, known: dict[tuple[str, str], dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Write the tiles of one image at each scale with their masks; a small one is enlarged."""
    name, stem = row["set"], Path(row["file"]).stem
    folder, suffix, options = FLUORESCENCE if row["file"].startswith("fluo") else MASKS[name]
    image = Image.open(sets / name / row["file"]).convert("RGB")
    mask = load_mask(sets / name / folder / f"{stem}{suffix}", **options)
    if (mask.size[1], mask.size[0]) != image.size:
        print(f"{row['file']}: mask {mask.size}, image {image.size}; left out")
        return
    plain = stem.replace(".", "_").replace(" ", "_")
    facts = known.get((name, plain), {})
    for factor in SCALES.get(name, (1,)):
        for number, (pixels, part) in enumerate(cut(image, mask, factor)):
            if name == "lizard128_NC" or row["file"].startswith("fluo") or has_tissue(pixels):
                key = f"{name}-{plain}-x{factor}-{number}"
                Image.fromarray(pixels).save(output / f"images/{key}.png", compress_level=1)
                save_mask(output / f"masks/{key}.png", part)
                yield describe(row, factor, facts, part) | {
                    "file_name": f"images/{key}.png",
                    "mask": f"masks/{key}.png",
                }


def cut(
    image: Image.Image, mask: NucleiMask, factor: int
) -> Iterator[tuple[np.ndarray, NucleiMask]]:
    """Tiles of an image shrunk by ``factor``, at as many places as fit side by side."""
    width, height = image.width // factor, image.height // factor
    if factor > 1 and min(width, height) < SIZE:
        return
    if min(width, height) < SIZE:
        grow = SIZE / min(width, height)
        width, height = max(SIZE, round(width * grow)), max(SIZE, round(height * grow))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        mask = resize_mask(mask, (height, width))
    pixels = np.asarray(image)
    for top in spread(height):
        for left in spread(width):
            move = Move(top, left, SIZE, SIZE)
            yield pixels[top : top + SIZE, left : left + SIZE], move_mask(mask, move)


def spread(length: int) -> list[int]:
    """Starts of as many tiles as fit side by side, spread evenly over the length."""
    count = max(1, length // SIZE)
    slack = length - count * SIZE
    return [i * SIZE + (slack * (i + 1)) // (count + 1) for i in range(count)]


def describe(
    row: dict[str, str], factor: int, facts: dict[str, str], mask: NucleiMask
) -> dict[str, Any]:
    """Columns of the table; patient and split as the generator's tiles have them, if they do."""
    fields = fields_of(row["set"], row)
    return {
        "text": facts.get("text", ""),
        "patient": facts.get("patient", fields["patient"]),
        "split": facts.get("split", ""),
        "set": row["set"] + ("-fluorescence" if row["file"].startswith("fluo") else ""),
        "organ": facts.get("organ", row["organ"] if row["set"] != "dsb2018_cc0" else ""),
        "power": ("high", "medium")[factor - 1],
        "mpp": "unknown",
        "nuclei": "instances" if mask.instances is not None else "classes",
        "licence": row["licence"],
    }


def give_splits(rows: list[dict[str, Any]]) -> None:
    """Split the patients that have none yet, set by set; a patient of the table stays there."""
    known = {row["patient"]: row["split"] for row in rows if row["split"]}
    strata: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["patient"] not in known:
            strata[row["set"]].add(row["patient"])
    fresh = assign_splits(strata, seed=0)
    for row in rows:
        row["split"] = known.get(row["patient"]) or fresh[row["patient"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tiles", type=Path, help="tiles of collect.py and captions.py")
    parser.add_argument("--fluorescence", action="store_true", help="only DSB 2018 fluorescence")
    given = parser.parse_args()
    main(given.sets, given.output, given.tiles, fluorescence=given.fluorescence)
