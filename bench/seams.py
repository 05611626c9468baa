"""How visible the seam of an edit is: ``python bench/seams.py TILES OUTPUT [NUMBER]``.

Held-out tiles are made anew in a disc from their own captions. The gradient of the grey picture on
the rim of the disc and on the outer rim of its feather is compared with that of the untouched tile
at the same pixels. 1 is no seam; without a feather it shows that a seam would be seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

import crafts
from crafts.core.runtime import seed_from
from crafts.imaging.sources import feathered
from crafts.workflows.scorecards.classes import caption_of, read_rows, read_tiles, spread_rows

RADIUS, FEATHER = 48, 8


def rim(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels on both sides of a border."""
    return np.asarray(binary_dilation(marks) & ~binary_erosion(marks))


def gradient(tile: NDArray[np.uint8], at: NDArray[np.bool_]) -> float:
    """Mean length of the gradient of grey, in levels a pixel."""
    down, across = np.gradient(tile.astype(np.float64).mean(axis=2))
    return float(np.hypot(down, across)[at].mean())


def main(tiles: Path, output: Path, number: int = 12) -> None:
    """Measure and print."""
    model = crafts.load("mini")
    rows = spread_rows(read_rows(tiles, "heldout"), -(-number // 11))[:number]
    y, x = np.mgrid[:256, :256]
    found: dict[str, list[float]] = {"feather": [], "no feather": []}
    for row, tile in zip(rows, read_tiles(tiles, rows), strict=True):
        draws = np.random.default_rng(seed_from("seam", row["file_name"]))
        top, left = draws.integers(RADIUS + 16, 240 - RADIUS, 2)
        mask = (y - top) ** 2 + (x - left) ** 2 <= RADIUS**2
        seams = rim(mask) | rim(feathered(mask, FEATHER) > 0)
        for name, feather in (("feather", FEATHER), ("no feather", 0)):
            made = model.generate(
                caption_of(row), inpaint=tile, mask=mask, feather=feather, preset="fast"
            )[0]
            at = seams if feather else rim(mask)
            ratio = gradient(np.asarray(made), at) / gradient(tile, at)
            found[name].append(ratio)
            print(row["class"], name, f"{ratio:.2f}", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / "seams.json").write_text(json.dumps(found, indent=1))
    for name, ratios in found.items():
        print(f"{name}: mean {np.mean(ratios):.3f}, median {np.median(ratios):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
