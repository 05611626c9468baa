"""Outlines in GeoJSON, as QuPath and others write it: one reader for slides, scores and nuclei."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Ring = tuple[tuple[float, float], ...]
Polygon = tuple[Ring, ...]
"""Rings of (x, y): the rim first, then holes."""


@dataclass(frozen=True)
class Feature:
    """One object of a file; nothing was looked at inside of its polygons.

    Attributes:
        kind: QuPath's type of object ("annotation", "detection", "cell", ...), "" for none.
        name: of its class, "" for none; of a derived class "Tumor: Positive".
        polygons: lists of rings as the file has them; those of a collection belong together.
        nucleus: the same of the nucleus that a cell may have beside its own outline.
        measurements: name -> value.
        without_area: what it has beside polygons ("Point", "no geometry", "empty Polygon", ...).
    """

    kind: str
    name: str
    polygons: Sequence[Any]
    nucleus: Sequence[Any]
    measurements: Mapping[str, Any]
    without_area: Sequence[str]


def read_features(content: Any) -> list[Feature]:
    """Objects of a FeatureCollection, of a list of features, of one feature or one geometry.

    Args:
        content: parsed JSON.

    Raises:
        ValueError: no GeoJSON; the message is the reason.
    """
    if isinstance(content, Mapping):
        content = content["features"] if "features" in content else [content]
    if not isinstance(content, list):
        raise ValueError("features that are no list")
    return [_feature(row) for row in content]


def class_lineage(name: str) -> tuple[str, ...]:
    """A class and those that it is derived from: "Tumor: Positive", then "Tumor"."""
    found = [name]
    while ":" in found[-1]:
        found.append(found[-1].rpartition(":")[0].strip())
    return tuple(found)


def check_polygons(polygons: Iterable[Any]) -> tuple[Polygon, ...]:
    """The polygons of a feature as numbers; of points with a height the height is left out.

    Raises:
        ValueError: a ring of fewer than 3 points, or a coordinate that is no finite number.
    """
    try:
        found = tuple(
            tuple(tuple((float(x), float(y)) for x, y, *_ in ring) for ring in rings)
            for rings in polygons
        )
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ValueError("points that are not pairs of numbers") from None
    if any(not rings or min(map(len, rings)) < 3 for rings in found):
        raise ValueError("a ring of fewer than 3 points")
    if not np.isfinite([v for rings in found for ring in rings for p in ring for v in p]).all():
        raise ValueError("a coordinate that is no number")
    return found


def crosses_itself(ring: NDArray[np.float64]) -> bool:
    """Whether two edges of a ring cross in their inner points; touching corners are no crossing.

    Args:
        ring: points [N, 2], without the closing one; N >= 3.
    """
    import shapely

    if shapely.is_simple(shapely.linearrings(ring)):
        return False
    edges = shapely.linestrings(np.stack([ring, np.roll(ring, -1, axis=0)], axis=1))
    return bool(shapely.STRtree(edges).query(edges, predicate="crosses").size)


def draw_polygon(
    rings: Polygon,
    size: tuple[int, int],
    *,
    scale: tuple[float, float],
    corner: tuple[float, float] = (0.0, 0.0),
    rim: bool,
) -> NDArray[np.bool_]:
    """A polygon on a raster, bool [H, W]; pixel k reaches from k to k + 1.

    Args:
        rings: of the polygon.
        size: width and height of the raster.
        scale: pixels of the raster in one of the outline, along x and y.
        corner: upper left corner of the raster in pixels of the outline.
        rim: whether the pixels that the outer ring runs through belong to it.
    """
    picture = Image.new("1", size)
    draw = ImageDraw.Draw(picture)
    (left, top), (across, down) = corner, scale
    for number, ring in enumerate(rings):
        points = [((x - left) * across - 0.5, (y - top) * down - 0.5) for x, y in ring]
        draw.polygon(points, fill=int(number == 0), outline=int(number == 0) if rim else None)
    return np.asarray(picture)


def _feature(row: Any) -> Feature:
    if not isinstance(row, Mapping):
        raise ValueError("a feature that is no object")
    properties = row.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise ValueError("properties that are no object")
    without: list[str] = []
    return Feature(
        str(properties.get("objectType") or ""),
        _class_name(properties.get("classification")),
        _areas(row["geometry"] if "geometry" in row else row, without),
        _areas(row.get("nucleusGeometry"), []),
        _measurements(properties.get("measurements") or {}),
        without,
    )


def _class_name(kind: Any) -> str:
    """QuPath writes ``classification.name``, and ``names`` for derived classes since 0.6."""
    if isinstance(kind, Mapping):
        names = kind.get("names")
        return str(
            kind.get("name") or ": ".join(map(str, names if isinstance(names, list) else ()))
        )
    return str(kind or "")


def _measurements(found: Any) -> Mapping[str, Any]:
    if isinstance(found, list):  # QuPath before 0.5
        if any(
            not isinstance(one, Mapping) or not {"name", "value"} <= one.keys() for one in found
        ):
            raise ValueError("measurements without name and value")
        return {str(one["name"]): one["value"] for one in found}
    if not isinstance(found, Mapping):
        raise ValueError("measurements that are no object")
    return found


def _areas(geometry: Any, without: list[str]) -> list[Any]:
    """Polygons of a geometry, collections in collections included."""
    if not geometry:
        without.append("no geometry")
        return []
    if not isinstance(geometry, Mapping) or "type" not in geometry:
        raise ValueError("a geometry without a type")
    kind = str(geometry["type"])
    content = geometry.get("geometries" if kind == "GeometryCollection" else "coordinates")
    if kind == "GeometryCollection" and isinstance(content, list):
        return [area for part in content for area in _areas(part, without)]
    if kind in ("Polygon", "MultiPolygon") and content:
        return content if kind == "MultiPolygon" and isinstance(content, list) else [content]
    without.append(f"empty {kind}" if kind in ("Polygon", "MultiPolygon") else kind)
    return []
