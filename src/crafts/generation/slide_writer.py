"""A finished canvas as a slide file with its labels, prompts and provenance beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import sha256_bytes, sha256_file, write_bytes
from crafts.core.disk import remove_folder
from crafts.core.errors import ConfigError
from crafts.core.marks import SYNTHETIC, xmp_packet
from crafts.generation.canvas import Canvas
from crafts.generation.export import Provenance, describe_provenance, save_png
from crafts.generation.prompt_map import ClassLevel
from crafts.slides.writing import dicoms, tiffs
from crafts.slides.writing.rasters import EDGE, Raster, build_pyramid
from crafts.slides.writing.tiffs import About, write_ome_tiff, write_tiff

NAMES = {"tiff": "slide.tiff", "ome-tiff": "slide.ome.tiff", "png": "slide.png", "dicom": "dicom"}
"""Format -> file or folder that is written."""

LABELS, PROMPTS, PREVIEW, DONE = "labels", "prompts.geojson", "preview.png", "provenance.json"
_PREVIEW = 1024  # pixels of its longer side, at most
MAX_PNG = 64_000_000


def check_format(name: str, size: tuple[int, int], mpp: float | None) -> None:
    """Refuse a format that cannot hold a canvas.

    Raises:
        ConfigError: a PNG too large for the memory, DICOM without microns per pixel, or a missing
            package.
    """
    if name == "png" and size[0] * size[1] > MAX_PNG:
        raise ConfigError(
            "--format png",
            came=f"{size[0]}x{size[1]} pixels",
            allowed=f"at most {MAX_PNG // 10**6} Mpx, as a PNG is held in memory as a whole",
            do="Take --format tiff.",
        )
    if name == "dicom" and mpp is None:
        raise ConfigError(
            "--format dicom",
            came="a model that does not know its microns per pixel",
            allowed="a known size of a pixel, without which there is no DICOM slide",
            do="Take --format tiff, which may leave it out.",
        )
    tiffs.require_library()  # labels are TIFF in any case
    if name == "dicom":
        dicoms.require_library()


def file_of(kind: str | None) -> str:
    """Name of the file or folder of a format."""
    return NAMES[kind or "tiff"]


def write_slide(canvas: Canvas, pixels: Raster, folder: Path, told: Provenance) -> dict[str, str]:
    """Write the slide, its labels and its prompts; last the file that says that they are whole.

    Args:
        canvas: what was made.
        pixels: its rows.
        folder: to write into.
        told: what the file says of itself.

    Returns:
        What is written of it: request, file, sha256 and provenance.

    Raises:
        RetryError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = canvas.plan.config
    kind = config.format or "tiff"
    path = folder / NAMES[kind]
    remove_slide(folder)
    about = _about(told, path.name)
    quality = config.canvas.jpeg_quality
    if kind == "png":
        save_png(Image.fromarray(pixels.read(0, pixels.height)), path, told)
    else:
        _WRITERS[kind](build_pyramid(pixels), path, about, quality=quality)
    _write_preview(pixels, folder / PREVIEW, told)
    _write_labels(canvas, folder / LABELS, about)
    drawn = json.dumps(canvas.prompts.features(), ensure_ascii=False)
    write_bytes(folder / PROMPTS, drawn.encode())
    found = describe_provenance(told) | {
        "request": canvas.request,
        "file": path.name,
        "sha256": hash_slide(path),
    }
    write_bytes(folder / DONE, json.dumps(found, indent=1, ensure_ascii=False).encode())
    return found


def remove_slide(folder: Path) -> None:
    """Remove what a run wrote of a slide, in whatever format, and what a killed one left.

    First goes the file that says that the slide is whole.
    """
    (folder / DONE).unlink(missing_ok=True)
    for name in (*NAMES.values(), LABELS, PROMPTS, PREVIEW):
        if (folder / name).is_dir():
            remove_folder(folder / name)
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob(".slide.*.tmp"):
        path.unlink()


def _write_dicom(
    levels: Sequence[Raster], path: Path, about: About, *, quality: int | None
) -> None:
    beside = levels[0].path.with_name("dicom")  # where nobody takes a part for the whole
    remove_folder(beside)
    dicoms.write_dicom(levels, beside, about, quality=quality)
    beside.rename(path)


_WRITERS: dict[str, Callable[..., None]] = {
    "tiff": write_tiff,
    "ome-tiff": write_ome_tiff,
    "dicom": _write_dicom,
}


def find_slide(canvas: Canvas, folder: Path) -> dict[str, str] | None:
    """What is written of the slide that lies in a folder whole, of this request; None elsewhere."""
    name = file_of(canvas.plan.config.format)
    try:
        found = json.loads((folder / DONE).read_bytes())
        same = found["request"] == canvas.request and found["file"] == name
        whole = same and hash_slide(folder / name) == found["sha256"]
        return {str(k): str(v) for k, v in found.items()} if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hash_slide(path: Path) -> str:
    """sha256 of a file; of a folder that of its files' names and hashes."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return sha256_bytes("".join(f"{f.name} {sha256_file(f)}\n" for f in files).encode())


def _write_preview(pixels: Raster, path: Path, told: Provenance) -> None:
    """The finest level that is not larger than a preview, as a picture of its own."""
    levels = build_pyramid(pixels)
    small = [level for level in levels if max(level.width, level.height) <= _PREVIEW]
    level = (small or levels[-1:])[0]
    mpp = None if told.mpp is None else told.mpp * pixels.width / level.width
    save_png(Image.fromarray(level.read(0, level.height)), path, replace(told, mpp=mpp))


def _about(told: Provenance, name: str) -> About:
    packet = xmp_packet(
        system=f"{told.model} {told.model_sha256}",
        prompt=told.prompt,
        software=told.software,
        licence=told.licence,
    )
    facts = SYNTHETIC | describe_provenance(told)
    return About(name, told.software, facts, packet, told.mpp)


def _write_labels(canvas: Canvas, folder: Path, about: About) -> None:
    """The class map as a pyramid, and what its numbers mean."""
    folder.mkdir(exist_ok=True)
    levels = [ClassLevel(canvas.prompts, 1)]
    while max(levels[-1].width, levels[-1].height) > EDGE:
        levels.append(ClassLevel(canvas.prompts, 2 * levels[-1].pixel))
    write_tiff(levels, folder / "classes.tiff", about)
    told = json.dumps(canvas.prompts.describe(), indent=1, ensure_ascii=False)
    write_bytes(folder / "classes.json", told.encode())
