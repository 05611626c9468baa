"""Does the audit find planted copies of training tiles, and does it leave real tiles alone?

    python bench/audit.py TILES OUTPUT [--plants 200] [--model mini]

TILES holds ``metadata.csv`` (file_name, patient, split, set) and the images. The limit is set on
the validation split; the held-out split is what a clean generator might have made, and among it lie
planted copies of training tiles. OUTPUT gets ``check.json``, ``audit.md`` (the table of
``docs/results/audit.md``) and ``alarms.png``: every held-out tile that was called a copy, beside
the training tile it is said to come from. With a model, training tiles are also noised half-way and
denoised by it: what remembering a tile without its detail looks like. About ten minutes on two
cores for 6,000 tiles.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crafts.auditing.matching.copies import Found, calibrate, find_copies, judge, share_of
from crafts.auditing.matching.library import Library
from crafts.auditing.results import Share, TileVerdict
from crafts.core.artifacts import sha256_bytes, write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import say
from crafts.data.collection import Collection, Tile
from crafts.data.tiles.augment import draw_stain_jitter, stain_jitter
from crafts.imaging.montage import montage
from crafts.model.bundle import Bundle, load_bundle
from crafts.sampling.network import network_denoiser
from crafts.sets.features import as_tensor

HALF = 128  # pixels of a tile of 256
Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, Pixels, int], Pixels]
"""Training tile, held-out tile and number of the plant -> planted tile."""

# Their groups are single pictures: the sources do not say which pictures share a patient.
NO_PATIENTS = ("oral_oscc", "histolab_tiles", "crc_he7k", "wikimedia_lung")
REQUIRED = {
    "exact copy": 1.0,
    "rotated or mirrored": 0.95,
    "JPEG, quality 30 to 90": 0.95,
    "restained": 0.95,
    "half-shifted": 0.8,
}


def turned(source: Pixels, other: Pixels, k: int) -> Pixels:
    """One of the seven symmetries that are not the identity."""
    symmetry = 1 + k % 7
    tile = np.rot90(source, symmetry % 4)
    return np.ascontiguousarray(tile[:, ::-1] if symmetry >= 4 else tile)


def recompressed(source: Pixels, other: Pixels, k: int) -> Pixels:
    """JPEG of quality 30, 31, ..., 90 in turns."""
    return jpeg(source, 30 + k % 61)


def jpeg(source: Pixels, quality: int) -> Pixels:
    """Through a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(source).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def restained(source: Pixels, other: Pixels, k: int) -> Pixels:
    """Each stain 0.5 to 1.5 times as strong, and offsets of up to 0.1 in optical density."""
    factors, offsets = draw_stain_jitter(1, torch.Generator().manual_seed(k), sigma=0.5, shift=0.1)
    image = torch.from_numpy(source.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = (stain_jitter(image, factors, offsets)[0].permute(1, 2, 0) + 1) * 127.5
    return pixels.round().byte().numpy()


def half_shifted(source: Pixels, other: Pixels, k: int) -> Pixels:
    """Moved by half its side, one way in turns; what comes in is of another, real tile."""
    half, out = len(source) // 2, np.rot90(other, k % 4).copy()
    out[:, :half] = np.rot90(source, k % 4)[:, half:]
    return np.ascontiguousarray(np.rot90(out, -(k % 4)))


def pasted(take: tuple[slice, slice], put: tuple[slice, slice]) -> Change:
    """A part of the tile, put into another one."""

    def change(source: Pixels, other: Pixels, k: int) -> Pixels:
        out = other.copy()
        out[put] = source[take]
        return out

    return change


def enlarged(share: float) -> Change:
    """A random part of so much of the side, brought to the size of the tile."""

    def change(source: Pixels, other: Pixels, k: int) -> Pixels:
        size = round(len(source) * share)
        rng = np.random.default_rng(k)
        y, x = rng.integers(0, len(source) - size + 1, 2)
        part = Image.fromarray(source[y : y + size, x : x + size])
        return np.asarray(part.resize(source.shape[1::-1], Image.Resampling.BICUBIC))

    return change


def blurred(source: Pixels, other: Pixels, k: int) -> Pixels:
    """Gaussian blur of two pixels."""
    return np.asarray(Image.fromarray(source).filter(ImageFilter.GaussianBlur(2)))


def everything(source: Pixels, other: Pixels, k: int) -> Pixels:
    """Restained, turned, half-shifted, then JPEG of quality 60."""
    stained = restained(source, other, k)
    return jpeg(half_shifted(turned(stained, other, k), other, k), 60)


def drawn_anew(bundle: Bundle, timestep: int, *, num_steps: int = 8) -> Change:
    """Noise a tile up to a timestep and let the model denoise it: a memory with other detail."""
    denoiser, schedule = network_denoiser(bundle.denoiser), bundle.schedule
    steps = torch.linspace(timestep, 0, num_steps + 1).round().long()

    @torch.no_grad()
    def change(source: Pixels, other: Pixels, k: int) -> Pixels:
        latents = bundle.codec.encode(as_tensor(source[None]))[0]
        tokens = bundle.text.encode([""]).tokens
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(k))
        x_t = schedule.add_noise(latents, noise, steps[:1])
        for now, after in zip(steps[:-1, None], steps[1:, None], strict=True):
            x0 = schedule.x0_from(denoiser(x_t, now[0], tokens), x_t, now)
            a = schedule.alphas_cumprod[now]
            noise = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
            x_t = schedule.add_noise(x0, noise, after) if after > 0 else x0
        pixels = (bundle.codec.decode(x_t).clamp(-1, 1)[0] + 1) * 127.5
        return pixels.round().byte().permute(1, 2, 0).numpy()

    return change


