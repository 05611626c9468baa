"""The tiles of an experiment: latents of those that train, and held-out ones that judge.

Held-out tiles have two sides with the same classes and other patients: captions of one side are
the prompts, and images are compared with the other, never with the tile they were asked for.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crafts.core import artifacts
from crafts.core.errors import ConfigError, DataError
from crafts.core.patients import patient_in
from crafts.core.protocols import Codec
from crafts.core.runtime import say, seed_from
from crafts.core.tables import csv_writer
from crafts.data import encode, pack
from crafts.data.loader import LatentReader, ShardReader
from crafts.data.painter import TILES_PER_PATIENT, paint_tiles
from crafts.data.shards import INDEX, write_index
from crafts.experiments.corpus.views import Wishes, view_rows
from crafts.experiments.corpus.words import Row, rng_for
from crafts.experiments.settings import PAINTED, ExperimentConfig

_OF_SHARDS = frozenset("shard offset size suffix width height sha256 key file_name".split())
_LEAST_PER_CLASS = 2  # training tiles that make a class worth asking for


@dataclass(frozen=True)
class Tiles:
    """What an experiment trains on and is judged by.

    Attributes:
        shards: reader of all tiles.
        training: numbers of the rows that train.
        prompts: held-out rows whose captions are the prompts.
        others: held-out rows of other patients, as many of each class.
        classes: class -> captions of training tiles that describe it.
        left_out: classes that the view ``seen`` does not train on.
        size: edge of the judged images in pixels.
    """

    shards: ShardReader
    training: tuple[int, ...]
    prompts: tuple[int, ...]
    others: tuple[int, ...]
    classes: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    size: int

    def rows(self, numbers: Iterable[int]) -> list[Row]:
        """Index rows by number."""
        return [self.shards.rows[number] for number in numbers]

    def images(self, numbers: Iterable[int]) -> list[NDArray[np.uint8]]:
        """Central squares [S, S, 3] of tiles, of the size of the generated images."""
        return [crop_center(self.shards.image(number), self.size) for number in numbers]


def open_tiles(
    config: ExperimentConfig,
    output: Path,
    *,
    factor: int,
    only_left_out: bool = False,
    split: str = "heldout",
) -> Tiles:
    """Shards as they are, or tissue painted into ``output/data/shards``.

    Args:
        config: of the experiment.
        output: of the experiment.
        factor: pixels of an edge that one latent stands for.
        only_left_out: ask for the classes that are left out of training, and no others.
        split: whose patients judge; without it the validation patients, or those held out.

    Raises:
        ConfigError: ``leave_out`` names a class that the tiles do not have.
        DataError: no labels, no held-out patients, or tiles smaller than a crop.
    """
    folder = _paint(config, output) if config.data == PAINTED else Path(config.data)
    shards = ShardReader(folder)
    rows, size = shards.rows, config.crop * factor
    training = [i for i, row in enumerate(rows) if (row.get("split") or "train") == "train"]
    training = _some(rows, training, config.train_tiles)
    classes = _classes([rows[i] for i in training])
    left_out = choose_left_out(config, sorted(classes))
    asked = left_out if only_left_out else tuple(classes)
    splits = {row.get("split") for row in rows}
    wanted = next((name for name in (split, "heldout") if name in splits), "validation")
    heldout = [i for i, r in enumerate(rows) if r.get("split") == wanted and r["label"] in asked]
    one, two = deal(rows, heldout, config.num_prompts)
    if len(classes) < 2 or len(one) < 2:
        raise DataError(
            str(folder),
            came=f"{len(classes)} classes of training tiles, {len(one)} pairs of held-out tiles",
            allowed="a column `label` with at least two classes, each with held-out patients",
            do="Pack tiles with label, patient and split.",
        )
    smallest = min(min(rows[i]["width"], rows[i]["height"]) for i in (*training, *heldout))
    if smallest < size:
        raise DataError(
            str(folder),
            came=f"a tile of {smallest} px",
            allowed=f"at least {size} px, a crop of {config.crop} latents",
            do="Pack larger tiles, or set crop lower.",
        )
    return Tiles(shards, tuple(training), one, two, classes, left_out, size)


def choose_left_out(config: ExperimentConfig, classes: Sequence[str]) -> tuple[str, ...]:
    """Classes that `ood` leaves out: those that the configuration names, else every sixth or third.

    Args:
        config: of the experiment.
        classes: all, sorted.

    Raises:
        ConfigError: a class that is not there.
    """
    unknown = [name for name in config.leave_out if name not in classes]
    if unknown:
        raise ConfigError(
            "experiment: leave_out",
            came=repr(unknown[0]),
            allowed=", ".join(classes),
            do="Name classes of the data.",
        )
    return config.leave_out or tuple(classes[1 :: 6 if len(classes) > 8 else 2])


def deal(
    rows: Sequence[Row], numbers: Sequence[int], most: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two sides with equally many tiles of each class and no patient on both.

    Args:
        rows: all rows.
        numbers: those to be dealt.
        most: tiles of a side; classes take turns, patients within a class as well.
    """
    by_class: dict[str, dict[str, list[int]]] = {}
    for number in numbers:
        patients = by_class.setdefault(str(rows[number]["label"]), {})
        patients.setdefault(patient_in(rows[number]) or str(number), []).append(number)
    side_of: dict[str, int] = {}
    pairs: dict[str, list[tuple[int, int]]] = {}
    for label in sorted(by_class):
        halves = _halves(by_class[label], side_of)
        pairs[label] = list(zip(*(in_turn(half) for half in halves), strict=False))
    chosen = in_turn(pairs)[:most]
    return tuple(pair[0] for pair in chosen), tuple(pair[1] for pair in chosen)


