"""Painted tissue: cartoons of H&E with known ground truth, to test the machinery without data.

Four classes: glands with lumens, fibrous stroma, sheets of lymphocytes, fat. A tile is painted as
two amounts of dye, hematoxylin and eosin, that absorb light by Beer-Lambert's law with the stain
vectors of Ruifrok and Johnston (2001); each patient has a stain of its own. It is no histology and
proves nothing about it: no model trained on it knows tissue.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from crafts.core.errors import ConfigError
from crafts.core.runtime import seed_from
from crafts.core.tables import csv_row_writer
from crafts.data.splits import assign_splits
from crafts.imaging.stains import HEMATOXYLIN_EOSIN

LABELS = ("glands", "stroma", "lymphocytes", "fat")
# codes of the class mask; the numbers of the Lizard set, 0 is no nucleus
NUCLEI = {"epithelial": 2, "lymphocyte": 3, "connective": 6}
TILES_PER_PATIENT = 8
COLUMNS = (
    "file_name", "text", "captions", "patient", "split", "set", "organ", "label", "power", "mpp",
    "licence", "density", "lymphocytes",
)  # fmt: skip
_WORDS = {
    "glands": ("glands with open lumens", "glandular epithelium", "round glands in stroma"),
    "stroma": ("fibrous stroma", "wavy connective tissue", "bundles of collagen fibres"),
    "lymphocytes": ("a sheet of lymphocytes", "dense lymphoid tissue", "a lymphoid infiltrate"),
    "fat": ("fat", "adipose tissue", "large empty fat cells"),
}
_SHAPES = (
    "Painted tissue: {what}{cells}.",
    "{what}{cells}, painted H&E",
    "H&E cartoon of {what}{cells}",
)


@dataclass(frozen=True)
class PaintedTile:
    """A tile and all that is true of it.

    Attributes:
        image: [H, W, 3] uint8, RGB.
        instances: [H, W] uint16, 0 outside nuclei, else 1..N without gaps.
        classes: [H, W] uint8, 0 outside nuclei, else a value of ``NUCLEI``.
        caption: one sentence on label and lymphocytes.
        fields: patient, label, density ("few" or "many" nuclei for its class) and the other columns
            of a tile table.
    """

    image: np.ndarray
    instances: np.ndarray
    classes: np.ndarray
    caption: str
    fields: dict[str, str]


@dataclass
class _Canvas:
    """What is being painted: dye amounts [S, S], nuclei drawn so far, scale of all lengths."""

    size: int
    rng: np.random.Generator
    hematoxylin: np.ndarray = field(init=False)
    eosin: np.ndarray = field(init=False)
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scale = math.sqrt(self.size / 256)  # small tiles: fewer things, not only smaller ones
        self.hematoxylin = np.zeros((self.size, self.size), np.float32)
        self.eosin = np.zeros((self.size, self.size), np.float32)
        self.ids = Image.new("I", (self.size, self.size))
        self.pen = ImageDraw.Draw(self.ids)


def paint_tile(
    *, seed: int, index: int, size: int = 256, classes: Sequence[str] = LABELS
) -> PaintedTile:
    """Paint tile ``index``; the same arguments give the same bytes whatever else is painted.

    Labels take turns, ``TILES_PER_PATIENT`` consecutive tiles share a patient and so a stain.

    Args:
        seed: of the whole painted set.
        index: number of the tile, from 0.
        size: height and width in px, at least 16.
        classes: labels to paint, of ``LABELS``.

    Raises:
        ConfigError: a label is unknown, or the size too small.
    """
    _check(size, classes)
    rng = np.random.default_rng(seed_from("painter", seed, index, size))
    label = classes[index % len(classes)]
    density = "few" if rng.random() < 0.5 else "many"
    canvas = _Canvas(size, rng)
    _PAINTERS[label](canvas, density)
    patient = index // TILES_PER_PATIENT
    image, instances, nuclei = _develop(canvas, seed, patient)
    fields = {
        "patient": f"painted-{seed}-{patient:04d}", "set": "painted", "organ": "",
        "label": label, "power": "", "mpp": "unknown", "licence": "CC0-1.0", "density": density,
        "lymphocytes": "none" if label == "fat" else "many" if label == "lymphocytes" else density,
    }  # fmt: skip
    return PaintedTile(image, instances, nuclei, _caption(fields, rng), fields)


def paint_tiles(
    folder: Path,
    count: int,
    size: int = 256,
    seed: int = 0,
    classes: Sequence[str] = LABELS,
    *,
    masks: Path | None = None,
) -> list[dict[str, str]]:
    """Write an imagefolder: ``images/*.png`` and, last, ``metadata.csv`` with splits by patient.

    Args:
        folder: is made where it is missing.
        count: number of tiles.
        size: height and width in px.
        seed: of the set.
        classes: labels to paint, of ``LABELS``.
        masks: folder for the nuclei of each tile (16-bit ids, ``<name>.png``); none when left out.

    Returns:
        The rows of ``metadata.csv``.

    Raises:
        ConfigError: see ``paint_tile``.
    """
    _check(size, classes)
    rows = []
    for index in range(count):
        tile = paint_tile(seed=seed, index=index, size=size, classes=classes)
        name = f"painted-{seed}-{index:06d}.png"
        _save(tile.image, folder / "images" / name)
        if masks is not None:
            _save(tile.instances, masks / name)
        text = {"file_name": f"images/{name}", "text": tile.caption}
        rows.append({**text, "captions": json.dumps([tile.caption]), **tile.fields})
    splits = assign_splits({"painted": [row["patient"] for row in rows]}, seed=seed)
    for row in rows:
        row["split"] = splits[row["patient"]]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv_row_writer(handle, COLUMNS)
        writer.writerows(rows)
    return rows


def _paint_stroma(canvas: _Canvas, density: str) -> None:
    """Wavy fibres with spindle nuclei along them, and lymphocytes between."""
    angle = _fill_fibres(canvas)
    many = density == "many"
    for y, x in _scatter(canvas, spacing=26):
        _draw_nucleus(canvas, "connective", y, x, 7.5, 2.2, angle[int(y), int(x)])
    for y, x in _scatter(canvas, spacing=20 if many else 75):
        _draw_nucleus(canvas, "lymphocyte", y, x, 3.7, 3.4, 0.0)


def _paint_glands(canvas: _Canvas, density: str) -> None:
    """Glands: a ring of radial nuclei at the base of the cells, around a clear lumen."""
    angle = _fill_fibres(canvas)
    epithelium = Image.new("L", (canvas.size, canvas.size))
    lumen = Image.new("L", (canvas.size, canvas.size))
    for y, x in _scatter(canvas, spacing=92, jitter=0.16, margin=0.1):
        outer = canvas.scale * canvas.rng.uniform(33, 41)
        inner = outer - canvas.scale * canvas.rng.uniform(16, 20)
        wobble = canvas.rng.normal(0, 0.035, 6)
        _draw_ring(epithelium, y, x, outer, wobble)
        _draw_ring(lumen, y, x, inner, wobble)
        steps = int(2 * math.pi * outer / (8.5 * canvas.scale))
        for turn in np.arange(steps) * (2 * math.pi / steps):
            radius = _radius(outer, wobble, turn) - canvas.scale * canvas.rng.uniform(6.5, 8.5)
            ny, nx = y + float(radius) * math.sin(turn), x + float(radius) * math.cos(turn)
            _draw_nucleus(canvas, "epithelial", ny, nx, 5.2, 3.2, turn)
    cells, space = (np.asarray(part, np.float32) / 255 for part in (epithelium, lumen))
    cells = np.clip(cells - space, 0, 1)
    canvas.eosin = canvas.eosin * (1 - np.maximum(cells, space)) + 0.34 * cells + 0.02 * space
    canvas.hematoxylin = canvas.hematoxylin * (1 - space) + 0.17 * cells
    free = (cells + space) == 0
    for y, x in _scatter(canvas, spacing=14 if density == "many" else 48):
        if free[int(y), int(x)]:
            _draw_nucleus(canvas, "lymphocyte", y, x, 3.7, 3.4, 0.0)
    for y, x in _scatter(canvas, spacing=30):
        if free[int(y), int(x)]:
            _draw_nucleus(canvas, "connective", y, x, 7.0, 2.2, angle[int(y), int(x)])


def _paint_lymphocytes(canvas: _Canvas, density: str) -> None:
    """Small round dark nuclei side by side on a pale ground."""
    canvas.eosin += 0.13 + 0.06 * _noise(canvas, 12)
    canvas.hematoxylin += 0.05
    for y, x in _scatter(canvas, spacing=10.5 if density == "many" else 14.5, jitter=0.4):
        long, short = canvas.rng.uniform(3.3, 4.5, 2)
        _draw_nucleus(canvas, "lymphocyte", y, x, long, short, 0.0)


def _paint_fat(canvas: _Canvas, density: str) -> None:
    """Large empty cells with thin walls; a few flat nuclei lie against the walls."""
    seeds = np.array(
        _scatter(canvas, spacing=52 if density == "many" else 70, jitter=0.3, margin=0.4)
    )
    step = max(1, canvas.size // 128)
    axis = np.arange(0, canvas.size, step, dtype=np.float32)
    squares = (axis[:, None, None] - seeds[:, 0]) ** 2 + (axis[None, :, None] - seeds[:, 1]) ** 2
    nearest = np.sqrt(np.partition(squares, 1, axis=-1)[..., :2])
    gap = _enlarge((nearest[..., 1] - nearest[..., 0]).astype(np.float32), canvas.size)
    gap = gap + 2.0 * canvas.scale * _noise(canvas, 24)
    canvas.eosin += 0.42 * np.exp(-((gap / (3.2 * canvas.scale)) ** 2)) + 0.015
    canvas.hematoxylin += 0.06 * np.exp(-((gap / (2.5 * canvas.scale)) ** 2))
    rise, run = np.gradient(gap)
    for y, x in _scatter(canvas, spacing=13):
        row, column = int(y), int(x)
        if gap[row, column] < 3.5 * canvas.scale and canvas.rng.random() < 0.5:
            along = math.atan2(rise[row, column], run[row, column]) + math.pi / 2
            _draw_nucleus(canvas, "connective", y, x, 5.5, 1.9, along)


_PAINTERS = {
    "glands": _paint_glands,
    "stroma": _paint_stroma,
    "lymphocytes": _paint_lymphocytes,
    "fat": _paint_fat,
}


def _fill_fibres(canvas: _Canvas) -> np.ndarray:
    """Fill the canvas with wavy pink fibres; returns their direction [S, S] in radians."""
    turn = canvas.rng.uniform(0, math.pi)
    axis = np.arange(canvas.size, dtype=np.float32)
    across = axis[None, :] * math.cos(turn) + axis[:, None] * math.sin(turn)
    across = across + 16 * canvas.scale * _noise(canvas, 3)
    fine = across + 3.0 * canvas.scale * _noise(canvas, 20)
    waves = np.sin(fine / (2.6 * canvas.scale)) + 0.6 * np.sin(fine / (5.9 * canvas.scale) + 1)
    canvas.eosin += np.clip(0.34 + 0.12 * waves + 0.07 * _noise(canvas, 6), 0.05, None)
    canvas.hematoxylin += 0.03
    rise, run = np.gradient(across)
    return np.arctan2(rise, run) + math.pi / 2


def _draw_nucleus(
    canvas: _Canvas, kind: str, y: float, x: float, long: float, short: float, angle: float
) -> None:
    """Draw a jittered ellipse (semi-axes in px at 256) unless it would touch another nucleus."""
    long, short = (r * canvas.scale * canvas.rng.uniform(0.85, 1.15) for r in (long, short))
    angle += canvas.rng.normal(0, 0.12)
    turns = np.arange(12) * (math.pi / 6)
    jitter = canvas.rng.normal(1, 0.05, 12)
    u, v = long * jitter * np.cos(turns), short * jitter * np.sin(turns)
    xs = x + u * math.cos(angle) - v * math.sin(angle)
    ys = y + u * math.sin(angle) + v * math.cos(angle)
    corners = list(zip(xs.tolist(), ys.tolist(), strict=True))
    for px, py in [(x, y), *corners]:
        inside = 0 <= px < canvas.size and 0 <= py < canvas.size
        if inside and canvas.ids.getpixel((int(px), int(py))):
            return
    canvas.kinds.append(kind)
    canvas.pen.polygon(corners, fill=len(canvas.kinds))


def _draw_ring(target: Image.Image, y: float, x: float, radius: float, wobble: np.ndarray) -> None:
    turns = np.arange(48) * (math.pi / 24)
    radii = _radius(radius, wobble, turns)
    xs, ys = x + radii * np.cos(turns), y + radii * np.sin(turns)
    ImageDraw.Draw(target).polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=255)


def _radius(radius: float, wobble: np.ndarray, turn: np.ndarray | float) -> np.ndarray:
    """Radius of a wobbly circle at an angle: the first harmonics above the mean."""
    waves = [
        wobble[2 * k - 4] * np.cos(k * turn) + wobble[2 * k - 3] * np.sin(k * turn)
        for k in (2, 3, 4)
    ]
    return radius * (1 + np.sum(waves, axis=0))


def _scatter(
    canvas: _Canvas, *, spacing: float, jitter: float = 0.55, margin: float = 0.0
) -> list[tuple[float, float]]:
    """Points (y, x) on a shaken grid; ``spacing`` in px at 256, ``margin`` in steps outside."""
    step = spacing * canvas.scale
    lines = np.arange(-margin * step, canvas.size + margin * step, step)
    lines += canvas.rng.uniform(0, step)
    ys, xs = (part.ravel() for part in np.meshgrid(lines, lines, indexing="ij"))
    xs = xs + step / 2 * (
        np.arange(len(ys)) // len(lines) % 2
    )  # every second row between the first
    shake = canvas.rng.normal(0, jitter * step / 2, (2, len(ys)))
    ys, xs = ys + shake[0], xs + shake[1]
    if margin == 0:
        kept = (ys >= 0) & (ys < canvas.size) & (xs >= 0) & (xs < canvas.size)
        ys, xs = ys[kept], xs[kept]
    return list(zip(ys.tolist(), xs.tolist(), strict=True))


def _noise(canvas: _Canvas, cells: int) -> np.ndarray:
    """Smooth noise of unit variance before smoothing, ``cells`` bumps across at 256 px, [S, S]."""
    cells = max(2, round(cells * canvas.scale))
    return _enlarge(canvas.rng.standard_normal((cells, cells)).astype(np.float32), canvas.size)


def _enlarge(values: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC))


def _develop(canvas: _Canvas, seed: int, patient: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put the nuclei into the dyes, stain as the patient's laboratory did, add light."""
    ids = np.asarray(canvas.ids, np.int64)
    numbers = np.cumsum(np.bincount(ids.ravel(), minlength=len(canvas.kinds) + 1)[1:] > 0)
    instances = np.append(0, numbers).astype(np.uint16)[ids]  # nuclei outside the tile leave no gap
    codes = np.array([0, *(NUCLEI[kind] for kind in canvas.kinds)], np.uint8)
    depth = np.array([0, *canvas.rng.uniform(0.75, 1.1, len(canvas.kinds))], np.float32)
    depth[1:] += np.where(codes[1:] == NUCLEI["lymphocyte"], 0.3, 0.0)
    inside = ids > 0
    chromatin = 1 + 0.22 * _noise(canvas, 90)
    rim = inside & (
        np.roll(ids, 1, 0) * np.roll(ids, -1, 0) * np.roll(ids, 1, 1) * np.roll(ids, -1, 1) == 0
    )
    hematoxylin = np.where(inside, depth[ids] * chromatin * (1 + 0.2 * rim), canvas.hematoxylin)
    eosin = np.where(inside, 0.15, canvas.eosin)
    stain = np.random.default_rng(seed_from("painter-stain", seed, patient))
    strength = stain.uniform(0.75, 1.3, 2)
    vectors = np.array(HEMATOXYLIN_EOSIN) + stain.normal(0, 0.045, (2, 3))
    dyes = np.stack([hematoxylin * strength[0], eosin * strength[1]], axis=-1).astype(np.float32)
    light = stain.uniform(236, 250) * np.exp(-dyes @ np.clip(vectors, 0, None).astype(np.float32))
    light += canvas.rng.standard_normal((canvas.size, canvas.size, 1), np.float32) * 2.5
    image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(image), instances, codes[ids]


def _caption(fields: dict[str, str], rng: np.random.Generator) -> str:
    what = str(rng.choice(_WORDS[fields["label"]]))
    cells = (
        f" with {fields['lymphocytes']} lymphocytes"
        if fields["label"] in ("glands", "stroma")
        else ""
    )
    text = str(rng.choice(_SHAPES)).format(what=what, cells=cells)
    return text[:1].upper() + text[1:]


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def _check(size: int, classes: Sequence[str]) -> None:
    unknown = [name for name in classes if name not in LABELS]
    if unknown or not classes:
        raise ConfigError(
            "painter: classes",
            came=repr(unknown[0]) if unknown else "no class",
            allowed="some of " + ", ".join(LABELS),
            do="Name only classes that the painter can paint.",
        )
    if size < 16:
        raise ConfigError(
            "painter: size", came=f"{size} px", allowed="at least 16 px", do="Paint larger tiles."
        )
