"""Regions of interest: QuPath's GeoJSON and mask images as filters of the grid."""

from __future__ import annotations

import gzip
import json
import math
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.artifacts import write_bytes
from crafts.core.errors import DataError, first_line, refusal
from crafts.core.parsing import parse_json
from crafts.imaging.opening import DAMAGE, is_deep_color, open_header, upright
from crafts.imaging.outlines import (
    Feature,
    Polygon,
    check_polygons,
    class_lineage,
    draw_polygon,
    read_features,
)
from crafts.imaging.shapes import LOSSLESS, marked_shape
from crafts.imaging.stripping import RefusedImageError
from crafts.slides.config import RegionConfig
from crafts.slides.tissue import TissueMap

SUFFIXES = (".geojson", ".geojson.gz", ".json", ".png")
_MAX_MASK = 8192  # px a side of the raster
_MAX_PIXELS = 170_000_000  # of a mask image, which is decoded as a whole
_COLOR = (0, 128, 96)


@dataclass(frozen=True)
class Region:
    """One annotated area.

    Attributes:
        name: of its classification, or "".
        polygons: each a list of rings [(x, y), ...] in pixels of level 0: outline, then holes.
    """

    name: str
    polygons: tuple[Polygon, ...]


def find_region_file(folder: Path, slide: str) -> Path | None:
    """The file of a slide."""
    return next((path for end in SUFFIXES if (path := folder / f"{slide}{end}").is_file()), None)


def load_regions(path: Path, left_out: Counter[str] | None = None) -> list[Region]:
    """Areas of a GeoJSON file: a FeatureCollection, a list of features, or one; also gzipped.

    Points and lines have no area and are left out.

    Args:
        path: of the file.
        left_out: counts them by their kind.

    Raises:
        DataError: damaged, or no GeoJSON.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        tally = Counter() if left_out is None else left_out
        features = read_features(parse_json(data))
        return [region for feature in features if (region := _region(feature, tally))]
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(path, f"unreadable ({error})") from None
    except ValueError as error:
        raise _bad(path, f"no GeoJSON of areas ({first_line(error)})") from None


def rasterize(
    regions: Iterable[Region], slide: tuple[int, int], pixel: float
) -> tuple[NDArray[np.bool_], tuple[float, float]]:
    """Areas as a mask.

    Args:
        regions: to draw.
        slide: (width, height) of level 0.
        pixel: wanted pixel of the mask in pixels of level 0.

    Returns:
        bool [H, W], and the pixel (x, y) that it really has.
    """
    pixel = max(pixel, max(slide) / _MAX_MASK)
    width, height = (max(1, round(side / pixel)) for side in slide)
    scale = width / slide[0], height / slide[1]
    mask = np.zeros((height, width), bool)
    for region in regions:
        for rings in region.polygons:
            mask |= draw_polygon(rings, (width, height), scale=scale, rim=True)
    return mask, (1 / scale[0], 1 / scale[1])


def map_regions(
    path: Path,
    config: RegionConfig,
    slide: tuple[int, int],
    pixel: float,
    left_out: Counter[str] | None = None,
) -> dict[str, TissueMap]:
    """One mask for each class of a file; "" for areas without a name and for mask images.

    Args:
        path: of the file.
        config: which classes count.
        slide: (width, height) of level 0.
        pixel: wanted pixel of the masks in pixels of level 0.
        left_out: counts what has no area, as :func:`load_regions` does.

    Raises:
        DataError: the file is unusable.
    """
    if path.suffix == ".png":
        return {"": load_mask(path, slide)}
    groups: dict[str, list[Region]] = {}
    for region in load_regions(path, left_out):
        if not config.classes or not set(config.classes).isdisjoint(class_lineage(region.name)):
            groups.setdefault(region.name, []).append(region)
    maps = {}
    for name, members in sorted(groups.items()):
        mask, size = rasterize(members, slide, pixel)
        maps[name] = TissueMap(mask, np.zeros_like(mask), 0.0, size)
    return maps


def load_mask(path: Path, slide: tuple[int, int]) -> TissueMap:
    """A mask image that is stretched over a slide; what is not 0 is inside.

    What is transparent is outside; opacity, colours and the indices of a palette must agree.

    Args:
        path: of the image.
        slide: (width, height) of level 0.

    Raises:
        DataError: damaged, too large, or no clear mask.
    """
    try:
        with open_header(path, math.inf, LOSSLESS) as image:
            _require_mask(image, path)
            image.load()
            mask = marked_shape(_fit(upright(image)))
    except (RefusedImageError, *DAMAGE) as error:
        raise _bad(path, f"unreadable ({first_line(error)})") from None
    pixel = slide[0] / mask.shape[1], slide[1] / mask.shape[0]
    return TissueMap(mask, np.zeros_like(mask), 0.0, pixel)


def _fit(image: Image.Image) -> Image.Image:
    """A mask no larger than those that are drawn from outlines."""
    scale = min(1, _MAX_MASK / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image if scale == 1 else image.resize((width, height), Image.Resampling.NEAREST)


def _require_mask(image: Image.Image, path: Path) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(
            str(path),
            came=f"a mask of {image.width} x {image.height} px",
            allowed=f"at most {_MAX_PIXELS // 10**6} Mpx",
            do="Scale it down; it is stretched over the slide anyway.",
        )
    if is_deep_color(image) or getattr(image, "n_frames", 1) > 1:
        raise DataError(
            str(path),
            came="a mask of 16 bits a channel" if is_deep_color(image) else "several frames",
            allowed="one image in 8-bit grey or colour",
            do="Save it as 8-bit grey, 0 outside.",
        )


def trace_areas(mask: NDArray[np.bool_], pixel: tuple[float, float], *, name: str) -> list[Region]:
    """Outlines of the pieces of a mask, with their holes.

    Args:
        mask: bool [H, W].
        pixel: (x, y) pixels of level 0 in one of the mask.
        name: of the classification.
    """
    from contourpy import FillType, contour_generator

    height, width = mask.shape
    padded = np.pad(mask, 1).astype(np.float64)
    tracer = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    regions = []
    for points, offsets in zip(*tracer.filled(0.5, 2.0), strict=True):
        # a pixel's value stands at its centre, and the padding is one pixel wide
        places = np.clip(points - 0.5, 0, (width, height)) * pixel
        rings = [places[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        rounded = tuple(tuple((round(x, 2), round(y, 2)) for x, y in ring) for ring in rings)
        regions.append(Region(name, (rounded,)))
    return regions


def write_regions(path: Path, regions: Sequence[Region]) -> None:
    """Write annotations that QuPath opens (File > Import objects), and :func:`load_regions` too.

    Args:
        path: of the GeoJSON file; its folder exists.
        regions: one annotation each; their ids follow from their order.

    Raises:
        RetryError: the disk is full.
    """
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{region.name} {number}")),
            "geometry": {"type": "MultiPolygon", "coordinates": region.polygons}
            if len(region.polygons) > 1
            else {"type": "Polygon", "coordinates": region.polygons[0]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": region.name, "color": _COLOR},
            },
        }
        for number, region in enumerate(regions)
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    write_bytes(path, text.encode())


def _region(feature: Feature, left_out: Counter[str]) -> Region | None:
    left_out.update(feature.without_area)
    polygons = check_polygons(feature.polygons)
    return Region(feature.name, polygons) if polygons else None


_bad = refusal(
    DataError,
    allowed="GeoJSON of polygons in pixels of level 0, or a mask image",
    do="Export it again (QuPath: File > Export objects as GeoJSON).",
)