PLANTS: dict[str, Change] = {
    "exact copy": lambda source, other, k: source,
    "rotated or mirrored": turned,
    "JPEG, quality 30 to 90": recompressed,
    "restained": restained,
    "half-shifted": half_shifted,
    "moved both ways, a quarter is left": pasted(np.s_[:HALF, :HALF], np.s_[HALF:, HALF:]),
    "one half in place, the other new": pasted(np.s_[:, :HALF], np.s_[:, :HALF]),
    "three quarters of the side, enlarged": enlarged(0.75),
    "six tenths of the side, enlarged": enlarged(0.6),
    "half of the side, enlarged": enlarged(0.5),
    "blurred by 2 px": blurred,
    "restained, turned, half-shifted, JPEG 60": everything,
}


class Bench:
    """Training tiles, ready to be searched, and the limit set on the validation split."""

    def __init__(self, tiles: Path) -> None:
        self.train = Collection(tiles, split="train")
        self.heldout = Collection(tiles, split="heldout")
        validation = Collection(tiles, split="validation")
        self.library = Library(len(self.train), self.train.load, num_workers=2)
        found = find_copies(
            "validation", len(validation), open_tile=validation.load, library=self.library
        )
        self.limits = calibrate(found)

    def verdicts(self, names: Sequence[str], found: Sequence[Found]) -> list[TileVerdict]:
        """Verdicts at the limit of the validation split."""
        return [
            judge(name, item, limits=self.limits, sources=self.train.name)
            for name, item in zip(names, found, strict=True)
        ]


def plant(
    bench: Bench, name: str, *, change: Change, picks: Sequence[int], others: Sequence[int]
) -> dict[str, Any]:
    """Change some training tiles in one way and look for them."""

    def open_tile(k: int) -> Tile:
        source, other = bench.train.load(picks[k]), bench.heldout.load(others[k])
        if isinstance(source, str) or isinstance(other, str):
            raise SystemExit(f"audit: an unreadable tile: {source}, {other}")
        pixels = change(source.pixels, other.pixels, k)
        own = source.sha256 if name == "exact copy" else sha256_bytes(pixels.tobytes())
        return Tile(f"{name}-{k}", pixels, own)

    found = find_copies(name, len(picks), open_tile=open_tile, library=bench.library)
    verdicts = bench.verdicts([bench.train.name(number) for number in picks], found)
    caught = [one.verdict == "copy" for one in verdicts]
    right = [hit and one.source == one.name for hit, one in zip(caught, verdicts, strict=True)]
    return {
        "name": name,
        "found": share_of(sum(caught), len(caught)).model_dump(),
        "right_source": float(np.mean(right)),
        "plain": sum(one.verdict == "plain" for one in verdicts),
        "kinds": dict(Counter(one.kind for one in verdicts if one.kind)),
        "lowest": float(np.quantile([one.correlation or 0.0 for one in verdicts], 0.05)),
    }


def clean(bench: Bench) -> tuple[dict[str, Any], list[TileVerdict]]:
    """Real tiles of other patients; every alarm is kept to be looked at."""
    names = [bench.heldout.name(k) for k in range(len(bench.heldout))]
    start, cpu = time.monotonic(), time.process_time()
    found = find_copies("heldout", len(names), open_tile=bench.heldout.load, library=bench.library)
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    verdicts = bench.verdicts(names, found)
    sets = [Path(name).name.split("-")[0] for name in names]
    known = [one for one, where in zip(verdicts, sets, strict=True) if where not in NO_PATIENTS]
    rest = [one for one, where in zip(verdicts, sets, strict=True) if where in NO_PATIENTS]
    alarms = [one for one in verdicts if one.verdict == "copy"]
    return {
        "patients_known": _share(known).model_dump(),
        "patients_unknown": _share(rest).model_dump(),
        "alarms_by_set": dict(Counter(Path(one.name).name.split("-")[0] for one in alarms)),
        "highest_part": _highest(known, whole=False),
        "highest_whole": _highest(known, whole=True),
        "plain": sum(one.verdict == "plain" for one in verdicts),
        "seconds": seconds,
        "cpu_seconds": cpu,
    }, alarms


