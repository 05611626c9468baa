"""Where on a canvas which prompt holds: regions in GeoJSON, or a mask of classes."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import torch
from torch.nn.functional import avg_pool2d, pad

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import DataError
from crafts.core.parsing import parse_json
from crafts.generation.request import check_prompt
from crafts.imaging.opening import DAMAGE, MAX_PIXELS, first_line, open_header
from crafts.imaging.outlines import Polygon, check_polygons, read_features
from crafts.imaging.shapes import LOSSLESS
from crafts.imaging.stripping import RefusedImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PROMPTS = 254
_TOLERANCE = 0.01  # by which the proportions of a mask may differ from those of its canvas
_COLOURS = ((0, 128, 96), (200, 60, 60), (60, 90, 200), (210, 150, 40), (130, 70, 170))


@dataclass(frozen=True)
class Region:
    """An area of one prompt.

    Attributes:
        prompt: number of the prompt.
        polygons: in pixels of the canvas.
    """

    prompt: int
    polygons: tuple[Polygon, ...]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        points = np.array([p for rings in self.polygons for ring in rings for p in ring])
        return (*map(float, points.min(0)), *map(float, points.max(0)))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class PromptMap:
    """Prompts and the places where they hold; prompt 0 holds wherever no other does.

    Attributes:
        size: width and height of the canvas in pixels.
        prompts: by their numbers.
        names: of their classes.
        regions: later ones lie above earlier ones.
        mask: numbers of prompts, uint8 [h, w], stretched over the canvas, in place of regions.
    """

    size: tuple[int, int]
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    regions: tuple[Region, ...] = ()
    mask: NDArray[np.uint8] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides which prompt holds where; "" where there is only one."""
        if len(self.prompts) == 1:
            return ""
        drawn: Any = [[region.prompt, region.polygons] for region in self.regions]
        if self.mask is not None:
            drawn = [self.mask.shape, sha256_bytes(self.mask.tobytes())]
        return sha256_bytes(json.dumps([self.prompts, drawn]).encode())

    def labels(self, top: int, bottom: int, pixel: int = 1) -> NDArray[np.uint8]:
        """Numbers of prompts [bottom - top, w] on rows of a grid.

        Args:
            top: first row.
            bottom: the row after the last one.
            pixel: of the grid, in pixels of the canvas.
        """
        width = -(-self.size[0] // pixel)
        if self.mask is not None:
            rows = ((np.arange(top, bottom) + 0.5) * pixel * len(self.mask) / self.size[1]).astype(
                int
            )
            across = self.mask.shape[1] / self.size[0]
            columns = ((np.arange(width) + 0.5) * pixel * across).astype(int)
            within = np.ix_(
                rows.clip(0, len(self.mask) - 1), columns.clip(0, self.mask.shape[1] - 1)
            )
            return self.mask[within]
        found = np.zeros((bottom - top, width), np.uint8)
        for region in self.regions:
            _, above, _, below = region.bounds
            if below < top * pixel or above > bottom * pixel:
                continue
            for rings in region.polygons:
                found[_fill(rings, top, found.shape, pixel)] = region.prompt
        return found

    def shares(self, top: int, bottom: int, *, pixel: int, border: int) -> dict[int, torch.Tensor]:
        """How much each prompt counts on rows of a grid, [rows, w]; the shares of a place sum to 1.

        Args:
            top: first row.
            bottom: the row after the last one.
            pixel: of the grid, in pixels of the canvas.
            border: pixels of the grid to each side of an edge over which one prompt passes into
                the next.
        """
        height = -(-self.size[1] // pixel)
        first, last = max(top - border, 0), min(bottom + border, height)
        labels = torch.from_numpy(self.labels(first, last, pixel))
        numbers = [int(n) for n in labels.unique()]
        if len(numbers) == 1:
            return {numbers[0]: torch.ones(bottom - top, labels.shape[1])}
        missing = (border, border, border - (top - first), border - (last - bottom))
        found = {}
        for number in numbers:
            there = pad((labels == number).float()[None, None], missing, mode="replicate")
            share = avg_pool2d(there, 2 * border + 1, stride=1)[0, 0]
            if share.any():
                found[number] = share
        return found

    def describe(self) -> dict[str, dict[str, str]]:
        """Value in the class map -> name and prompt; 0 is left to what is outside of a slide."""
        rows = zip(self.names, self.prompts, strict=True)
        return {
            str(n + 1): {"name": name, "prompt": prompt} for n, (name, prompt) in enumerate(rows)
        }

    def features(self) -> dict[str, Any]:
        """The map in GeoJSON, as QuPath reads it; read again, it is the same map."""
        width, height = self.size
        whole = (((0.0, 0.0), (width, 0.0), (width, height), (0.0, height)),)
        rows = [Region(0, (whole,)), *self.regions, *_trace(self)]
        return {
            "type": "FeatureCollection",
            "features": [self._feature(n, r) for n, r in enumerate(rows)],
        }

    def _feature(self, number: int, region: Region) -> dict[str, Any]:
        name, prompt = self.names[region.prompt], self.prompts[region.prompt]
        polygons = [[[*ring, ring[0]] for ring in rings] for rings in region.polygons]
        return {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number} {prompt} {polygons}")),
            "geometry": {"type": "MultiPolygon", "coordinates": polygons},
            "properties": {
                "objectType": "annotation",
                "name": prompt[:80],
                "classification": {"name": name, "color": _COLOURS[region.prompt % len(_COLOURS)]},
                "prompt": prompt,
            },
        }


def _fill(rings: Polygon, top: int, shape: tuple[int, int], pixel: int) -> NDArray[np.bool_]:
    """Centres inside of a polygon, bool [rows, w], by the crossings to their left.

    Args:
        rings: in pixels of the canvas.
        top: first row of the grid.
        shape: rows and width of the grid.
        pixel: of the grid.
    """
    turns = np.zeros((shape[0], shape[1] + 1), np.int32)
    middles = (top + np.arange(shape[0]) + 0.5) * pixel
    for ring in rings:
        start = np.array(ring)
        end = np.roll(start, -1, axis=0)
        row, edge = np.nonzero((start[:, 1] <= middles[:, None]) != (end[:, 1] <= middles[:, None]))
        (x0, y0), (x1, y1) = start[edge].T, end[edge].T
        x = x0 + (middles[row] - y0) / (y1 - y0) * (x1 - x0)
        np.add.at(turns, (row, np.ceil(x / pixel - 0.5).astype(int).clip(0, shape[1])), 1)
    return np.cumsum(turns, axis=1)[:, :-1] % 2 == 1


class ClassLevel:
    """A level of the class map: numbers of prompts plus 1, of which 0 is left for nothing."""

    def __init__(self, drawn: PromptMap, pixel: int) -> None:
        self.drawn, self.pixel = drawn, pixel
        self.width, self.height = (-(-side // pixel) for side in drawn.size)

    def read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows uint8 [bottom - top, W]."""
        return self.drawn.labels(top, bottom, self.pixel) + np.uint8(1)


def load_prompt_map(path: Path | None, prompt: str, size: tuple[int, int]) -> PromptMap:
    """The prompts of a canvas.

    Args:
        path: ``.geojson`` (or ``.json``): regions in pixels of the canvas, each with ``prompt``
            among its properties, or else its ``name`` or class as its prompt. Any other file: a
            mask of numbers with the proportions of the canvas, and beside it a ``.json`` of the
            same name, ``{"1": "prompt", ...}``. None: one prompt everywhere.
        prompt: holds wherever no other does; in a mask, where it is 0.
        size: width and height of the canvas in pixels.

    Raises:
        DataError: damaged, without prompts, or beyond the canvas.
    """
    if path is None:
        return PromptMap(size, (prompt,), ("canvas",))
    if path.suffix.lower() in (".geojson", ".json"):
        return _from_regions(path, prompt, size)
    return _from_mask(path, prompt, size)


def _from_regions(path: Path, prompt: str, size: tuple[int, int]) -> PromptMap:
    try:
        content = parse_json(path.read_bytes())
        features = read_features(content)
    except (OSError, ValueError) as error:
        raise _bad(path, f"no GeoJSON of regions ({first_line(error)})") from None
    listed = content.get("features", [content]) if isinstance(content, Mapping) else content
    prompts, names, regions = [prompt], ["canvas"], []
    for number, (raw, feature) in enumerate(zip(listed, features, strict=True), 1):
        where = f"{path}: region {number}"
        said = raw.get("properties") or {}
        try:
            told = check_prompt(said.get("prompt") or said.get("name") or feature.name)
            polygons = check_polygons(feature.polygons)
        except ValueError as error:
            raise _bad(where, str(error)) from None
        if not any(shapely.Polygon(rings[0]).area for rings in polygons):
            raise _bad(where, f"no area ({', '.join(feature.without_area) or 'a line'})")
        if told not in prompts:
            prompts.append(told)
            names.append(feature.name or told[:80])
        region = Region(prompts.index(told), polygons)
        _check_inside(where, region, size)
        regions.append(region)
    _check_number(path, prompts)
    return PromptMap(size, tuple(prompts), tuple(names), tuple(regions))


def _check_inside(where: str, region: Region, size: tuple[int, int]) -> None:
    left, top, right, bottom = region.bounds
    if min(left, top) < -0.5 or right > size[0] + 0.5 or bottom > size[1] + 0.5:
        raise DataError(
            where,
            came=f"x from {left:g} to {right:g}, y from {top:g} to {bottom:g}",
            allowed=f"x from 0 to {size[0]}, y from 0 to {size[1]}, the pixels of the canvas",
            do="Move the region, or ask for a larger --size.",
        )


def _from_mask(path: Path, prompt: str, size: tuple[int, int]) -> PromptMap:
    try:
        with open_header(path, MAX_PIXELS, LOSSLESS) as image:
            if image.mode not in ("1", "L", "P"):
                raise _bad(path, f"a mask of mode {image.mode}", "one channel of numbers 0-255")
            numbers = np.asarray(image.convert("L") if image.mode == "1" else image).astype(
                np.uint8
            )
    except (RefusedImageError, *DAMAGE) as error:
        raise _bad(path, f"unreadable ({first_line(error)})") from None
    height, width = numbers.shape
    if abs(math.log(width / height * size[1] / size[0])) > _TOLERANCE:
        raise _bad(path, f"{width} x {height} px", f"the proportions of {size[0]} x {size[1]}")
    table = _read_table(path.with_suffix(".json"))
    found = [int(n) for n in np.unique(numbers)]
    if lacking := [n for n in found if n and n not in table]:
        raise _bad(
            path, f"the number {lacking[0]}", f"0, and those of {path.with_suffix('.json').name}"
        )
    prompts = [table.get(0, prompt), *dict.fromkeys(table[n] for n in found if n)]
    _check_number(path, prompts)
    codes = np.zeros(256, np.uint8)
    for n in found:
        codes[n] = prompts.index(table.get(n, prompts[0]), 1 if n else 0)
    names = ["canvas", *(text[:80] for text in prompts[1:])]
    return PromptMap(size, tuple(prompts), tuple(names), mask=codes[numbers])


def _read_table(path: Path) -> dict[int, str]:
    """Numbers of a mask and their prompts."""
    try:
        content = parse_json(path.read_bytes())
        return {int(number): check_prompt(text) for number, text in content.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _bad(
            path, f"no table of prompts ({first_line(error)})", '{"1": "prompt", ...}'
        ) from None


def _check_number(path: Path, prompts: list[str]) -> None:
    if len(prompts) > MAX_PROMPTS:
        raise _bad(path, f"{len(prompts)} prompts", f"at most {MAX_PROMPTS}")


def _bad(where: Path | str, came: str, allowed: str = "") -> DataError:
    return DataError(
        str(where),
        came=came,
        allowed=allowed or "areas (Polygon, MultiPolygon), each with a prompt or a class",
        do="Correct the file of --prompt-map.",
    )


def _trace(drawn: PromptMap) -> list[Region]:
    """The areas of a mask as regions, along the edges of its pixels."""
    if drawn.mask is None:
        return []
    across, down = (side / n for side, n in zip(drawn.size, drawn.mask.shape[::-1], strict=True))
    regions = []
    for number in range(1, len(drawn.prompts)):
        there = np.pad((drawn.mask == number).astype(np.int8), [(0, 0), (1, 1)])
        row, change = np.nonzero(np.diff(there, axis=1))
        runs = change.reshape(-1, 2)
        tops = row[::2]
        boxes = shapely.box(
            runs[:, 0] * across, tops * down, runs[:, 1] * across, (tops + 1) * down
        )
        parts = shapely.get_parts(shapely.union_all(boxes))
        polygons = tuple(
            tuple(tuple((x, y) for x, y in ring.coords[:-1]) for ring in (p.exterior, *p.interiors))
            for p in parts
        )
        if polygons:
            regions.append(Region(number, polygons))
    return regions
