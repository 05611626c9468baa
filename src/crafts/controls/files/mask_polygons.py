"""Masks that are outlines: QuPath GeoJSON, HoVer-Net json, CellViT json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crafts.controls.files.mask_images import MAX_PIXELS
from crafts.controls.nuclei import UNKNOWN, ClassTable, NucleiMask, resolve_table
from crafts.core.errors import ConfigError, DataError, first_line
from crafts.core.parsing import parse_json
from crafts.imaging.outlines import Feature, class_lineage, crosses_itself, read_features

Points = NDArray[np.float64]

Frame = tuple[int, int, int, int]
"""Left, top, width and height of the field in the pixels of the file's coordinates."""

MAX_BROKEN = 0.1  # share of broken outlines above which the whole file is refused
_MAX_POINTS = 4000
_FARTHEST = 1e7  # pixels from the origin; no slide is as wide, and beyond 2**31 drawing fails
_LEAST_AREA = 1e-9  # px², below which an outline is a line
_NUCLEI = {"cell", "detection"}  # QuPath's kinds of objects that are single cells


class _BrokenError(Exception):
    """An outline that encloses no nucleus; the message is the reason."""


@dataclass(frozen=True)
class _Outline:
    """One nucleus of a file.

    Attributes:
        name: for the list of rejects.
        parts: polygons, each a sequence of rings; the first is the rim, others are holes.
        label: of its class, "" for none.
        on_pixels: points are pixels of the rim (as OpenCV's contours), not corners of pixels.
        aside: a region among cells, to be left out.
    """

    name: str
    parts: Sequence[Any]
    label: str = ""
    on_pixels: bool = False
    aside: bool = False


@dataclass
class _Canvas:
    frame: Frame
    numbers: Mapping[str, int]
    where: str
    ids: NDArray[np.int32] = field(init=False)
    classes: NDArray[np.uint8] = field(init=False)
    names: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ids = np.zeros((self.frame[3], self.frame[2]), np.int32)
        self.classes = np.zeros(self.ids.shape, np.uint8)


def read_json_mask(
    path: Path, *, frame: Frame | None, table: ClassTable | None, mpp: float | None
) -> NucleiMask:
    """Draw the outlines of a json or geojson file; later nuclei lie over earlier ones.

    GeoJSON: polygons and multipolygons with holes; a pixel belongs to a nucleus when its centre
    does. In a file with cells or detections annotations are left aside; of a cell the nucleus is
    taken. HoVer-Net and CellViT: contours of pixels, rim included. Broken outlines (too few points,
    not closed, crossing themselves, without area, not numbers) are listed in ``rejected``.

    Args:
        path: the file.
        frame: the field to draw.
        table: classes; None takes the names in the file.
        mpp: of the coordinates.

    Raises:
        DataError: no such file format, more than a tenth of the outlines broken, or a class that
            the table lacks.
        ConfigError: no frame, or class numbers without a table.
    """
    content = _load(path)
    kind, outlines = _outlines(content, path)
    canvas = _Canvas(_check_frame(frame, path), _numbers(kind, content, table, path), str(path))
    listed = 0
    for outline in outlines:
        listed += 1
        _draw(outline, canvas)
    _reject_hidden(canvas)
    if len(canvas.rejected) > MAX_BROKEN * max(listed - canvas.skipped.total(), 1):
        raise DataError(
            str(path),
            came=f"{len(canvas.rejected)} of {listed} outlines broken; {canvas.rejected[0]}",
            allowed=f"at most {100 * MAX_BROKEN:.0f} % broken",
            do="Export the nuclei again, or mend the outlines.",
        )
    rejected = tuple(canvas.rejected)
    return NucleiMask(canvas.classes, canvas.ids, mpp, str(path), rejected, dict(canvas.skipped))


