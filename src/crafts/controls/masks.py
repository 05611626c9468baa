"""Load a nuclei mask of any known format, and write one that loads again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.controls.files.mask_arrays import read_mat, read_npy
from crafts.controls.files.mask_images import (
    Values,
    instance_ids,
    read_image_mask,
    whole_numbers,
)
from crafts.controls.files.mask_polygons import Frame, read_json_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN, ClassTable, NucleiMask, resolve_table
from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import parse_json

_IMAGES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")
_OUTLINES = (".json", ".geojson")
_ARRAYS = (".mat", ".npy")
_SIDECAR = "crafts nuclei mask"


def load_mask(
    path: Path | str,
    *,
    values: Values | None = None,
    table: ClassTable | None = None,
    mpp: float | None = None,
    frame: Frame | None = None,
    index: int | None = None,
) -> NucleiMask:
    """Load the nuclei of one field.

    A mask of :func:`save_mask` needs no option.

    Args:
        path: PNG, TIFF (labels of nuclei, classes in grey or colours, foreground), .mat, .npy,
            HoVer-Net or CellViT json, QuPath geojson.
        values: what the numbers of an image mean: "instances", "classes" or "foreground". None
            decides where it is clear and refuses where it is not.
        table: classes of the source: a name ("lizard", "pannuke", "consep", "monusac", "cellvit",
            "deepliif", "crafts", "names") or labels with their classes.
        mpp: microns per pixel of the file's coordinates; None leaves them unknown.
        frame: left, top, width, height of the field; outlines (json) need it.
        index: which field of a .npy with many.

    Returns:
        The mask; nuclei that could not be used are in its ``rejected``.

    Raises:
        DataError: the file cannot be a mask, or ids were lost in it.
        ConfigError: an option is missing, wrong, or does not belong to this format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check(path, suffix, mpp)
    given = {"values": (values, _IMAGES), "frame": (frame, _OUTLINES), "index": (index, (".npy",))}
    for option, (value, suffixes) in given.items():
        if value is not None and suffix not in suffixes:
            raise ConfigError(
                f"{path}: {option}",
                came=f"an option that {suffix} files do not take",
                allowed=f"{option} with {', '.join(suffixes)}",
                do=f"Leave out {option}.",
            )
    if table is not None:
        resolve_table(table)  # a misspelt name is refused where the file has no classes, too
    if suffix in _OUTLINES:
        return read_json_mask(path, frame=frame, table=table, mpp=mpp)
    if suffix == ".mat":
        return read_mat(path, table=table, mpp=mpp)
    if suffix == ".npy":
        return read_npy(path, index=index, table=table, mpp=mpp)
    if values is None and table is None and (beside := _read_sidecar(path)) is not None:
        return _load_own(path, beside, mpp)
    return read_image_mask(path, values=values, table=table, mpp=mpp)


def load_tile_mask(
    path: Path,
    size: tuple[int, int],
    *,
    values: Values | None = None,
    table: ClassTable | None = None,
) -> NucleiMask:
    """Load the nuclei of a tile, beside masks of other formats.

    Args:
        path: as in :func:`load_mask`.
        size: height and width of the tile; outlines are in its pixels, from its upper left corner.
        values: as in :func:`load_mask`; counts for images only.
        table: as in :func:`load_mask`.

    Raises:
        DataError: the file cannot be a mask, or ids were lost in it.
        ConfigError: ``values`` or ``table`` is missing or wrong.
    """
    suffix = path.suffix.lower()
    return load_mask(
        path,
        values=values if suffix in _IMAGES else None,
        table=table,
        frame=(0, 0, size[1], size[0]) if suffix in _OUTLINES else None,
    )


def mask_from_labels(labels: NDArray[np.generic]) -> NucleiMask:
    """A mask of labels [H, W]: a number for each nucleus, 0 is background; classes are unknown.

    Raises:
        DataError: another shape, no pixels, negative numbers or fractions.
    """
    where = "labels"
    if labels.ndim != 2 or labels.size == 0:
        raise DataError(
            where,
            came=f"an array of shape {labels.shape}",
            allowed="[H, W], a number for each nucleus",
            do="Pass one field, or a NucleiMask for nuclei with classes.",
        )
    ids = instance_ids(whole_numbers(labels, where), where)
    return NucleiMask(np.where(ids > 0, UNKNOWN, 0).astype(np.uint8), ids, source=where)


