"""Damaged slides and killed runs: no hang, no filler, no lost neighbour, the same bytes again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.crew import CRASHED
from crafts.core.errors import DataError
from crafts.slides.tile import run
from killed_runs import finish_after_kills
from painted_slide import paint_slide

HEADER = 4096  # bytes that hold the first tags of a painted slide


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, overwrite with zeros or noise, or spoil the tags."""
    changed = bytearray(data)
    kind = rng.choice(("bits", "cut", "zeros", "noise", "tags"))
    if kind == "cut":
        return bytes(changed[: rng.randrange(8, len(changed))])
    if kind == "tags":
        for _ in range(rng.randrange(1, 12)):
            changed[rng.randrange(4, min(HEADER, len(changed)))] = rng.randrange(256)
    elif kind == "bits":
        for _ in range(rng.randrange(1, 200)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    else:
        length = rng.randrange(16, len(changed) // 3)
        start = rng.randrange(8, len(changed) - length)
        filler = bytes(length) if kind == "zeros" else rng.randbytes(length)
        changed[start : start + length] = filler
    return bytes(changed)


def tile_mutants(folder: Path, count: int, seed: int, config) -> None:
    """Tile a sound slide and its mutants together; only the mutants may suffer.

    The gates are off: they must not be what keeps filler out.
    """
    slides = folder / "slides"
    slides.mkdir()
    paint_slide(slides / "sound.tif", side=512, seed=1, radius=(0.3, 0.5))
    data = (slides / "sound.tif").read_bytes()
    rng = random.Random(seed)
    for number in range(count):
        (slides / f"mutant{number:03d}.tif").write_bytes(mutate(data, rng))
    off = {"blank": 1, "flat": 0, "pen": 1, "blur": 0, "fold": 1}
    settings = config(max_reject_fraction=1, seconds=20, size=128, gates=off)
    manifest = run(settings, slides, folder / "out")
    counts = manifest.counts
    assert counts["slides_used"] + counts["slides_rejected"] == count + 1
    assert counts["used"] + counts["rejected"] == counts["listed"]
    run(settings, slides / "sound.tif", folder / "alone")
    for path in (folder / "alone" / "tiles" / "sound").iterdir():
        assert (folder / "out" / "tiles" / "sound" / path.name).read_bytes() == path.read_bytes()
    for path in (folder / "out").glob("tiles/*/*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        for filler, limit in ((0, 0.9), (128, 0.02), (255, 0.9)):
            share = (pixels == filler).all(-1).mean()
            assert share < limit, f"{share:.0%} of {path} is {filler}"
    tell(manifest, folder / "out")


def tell(manifest, output: Path) -> None:
    """Print how the slides and tiles fared, for the record of the long runs."""
    rejects = (output / "rejects.jsonl").read_text().splitlines()
    reasons = [row["reason"] for row in map(json.loads, rejects) if " " not in row["item"]]
    crashed = sum(reason.startswith(CRASHED) for reason in reasons)
    late = sum(reason.startswith("took longer") for reason in reasons)
    print(f"slides: {manifest.counts['slides_used']} used, {len(reasons)} rejected")
    print(f"of these the library crashed on {crashed} and took too long on {late}")
    print(f"tiles: {manifest.counts['used']} used, rejected for {manifest.extra['reasons']}")


def test_mutated_slides_cost_themselves_only(tmp_path, config):
    tile_mutants(tmp_path, 10, 0, config)


@pytest.mark.soak
def test_two_hundred_mutated_slides(tmp_path, config):
    tile_mutants(tmp_path, 200, 1, config)


def damaged_slide(path: Path, *, early_end: bool) -> int:
    """A single-level slide whose tile in the middle is no whole JPEG; returns its number."""
    import tifffile

    paint_slide(path, side=1024, levels=1, seed=1, radius=(0.7, 0.8))
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        middle = len(page.dataoffsets) // 2 + 1
        start, length = page.dataoffsets[middle], page.databytecounts[middle]
    with path.open("r+b") as handle:
        data = bytes(length)
        if early_end:  # decodes without an error, the rest of it filled with grey
            handle.seek(start)
            data = handle.read(length // 2) + b"\xff\xd9" + bytes(length - length // 2 - 2)
        handle.seek(start)
        handle.write(data)
    return middle


@pytest.mark.parametrize("early_end", [False, True])
def test_an_unreadable_region_is_dropped_and_counted_never_filled(tmp_path, config, early_end):
    middle = damaged_slide(tmp_path / "a.tif", early_end=early_end)
    manifest = run(config(), tmp_path / "a.tif", tmp_path / "out")
    bad = f"x{middle % 4 * 256:07d}-y{middle // 4 * 256:07d}.png"
    names = {path.name for path in (tmp_path / "out" / "tiles" / "a").glob("*.png")}
    assert bad not in names and len(names) >= 10
    assert manifest.extra["reasons"]["unreadable region"] == 1
    assert '"unreadable": 1' in (tmp_path / "out" / "slides.jsonl").read_text()
    assert (manifest.counts["slides_used"], manifest.counts["slides_rejected"]) == (1, 0)


CRASHING = """
import os, signal, sys, time
from crafts.slides.reading import libraries

real = libraries._OpenSlide.read
def read(self, x, y, level, width, height):
    name = os.environ.get("BAD_SLIDE")
    if name and name in str(self.path):
        if os.environ["FAULT"] == "hang":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(self, x, y, level, width, height)

class OpenSlide(libraries._OpenSlide):
    def __init__(self, path):
        super().__init__(path)
        self.path = path
OpenSlide.read = read
libraries.OPENERS["openslide"] = OpenSlide
"""


@pytest.mark.parametrize(
    ("fault", "reason"), [("crash", "crashed (SIGSEGV)"), ("hang", "took longer than 4 s")]
)
def test_a_crash_or_hang_of_a_library_costs_that_slide(tmp_path, fault, reason):
    """The library misbehaves in the real processes: a `.pth`-like hook replaces it at start."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for name in ("bad", "good"):
        paint_slide(slides / f"{name}.tif", side=512, seed=1)
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    done = tile_command(
        slides,
        tmp_path / "out",
        "--set",
        "seconds=4" if fault == "hang" else "seconds=60",
        environment={"BAD_SLIDE": "bad", "FAULT": fault, "PYTHONPATH": str(tmp_path)},
    ).communicate(timeout=120)
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text()
    assert '"item": "bad"' in rejects and reason in rejects, done
    assert list((tmp_path / "out" / "tiles" / "good").glob("*.png"))
    assert not (tmp_path / "out" / "tiles" / "bad").exists()


def tile_command(slides: Path, output: Path, *more: str, environment=None) -> subprocess.Popen:
    source = Path(__file__).parents[2] / "src"
    values = {**os.environ, **(environment or {})}
    values["PYTHONPATH"] = os.pathsep.join([str(source), (environment or {}).get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "crafts.cli", "tile", str(slides), "--output", str(output)]
    command += ["--size", "128", "--set", "block_tiles=4", "--set", "num_workers=2", *more]
    return subprocess.Popen(
        command, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def kill_and_repeat(tmp_path: Path, hashes, kills: int, seed: int) -> None:
    """Kill a run at random moments, then let it end: the bytes of a run that was never killed."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for number in range(3):
        paint_slide(slides / f"s{number}.tif", side=512, seed=number)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = partial(tile_command, slides)
    finish_after_kills(start, whole, killed, kills=kills, seed=seed)
    assert hashes(killed) == hashes(whole)


def test_killed_and_run_again_gives_the_same_bytes(tmp_path, hashes):
    kill_and_repeat(tmp_path, hashes, kills=1, seed=0)


@pytest.mark.soak
def test_fifty_kills(tmp_path, hashes):
    kill_and_repeat(tmp_path, hashes, kills=50, seed=1)


def test_nothing_but_damage_is_an_error(tmp_path, config):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(DataError, match="no usable item of 1"):
        run(config(), tmp_path, tmp_path / "out")
