"""Tissue at low power: saturation against glass, and the share of tissue in any rectangle.

Glass is grey, stain is coloured: the saturation of HSV parts them (as in CLAM and TRIDENT). Otsu's
threshold (1979) adapts to the stain, but halves a slide that is all tissue or all glass; it is
therefore kept within fixed bounds.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from crafts.slides.config import TissueConfig
from crafts.slides.reading.resolution import SlideReadError

if TYPE_CHECKING:
    from crafts.slides.reading.reader import Slide

_CHUNK = 256  # pixels of the mask a side that are read at once
_MAX_READ = 4096  # pixels of a level a side that are read at once
_MAX_MASK = 200_000_000  # pixels; 11 x 11 cm at 8 µm
_OTSU_BOUNDS = 0.05, 0.12


@dataclass(frozen=True)
class TissueMap:
    """Tissue of a slide.

    Attributes:
        mask: bool [H, W].
        unknown: bool [H, W], where low power could not be read; there each tile is asked itself.
        threshold: saturation that was used, in [0, 1].
        pixel: (x, y) pixels of level 0 in one of the mask.
    """

    mask: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    threshold: float
    pixel: tuple[float, float]

    def fractions(self, x: NDArray[Any], y: NDArray[Any], extent: tuple[float, float]) -> Any:
        """Share of tissue in rectangles, exact for the pixels of the mask.

        Args:
            x: left edges in pixels of level 0, [N].
            y: top edges, [N].
            extent: (width, height) of all of them in pixels of level 0.

        Returns:
            float64 [N], in [0, 1]; NaN where a part is unknown.
        """
        if len(x) == 0:
            return np.zeros(0)
        share = _box_means(self.mask, x, y, extent, self.pixel)
        doubt = _box_means(self.unknown, x, y, extent, self.pixel)
        return np.where(doubt > 0, np.nan, share)

    def to_png(self) -> bytes:
        """The mask as an image of one bit a pixel."""
        buffer = io.BytesIO()
        Image.fromarray(self.mask).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def map_tissue(slide: Slide, config: TissueConfig) -> TissueMap:
    """Read a slide at low power, piece by piece, and mask its tissue."""
    saturation, unknown, pixel = _read_saturation(slide, config.mpp)
    mpp = slide.resolution.x * pixel[0], slide.resolution.y * pixel[1]
    mask, threshold = mask_tissue(saturation, config, mpp, ~unknown)
    return TissueMap(mask, unknown, threshold, pixel)


def mask_tissue(
    saturation: NDArray[np.float32],
    config: TissueConfig,
    mpp: tuple[float, float],
    known: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], float]:
    """Tissue of a low-power picture.

    Weak pixels count where they hang together with strong ones (hysteresis at 0.6 x and 1 x the
    threshold); gaps are closed, small holes filled, small pieces dropped.

    Args:
        saturation: of HSV, [H, W] in [0, 1].
        config: method and sizes.
        mpp: microns per pixel along x and y.
        known: bool [H, W], the pixels that count for the threshold.

    Returns:
        bool [H, W], and the threshold.
    """
    smooth = ndimage.median_filter(saturation, size=3)
    threshold = config.threshold
    if config.method == "otsu":
        values = smooth if known is None else smooth[known]
        threshold = float(np.clip(otsu_threshold(values), *_OTSU_BOUNDS))
    mask = _hysteresis(smooth, 0.6 * threshold, threshold)
    area = mpp[0] * mpp[1]
    radius = round(config.close / math.sqrt(area))
    if radius:
        mask = _close(mask, radius)
    mask = ~_drop_small(~mask, config.max_hole / area, edge=True)
    # a small picture that is all tissue is no speck of dust
    least = min(config.min_area / area, mask.size / 20)
    return _drop_small(mask, least), threshold


def saturation_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saturation of HSV, (max - min) / max: uint8 RGB [H, W, 3] -> [H, W] in [0, 1]."""
    high = pixels.max(-1).astype(np.float32)
    return (high - pixels.min(-1)) / np.maximum(high, 1)


def otsu_threshold(values: NDArray[np.float32]) -> float:
    """Otsu's threshold of values in [0, 1] over 256 bins; 0 when there is nothing to part."""
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    centers = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centers)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * gap**2)
    return float(centers[np.argmax(between)]) if between.max(initial=0) > 0 else 0.0


