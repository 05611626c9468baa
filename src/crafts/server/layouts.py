"""Nuclei as outlines: what the page paints, and what a mask becomes before it is painted on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from crafts.controls.layouts import (
    LayoutStatistics,
    load_statistics,
    shipped_layouts,
)
from crafts.controls.maps import fit_mask
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import CLASSES, NucleiMask, separate
from crafts.controls.synthesis.invent import sample_layout
from crafts.core.errors import DataError
from crafts.imaging.opening import open_header
from crafts.imaging.stripping import RefusedImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASKS = (".png", ".tif", ".tiff", ".geojson", ".json", ".npy", ".mat")
_MOST_NUCLEI = 20_000
_FINER = 4


@cache
def _statistics() -> dict[str, LayoutStatistics]:
    return load_statistics(shipped_layouts())


def tissues() -> tuple[str, ...]:
    """Tissues whose nuclei can be invented."""
    return tuple(sorted(_statistics()))


def invent(tissue: str, *, side: int, mpp: float | None, seed: int) -> list[dict[str, Any]]:
    """Outlines of a layout that follows the statistics of a tissue.

    Raises:
        DataError: no such tissue.
    """
    if tissue not in tissues():
        raise DataError(
            "tissue", came=tissue, allowed=", ".join(tissues()), do="Choose one of these."
        )
    statistics = _statistics()[tissue]
    fits = mpp if statistics.mpp is not None else None
    return outlines(sample_layout(statistics, size=(side, side), seed=seed, mpp=fits))


def read_outlines(
    data: bytes, suffix: str, *, side: int, values: Any, table: str | None, max_pixels: int
) -> list[dict[str, Any]]:
    """Outlines of the nuclei in a mask file of any format that ``--control nuclei=`` takes.

    Raises:
        CraftsError: the file cannot be a mask; says why.
    """
    if suffix not in MASKS:
        raise DataError("mask", came=suffix, allowed=", ".join(MASKS), do="Convert the mask.")
    with tempfile.TemporaryDirectory(prefix="crafts-mask-") as folder:
        path = Path(folder) / f"mask{suffix}"
        path.write_bytes(data)
        if suffix in (".png", ".tif", ".tiff"):
            _refuse_large(path, max_pixels)
        images = suffix in (".png", ".tif", ".tiff")
        frame = (0, 0, side, side) if "json" in suffix else None
        try:
            mask = load_mask(path, values=values if images else None, table=table, frame=frame)
        except DataError as error:
            came = error.came.replace(folder, "")
            raise DataError("mask", came=came, allowed=error.allowed, do=error.do) from None
    return outlines(fit_mask(mask, size=(side, side), mpp=None, resize=True))


def _refuse_large(path: Path, max_pixels: int) -> None:
    try:
        with open_header(path, max_pixels):
            pass
    except RefusedImageError as error:
        raise DataError(
            "mask", came=str(error), allowed=f"at most {max_pixels} pixels", do="Cut it."
        ) from None


def write_mask(
    path: Path, nuclei: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, side: int,
    mpp: float | None,
) -> int:  # fmt: skip
    """Draw outlines onto the pixels of a tile; what is drawn later lies above.

    Args:
        path: of a PNG, which gets a json beside it, as ``--control nuclei=`` takes them.
        nuclei: class and outline (x, y) of each, in pixels.
        side: of the tile.
        mpp: of the tile.

    Returns:
        Nuclei of which at least a pixel is to be seen.
    """
    picture = Image.new("I", (side * _FINER, side * _FINER))  # Pillow knows whole pixels only
    pen = ImageDraw.Draw(picture)
    numbers = [0]
    for place, (name, points) in enumerate(nuclei, 1):
        numbers.append(CLASSES.index(name))
        ring = [(x * _FINER, y * _FINER) for x, y in points]
        pen.polygon(ring, fill=place)
    middle = slice(_FINER // 2, None, _FINER)
    instances = np.asarray(picture, np.int32)[middle, middle].copy()
    classes = np.asarray(numbers, np.uint8)[instances]
    save_mask(path, NucleiMask(classes, instances, mpp=mpp, source="painted"))
    return int(np.count_nonzero(np.unique(instances)))


def outlines(mask: NucleiMask) -> list[dict[str, Any]]:
    """Class and outline (x, y) of every nucleus, in pixels of the mask."""
    whole = separate(mask)
    assert whole.instances is not None
    found = []
    for number, box in enumerate(_boxes(whole.instances), 1):
        if box is None:
            continue
        shape = whole.instances[box] == number
        name = CLASSES[int(whole.classes[box][shape][0])]
        top, left = box[0].start, box[1].start
        points = [(round(x + left, 1), round(y + top, 1)) for x, y in _outline(shape)]
        if len(points) > 2:
            found.append({"class": name, "points": points})
        if len(found) == _MOST_NUCLEI:
            break
    return found


def _boxes(instances: NDArray[np.int32]) -> list[Any]:
    from scipy.ndimage import find_objects

    return list(find_objects(instances))


def _outline(shape: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The longest outline of a shape, at most 48 corners [N, 2] as x and y."""
    from contourpy import contour_generator

    padded = np.pad(shape, 1).astype(np.float64)
    lines = contour_generator(z=padded).lines(0.5)
    longest = max((np.asarray(line) for line in lines), key=len, default=np.empty((0, 2)))
    step = max(1, len(longest) // 48)
    return longest[::step] - 0.5  # a pixel of the shape is a square around its middle
