"""Tiles a second of `crafts tile` beside one plain OpenSlide loop, on a painted slide of 30,000 px.

    python bench/tiling.py [--side 30000] [--workers 2] [--repeats 5]

Both read the same tiles of 512 px from the same slide and write them as PNG files. The loop does
nothing else: `read_region`, `convert("RGB")`, `save`; once with Pillow's own PNG settings, which is
what people write, and once with the settings that crafts uses. crafts also finds the tissue, judges
every tile, hashes it, and writes tables, coordinates and a manifest. Medians, side by side.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import openslide

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("src", "tests")]

from crafts.slides.tile import TileConfig, run  # noqa: E402
from crafts.slides.work import PNG_OPTIONS  # noqa: E402
from painted_slide import paint_slide  # noqa: E402

SIZE = 512


def crafts_seconds(slide: Path, output: Path, workers: int) -> float:
    shutil.rmtree(output, ignore_errors=True)
    start = time.perf_counter()
    run(TileConfig(size=SIZE, num_workers=workers), slide, output)
    return time.perf_counter() - start


def loop_seconds(
    slide: Path, places: list[tuple[int, int]], output: Path, options: dict[str, int]
) -> float:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    start = time.perf_counter()
    with openslide.OpenSlide(slide) as source:
        for x, y in places:
            tile = source.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB")
            tile.save(output / f"{x}-{y}.png", **options)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=30_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        slide = folder / "painted.tif"
        paint_slide(slide, side=arguments.side, radius=(0.06, 0.12))
        output = folder / "crafts"
        crafts_seconds(slide, output, arguments.workers)  # also lists the tiles
        with (output / "metadata.csv").open() as handle:
            places = [(int(row["x"]), int(row["y"])) for row in csv.DictReader(handle)]
        names = ("plain loop", "plain loop, settings of crafts", "crafts tile")
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(arguments.repeats):
            seconds = (
                loop_seconds(slide, places, folder / "loop", {}),
                loop_seconds(slide, places, folder / "loop", PNG_OPTIONS),
                crafts_seconds(slide, output, arguments.workers),
            )
            for name, value in zip(names, seconds, strict=True):
                rates[name].append(len(places) / value)
    load = os.getloadavg()[0]
    print(f"{arguments.side} px, {len(places)} tiles of {SIZE} px, {arguments.workers} workers,")
    print(f"{os.cpu_count()} CPUs under load {load:.1f}, median of {arguments.repeats}")
    plain = statistics.median(rates[names[0]])
    for name in names:
        rate = statistics.median(rates[name])
        print(f"{name:32s} {rate:7.2f} tiles/s   {rate / plain:5.2f} x   "
              f"({min(rates[name]):.2f} to {max(rates[name]):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