def save_mask(path: Path | str, mask: NucleiMask) -> None:
    """Write a mask as PNG with a json of the same name beside it.

    Nuclei become 16-bit labels 1..N; a mask of classes becomes 8-bit classes. The json holds the
    class of each nucleus, the names of the classes, the resolution and the source.

    Raises:
        ConfigError: the path does not end in .png.
        DataError: more than 65,534 nuclei.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError(
            str(path), came=f"{path.suffix or 'no suffix'}", allowed=".png", do="Rename it."
        )
    beside: dict[str, object] = {
        "format": _SIDECAR,
        "mpp": mask.mpp,
        "source": mask.source,
        "names": list(CLASSES),
    }
    if mask.instances is None:
        beside["values"] = "classes"
        Image.fromarray(mask.classes).save(path)
    else:
        numbers, first, inverse = np.unique(mask.instances, return_index=True, return_inverse=True)
        offset = 0 if numbers[0] == 0 else 1
        if len(numbers) + offset > 65535:
            raise DataError(
                str(path), came=f"{len(numbers)} nuclei", allowed="65,534", do="Save a part of it."
            )
        labels = (inverse + offset).reshape(mask.size).astype(np.uint16)
        classes = mask.classes.reshape(-1)[first]
        beside["values"] = "instances"
        beside["classes"] = {
            str(place + offset): CLASSES[number] for place, number in enumerate(classes) if number
        }
        Image.fromarray(labels).save(path)
    path.with_suffix(".json").write_text(json.dumps(beside) + "\n", encoding="utf-8")


def _check(path: Path, suffix: str, mpp: float | None) -> None:
    if suffix not in _IMAGES + _OUTLINES + _ARRAYS:
        raise DataError(
            str(path),
            came=f"a file that ends in {suffix or 'nothing'}",
            allowed=", ".join(_IMAGES + _OUTLINES + _ARRAYS),
            do="Convert the mask to one of these formats.",
        )
    if not path.is_file():
        raise DataError(
            str(path),
            came="no regular file" if path.exists() else "not there",
            allowed="a file",
            do="Check the path of the mask.",
        )
    if path.stat().st_size == 0:
        raise DataError(
            str(path), came="an empty file", allowed="a mask", do="Write the mask again."
        )
    check_mpp(mpp, str(path))


def check_mpp(mpp: float | None, where: str) -> None:
    """Refuse a resolution that cannot be.

    Raises:
        ConfigError: not finite, or outside of 0.05 to 20 microns per pixel.
    """
    if mpp is not None and not 0.05 <= mpp <= 20:
        raise ConfigError(
            f"{where}: mpp",
            came=f"{mpp}",
            allowed="0.05 to 20 microns per pixel, or None for unknown",
            do="Give the resolution of the file's pixels.",
        )


def _read_sidecar(path: Path) -> dict[str, object] | None:
    """What :func:`save_mask` wrote beside an image; other json files are none of ours."""
    beside = path.with_suffix(".json")
    if path.suffix.lower() != ".png" or not beside.is_file():
        return None
    try:
        content = parse_json(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(content, dict) and content.get("format") == _SIDECAR
    return content if ours else None


def _load_own(path: Path, beside: dict[str, object], mpp: float | None) -> NucleiMask:
    stored = beside.get("mpp")
    mpp = mpp if mpp is not None else stored if isinstance(stored, float | int) else None
    check_mpp(mpp, str(path.with_suffix(".json")))
    if beside.get("values") == "classes":
        return read_image_mask(path, values="classes", table="crafts", mpp=mpp)
    mask = read_image_mask(path, values="instances", table=None, mpp=mpp)
    classes = beside.get("classes")
    names = classes if isinstance(classes, dict) else {}
    assert mask.instances is not None
    found, inverse = np.unique(mask.instances, return_inverse=True)
    missing = [n for n in found.tolist() if n and names.get(str(n)) not in CLASSES[1:]]
    if missing:
        raise DataError(
            str(path.with_suffix(".json")),
            came=f"no class for nucleus {missing[0]}",
            allowed="a class of crafts for each nucleus",
            do="The two files belong together: write both with save_mask.",
        )
    numbers = [CLASSES.index(names[str(n)]) if n else 0 for n in found.tolist()]
    values = np.array(numbers, np.uint8)[inverse].reshape(mask.size)
    return replace(mask, classes=values)