def _read_saturation(
    slide: Slide, mpp: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[float, float]]:
    """Saturation at low power, what could not be read, and the pixel in pixels of level 0."""
    width, height = slide.sizes[0]
    shape = (
        max(1, round(height * slide.resolution.y / mpp)),
        max(1, round(width * slide.resolution.x / mpp)),
    )
    if shape[0] * shape[1] > _MAX_MASK:
        raise SlideReadError(
            str(slide.path),
            came=f"{width} x {height} px of {slide.resolution.x:g} microns",
            allowed=f"at most {_MAX_MASK} px at {mpp:g} microns",
            do="Check the resolution of the slide, or raise tissue.mpp.",
        )
    pixel = width / shape[1], height / shape[0]
    found = np.zeros(shape, np.float32)
    unknown = np.zeros(shape, bool)
    level = max(
        (i for i, size in enumerate(slide.sizes) if width / size[0] <= min(pixel) * 1.01), default=0
    )
    small = slide.sizes[level]
    chunk = max(1, min(_CHUNK, int(_MAX_READ * min(shape[1] / small[0], shape[0] / small[1]))))
    for rows, columns in _chunks(shape, chunk):
        try:
            found[rows, columns] = _read_chunk(slide, level, rows, columns, shape)
        except SlideReadError:
            unknown[rows, columns] = True
    return found, unknown, pixel


def _read_chunk(
    slide: Slide, level: int, rows: slice, columns: slice, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Mean colour of each pixel of the mask, as saturation; what was not scanned is glass."""
    small, full = slide.sizes[level], slide.sizes[0]
    left, right = (round(edge * small[0] / shape[1]) for edge in (columns.start, columns.stop))
    top, bottom = (round(edge * small[1] / shape[0]) for edge in (rows.start, rows.stop))
    region = slide.read(
        round(left * full[0] / small[0]),
        round(top * full[1] / small[1]),
        level,
        width=max(1, right - left),
        height=max(1, bottom - top),
    )
    size = columns.stop - columns.start, rows.stop - rows.start
    picture = Image.fromarray(region.pixels).resize(size, Image.Resampling.BOX)
    return saturation_of(np.asarray(picture))


def _chunks(shape: tuple[int, int], edge: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, shape[0], edge):
        for left in range(0, shape[1], edge):
            yield (
                slice(top, min(top + edge, shape[0])),
                slice(left, min(left + edge, shape[1])),
            )


def _hysteresis(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.bool_]:
    labels, count = ndimage.label(values > low, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[np.unique(labels[values > high])] = True
    strong[0] = False
    return strong[labels]


def _close(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Closing with a disc; by distances, so that its cost does not grow with the radius."""
    padded = np.pad(mask, radius)
    if not padded.any():
        return mask
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(np.pad(grown, 1, constant_values=False)) > radius
    return closed[1:-1, 1:-1][radius:-radius, radius:-radius] | mask


def _drop_small(
    mask: NDArray[np.bool_], min_pixels: float, *, edge: bool = False
) -> NDArray[np.bool_]:
    """Without its pieces of fewer pixels; with ``edge``, pieces that touch the border stay."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel()).astype(float)
    if edge:
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        sizes[np.unique(border)] = np.inf
    keep = sizes >= min_pixels
    keep[0] = False
    return keep[labels]


def _box_means(
    mask: NDArray[np.bool_],
    x: NDArray[Any],
    y: NDArray[Any],
    extent: tuple[float, float],
    pixel: tuple[float, float],
) -> NDArray[np.float64]:
    """Means over rectangles with fractional edges, from the bilinear integral image."""
    total = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = mask.shape
    left, right = np.clip(np.stack([x, x + extent[0]]) / pixel[0], 0, width)
    top, bottom = np.clip(np.stack([y, y + extent[1]]) / pixel[1], 0, height)

    def at(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
        return ndimage.map_coordinates(total, [rows, columns], order=1, mode="nearest")

    inside = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    area = np.maximum((right - left) * (bottom - top), 1e-9)
    return np.clip(inside / area, 0, 1)