def fill_rings(rings: Sequence[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [H, W] whose centre lies in a polygon with holes (even-odd rule).

    Args:
        rings: points [N, 2] as x and y; pixel (0, 0) reaches from 0 to 1.
        shape: H and W.
    """
    inside = np.zeros(shape, bool)
    columns, rows = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    for ring in rings:
        for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            hit = (ya <= rows) != (yb <= rows)
            if hit.any():
                crossing = xa + (rows[hit] - ya) * (xb - xa) / (yb - ya)
                inside[hit] ^= columns[None] > crossing[:, None]
    return inside


def _draw(outline: _Outline, canvas: _Canvas) -> None:
    if outline.aside:
        canvas.skipped["annotation, not a cell"] += 1
        return
    try:
        parts = [_check_part(part, outline.on_pixels) for part in outline.parts]
        if not parts:
            raise _BrokenError("no points")
        points = np.concatenate([ring for part in parts for ring in part])
        corner = np.array(canvas.frame[:2])
        low, high = points.min(axis=0) - corner, points.max(axis=0) - corner
        if (high < 0).any() or (low >= canvas.frame[2:]).any():
            canvas.skipped["outside of the frame"] += 1
            return
        start = np.maximum(np.floor(low), 0).astype(int)
        stop = np.minimum(np.floor(high).astype(int) + 1, canvas.frame[2:])
        box = np.s_[start[1] : stop[1], start[0] : stop[0]]
        shape = canvas.ids[box].shape
        local = [[ring - corner - start for ring in part] for part in parts]
        filled = _fill_contours(local, shape) if outline.on_pixels else _fill_parts(local, shape)
        if not filled.any():
            inside = bool((low >= 0).all() and (high <= canvas.frame[2:]).all())
            if inside:
                raise _BrokenError("covers no pixel")
            canvas.skipped["outside of the frame"] += 1
            return
        number = _class_of(outline, canvas)
    except _BrokenError as error:
        canvas.rejected.append(f"{outline.name}: {error}")
        return
    canvas.names.append(outline.name)
    canvas.ids[box][filled] = len(canvas.names)
    canvas.classes[box][filled] = number


def _fill_parts(parts: list[list[Points]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    filled = np.zeros(shape, bool)
    for rings in parts:
        filled |= fill_rings(rings, shape)
    return filled


def _fill_contours(parts: list[list[Points]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    canvas = Image.new("1", (shape[1], shape[0]))
    for rings in parts:
        points = [(int(x), int(y)) for x, y in np.rint(rings[0])]
        ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
    return np.array(canvas, bool)


def _check_part(part: Any, on_pixels: bool) -> list[Points]:
    if not isinstance(part, list) or not part:
        raise _BrokenError("no points")
    return [_check_ring(ring, on_pixels) for ring in part]


def _check_ring(ring: Any, on_pixels: bool) -> Points:
    """Points [N, 2] without the closing one."""
    try:
        points = np.asarray(ring, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _BrokenError("points that are not pairs of numbers") from None
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise _BrokenError("points that are not pairs of numbers")
    points = points[:, :2]
    if not np.isfinite(points).all():
        raise _BrokenError("NaN or infinite points")
    if len(points) and float(np.abs(points).max()) > _FARTHEST:
        raise _BrokenError(f"points more than {_FARTHEST:,.0f} px from the origin")
    if len(points) > _MAX_POINTS:
        raise _BrokenError(f"{len(points)} points, more than {_MAX_POINTS}")
    closed = len(points) > 1 and bool((points[0] == points[-1]).all())
    if not on_pixels and len(points) >= 3 and not closed:
        raise _BrokenError("not closed")
    points = points[:-1] if closed else points
    if len(np.unique(points, axis=0)) < (1 if on_pixels else 3):
        raise _BrokenError("fewer than 3 different points")
    if not on_pixels:
        _refuse_no_area(points)
    return points


def _refuse_no_area(points: Points) -> None:
    import shapely

    # relative to the first point: far from the origin the products would lose all digits
    near = points - points[0]
    if crosses_itself(near):
        raise _BrokenError("crosses itself")
    if shapely.area(shapely.polygons(near)) < _LEAST_AREA:
        raise _BrokenError("no area")


def _class_of(outline: _Outline, canvas: _Canvas) -> int:
    label = outline.label.strip().lower()
    if not label:
        return UNKNOWN
    lineage = class_lineage(label)
    number = next((canvas.numbers[one] for one in lineage if one in canvas.numbers), None)
    if number is None and label == "0":  # HoVer-Net draws nuclei that it gives no class
        return UNKNOWN
    if number is None:
        raise DataError(
            f"{canvas.where}: {outline.name}",
            came=f"class {outline.label!r}",
            allowed=f"one of {', '.join(sorted(canvas.numbers))}",
            do='Pass a table with all classes, for example table={"my class": "lymphocyte"}.',
        )
    return number or UNKNOWN  # an outline of background is still an outline


def _reject_hidden(canvas: _Canvas) -> None:
    shown = set(np.unique(canvas.ids).tolist())
    for number, name in enumerate(canvas.names, 1):
        if number not in shown:
            canvas.rejected.append(f"{name}: hidden by nuclei drawn after it")


def _numbers(kind: str, content: Any, table: ClassTable | None, path: Path) -> Mapping[str, int]:
    names = resolve_table("names")
    if table is not None:
        return resolve_table(table)
    if kind == "geojson":
        return names
    listed = content.get("type_map") if kind == "cellvit" else None
    if isinstance(listed, Mapping):
        return {
            str(key): names[str(value).lower()]
            for key, value in listed.items()
            if str(value).lower() in names
        }
    if kind == "cellvit":
        return resolve_table("cellvit")
    if all(not outline.label for outline in _hovernet(content)):
        return {}
    raise ConfigError(
        f"{path}: table",
        came="class numbers without a table",
        allowed="the meaning of each class number",
        do='Pass for example table="pannuke", "consep" or "monusac" '
        "(crafts generate: --set masks.table=pannuke).",
    )


def _outlines(content: Any, path: Path) -> tuple[str, Iterator[_Outline]]:
    if isinstance(content, Mapping):
        if isinstance(content.get("nuc"), Mapping):
            return "hovernet", iter(list(_hovernet(content)))
        if isinstance(content.get("cells"), list):
            return "cellvit", _cellvit(content["cells"], path)
    try:
        return "geojson", _geojson(read_features(content))
    except ValueError as error:
        raise DataError(
            str(path),
            came=f"json of another kind ({error})",
            allowed="GeoJSON features, HoVer-Net's `nuc`, or CellViT's `cells`",
            do="Export the nuclei in one of these formats.",
        ) from None


def _hovernet(content: Mapping[str, Any]) -> Iterator[_Outline]:
    for key, nucleus in content["nuc"].items():
        row = nucleus if isinstance(nucleus, Mapping) else {}
        kind = row.get("type")
        label = "" if kind is None else str(kind)
        yield _Outline(f"nucleus {key}", [[row.get("contour")]], label, on_pixels=True)


def _cellvit(cells: Iterable[Any], path: Path) -> Iterator[_Outline]:
    for place, cell in enumerate(cells):
        if not isinstance(cell, Mapping) or "contour" not in cell:
            raise DataError(
                f"{path}: cell {place}",
                came="no contour",
                allowed="cells with a contour each",
                do="Take CellViT's cells.json, not the file of detections.",
            )
        kind = cell.get("type")
        label = "" if kind is None else str(kind)
        yield _Outline(f"cell {place}", [[cell["contour"]]], label, on_pixels=True)


def _geojson(features: Sequence[Feature]) -> Iterator[_Outline]:
    single = any(feature.kind in _NUCLEI for feature in features)
    for place, feature in enumerate(features):
        yield _Outline(
            f"feature {place}",
            feature.nucleus or feature.polygons,
            feature.name,
            aside=single and feature.kind not in _NUCLEI,
        )


def _check_frame(frame: Frame | None, path: Path) -> Frame:
    if frame is None or len(frame) != 4 or min(frame[2:]) < 1 or frame[2] * frame[3] > MAX_PIXELS:
        raise ConfigError(
            f"{path}: frame",
            came="none" if frame is None else str(tuple(frame)),
            allowed=f"left, top, width and height in pixels, at most {MAX_PIXELS // 10**6} Mpx",
            do="Outlines have no size of their own: pass frame=(0, 0, 512, 512), for example "
            "(crafts generate: --set masks.frame=[0,0,512,512]).",
        )
    return (int(frame[0]), int(frame[1]), int(frame[2]), int(frame[3]))


def _load(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(
            str(path),
            came=f"unreadable ({first_line(error)})",
            allowed="JSON in UTF-8",
            do="Check the path, or export the file again.",
        ) from None