def encode_training(tiles: Tiles, output: Path, *, codec: Codec, degraded: bool = False) -> Path:
    """Latents of the training tiles, made once; with the shards that they came from beside them.

    Args:
        tiles: of the experiment.
        output: gets ``data/training`` and ``data/latents``; ``data/degraded`` for worse pictures.
        codec: image codec.
        degraded: blur, compress and tint the tiles first.
    """
    name = "degraded" if degraded else "latents"
    target = output / "data" / name
    if (target / artifacts.MANIFEST).is_file():
        return target
    shards = output / "data" / ("degraded-shards" if degraded else "training")
    folder = output / "data" / f".{name}-tiles"
    say(f"{name}: {len(tiles.training)} training tiles")
    _write_folder(tiles, folder, degraded=degraded)
    pack.run(pack.PackConfig(), folder, shards)
    shutil.rmtree(folder)
    smallest = min(min(row["width"], row["height"]) for row in tiles.rows(tiles.training))
    side = smallest // (4 * codec.factor) * 4 * codec.factor
    settings = encode.EncodeConfig(tile_size=side, variants=1, larger="crop")
    encode.run(settings, shards, target, codec=codec)
    return target


def write_view(view: str, latents: Path, output: Path, wishes: Wishes) -> Path:
    """A latents folder whose rows say what a view says; the latents themselves are shared.

    Args:
        view: see :func:`crafts.experiments.corpus.views.view_rows`.
        latents: of :func:`encode_training`.
        output: of the experiment; gets ``data/views/NAME``.
        wishes: what views depend on.
    """
    target = output / "data" / "views" / view.replace(":", "-").rstrip("-")
    if (target / artifacts.MANIFEST).is_file():
        return target
    reader = LatentReader(latents)
    rows = view_rows(view, reader.rows, wishes)
    target.parent.mkdir(parents=True, exist_ok=True)
    with artifacts.staging(target) as folder:
        for name in ("mean.npy", "std.npy"):
            if (latents / name).is_file():
                os.link(latents / name, folder / name)
        write_index(rows, {**reader.plan, "stratum": "text"}, folder / INDEX)
        artifacts.finish(
            folder,
            stage="encode",
            config={"view": view},
            inputs={"latents": artifacts.fingerprint(latents)},
            counts={"rows": len(rows)},
            extra=reader.manifest.extra,
        )
    return target