def _highest(verdicts: Sequence[TileVerdict], *, whole: bool) -> float:
    a_whole = [one.overlap is not None and one.overlap > 0.93 for one in verdicts]
    pairs = zip(verdicts, a_whole, strict=True)
    return max((one.correlation or 0.0 for one, is_whole in pairs if is_whole == whole), default=0)


def _share(verdicts: Sequence[TileVerdict]) -> Share:
    return share_of(sum(one.verdict == "copy" for one in verdicts), len(verdicts))


def draw_alarms(bench: Bench, alarms: Sequence[TileVerdict]) -> Image.Image:
    """Every alarm beside its training tile."""
    rows = []
    for one in sorted(alarms, key=lambda one: one.correlation or 0.0):
        sides = zip((bench.heldout, bench.train), (one.name, one.source), strict=True)
        tiles = [images.load(_place(images, name)) for images, name in sides]
        rows.append(
            (f"{one.correlation or 0:.3f}", [t.pixels for t in tiles if isinstance(t, Tile)])
        )
    return montage(rows or [("no alarm", [])])


def _place(images: Collection, name: str) -> int:
    return next(k for k in range(len(images)) if images.name(k) == name)


def markdown(check: dict[str, Any]) -> str:
    """The table for people."""
    part, whole = check["limits"]["part"], check["limits"]["whole"]
    real = check["clean"]
    known, unknown = real["patients_known"], real["patients_unknown"]
    titles = ["planted", "tiles", "called a copy", "95 % interval", "right source", "wanted"]
    rows = []
    for row in check["plants"]:
        found, wanted = row["found"], REQUIRED.get(row["name"])
        between = f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %"
        shares = [f"{100 * found['share']:.1f} %", between, f"{100 * row['right_source']:.1f} %"]
        rows.append([row["name"], found["of"], *shares, f"{100 * wanted:.0f} %" if wanted else ""])
    lines = table(titles, rows)
    lines += [
        "",
        f"Limits of the correlation, set on {part['n']} validation tiles: {part['value']:.3f} for "
        f"parts and {whole['value']:.3f} edge on edge (their 99.9 % quantiles are "
        f"{part['quantile'] or 0:.3f} and {whole['quantile'] or 0:.3f}).",
        f"Held-out tiles of sets that name patients: {known['count']} of {known['of']} called a "
        f"copy (95 % bound {100 * known['high']:.2f} %); the highest correlation is "
        f"{real['highest_part']:.3f} of a part and {real['highest_whole']:.3f} edge on edge.",
        f"Held-out tiles of sets that do not ({', '.join(NO_PATIENTS)}): {unknown['count']} of "
        f"{unknown['of']} called a copy.",
        f"By set: {real['alarms_by_set']}.",
        f"Looking for {known['of'] + unknown['of']} tiles among {check['train']}: "
        f"{real['cpu_seconds']:.0f} s of processor time, reading and describing them included.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Calibrate, plant, look, write."""
    options = read_options()
    options.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.tiles)
    real, alarms = clean(bench)
    leaking = {one.name for one in alarms}
    rng = np.random.default_rng(0)
    picks = rng.permutation(len(bench.train))[: options.plants].tolist()
    free = [k for k in range(len(bench.heldout)) if bench.heldout.name(k) not in leaking]
    others = rng.choice(free, len(picks)).tolist()
    plants, changes = [], dict(PLANTS)
    if options.model:
        bundle = load_bundle(options.model)
        for step in (200, 400):
            changes[f"noised to step {step}, denoised by the model"] = drawn_anew(bundle, step)
    for name, change in changes.items():
        plants.append(plant(bench, name, change=change, picks=picks, others=others))
        say(f"audit: {name}: {plants[-1]}")
    limits = {"part": bench.limits.part.model_dump(), "whole": bench.limits.whole.model_dump()}
    check = {"limits": limits, "clean": real, "plants": plants, "train": len(bench.train)}
    check["alarms"] = [one.model_dump() for one in alarms]
    write_bytes(options.output / "check.json", json.dumps(check, indent=1).encode())
    write_bytes(options.output / "audit.md", markdown(check).encode())
    draw_alarms(bench, alarms).save(options.output / "alarms.png")
    print(markdown(check))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--plants", type=int, default=200)
    parser.add_argument("--model", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