def degrade(pixels: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
    """A picture as figures of articles have it: coarser, blurred, tinted and compressed.

    Args:
        pixels: uint8 [H, W, 3].
        key: decides how.

    Returns:
        uint8 [H, W, 3].
    """
    rng = rng_for("degrade", key)
    image, factor = Image.fromarray(pixels), rng.choice((2, 3, 4))
    small = image.resize((image.width // factor, image.height // factor), Image.Resampling.BOX)
    image = small.resize(image.size, Image.Resampling.BICUBIC)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    tint = np.array([rng.uniform(0.85, 1.15) for _ in range(3)])
    tinted = np.clip(np.asarray(image) * tint, 0, 255).round().astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(tinted).save(packed, "JPEG", quality=rng.randint(25, 60))
    return np.asarray(Image.open(packed).convert("RGB"))


def crop_center(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Central square [size, size, 3] of an image."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def write_classes(tiles: Tiles, output: Path) -> Path:
    """``data/classes.json``: the data's own classes with captions, for the category loss."""
    path = output / "data" / "classes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: {"prompts": list(texts)} for name, texts in sorted(tiles.classes.items())}
    artifacts.write_bytes(path, json.dumps(values, indent=1, ensure_ascii=False).encode())
    return path


def _paint(config: ExperimentConfig, output: Path) -> Path:
    """Painted tiles as shards; every third patient is held out."""
    target, folder = output / "data" / "shards", output / "data" / ".painted"
    if (target / artifacts.MANIFEST).is_file():
        return target
    size = 8 * config.crop
    paint_tiles(folder, config.painted_tiles, size)
    splits = output / "data" / "painted-splits.csv"
    with splits.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("patient", "split"))
        for number in range(-(-config.painted_tiles // TILES_PER_PATIENT)):
            split = "heldout" if number % 3 == 2 else "train"
            writer.writerow((f"painted-0-{number:04d}", split))
    pack.run(pack.PackConfig(), folder, target, splits=splits)
    shutil.rmtree(folder)
    return target


def _some(rows: Sequence[Row], numbers: list[int], most: int | None) -> list[int]:
    """At most so many rows: classes take turns, in an order that the keys decide."""
    if most is None or len(numbers) <= most:
        return numbers
    by_class: dict[str, list[int]] = {}
    for number in sorted(numbers, key=lambda i: seed_from("tile", rows[i]["key"])):
        by_class.setdefault(str(rows[number]["label"]), []).append(number)
    return sorted(in_turn(by_class)[:most])


def _classes(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Captions of each class, eight at most; tiles marked as nameable only are no class."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: seed_from("class", row["key"])):
        if row.get("label") and row.get("tier") in (None, "", "measured"):
            found.setdefault(str(row["label"]), []).append(str(row["text"]))
    return {
        name: tuple(texts[:8]) for name, texts in found.items() if len(texts) >= _LEAST_PER_CLASS
    }


def _halves(
    patients: Mapping[str, list[int]], side_of: dict[str, int]
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Patients of a class on two sides of much the same size; one with a side already keeps it."""
    halves: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for name in sorted(patients, key=lambda name: (name not in side_of, seed_from("side", name))):
        smaller = min((0, 1), key=lambda side: sum(map(len, halves[side].values())))
        halves[side_of.setdefault(name, smaller)][name] = patients[name]
    return halves


def in_turn(groups: Mapping[Any, Sequence[Any]]) -> list[Any]:
    """The first of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups.values()), default=0)
    return [group[i] for i in range(longest) for group in groups.values() if i < len(group)]


def _write_folder(tiles: Tiles, folder: Path, *, degraded: bool) -> None:
    """An imagefolder of the training tiles with all that their rows say."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    rows = tiles.rows(tiles.training)
    columns = sorted({name for row in rows for name in row} - _OF_SHARDS - {"captions"})
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("file_name", *columns, "captions"))
        for number, row in zip(tiles.training, rows, strict=True):
            name = f"images/{row['key']}.png"
            if degraded:
                pixels = degrade(tiles.shards.image(number), row["key"])
                Image.fromarray(pixels).save(folder / name, compress_level=1)
            elif row["suffix"] == "png":
                (folder / name).write_bytes(tiles.shards.image_bytes(number))
            else:
                Image.fromarray(tiles.shards.image(number)).save(folder / name, compress_level=1)
            captions = json.dumps(row.get("captions") or [row["text"]], ensure_ascii=False)
            writer.writerow((name, *(row.get(column, "") for column in columns), captions))
