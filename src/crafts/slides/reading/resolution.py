"""Microns per pixel of a slide: found in what it says, in a fixed order, and never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crafts.core.errors import ConfigError, DataError, refusal
from crafts.core.tables import read_columns

MIN_MPP, MAX_MPP = 0.05, 5.0
_UNITS = {  # microns in one unit
    "inch": 25_400.0, "centimeter": 10_000.0, "cm": 10_000.0, "mm": 1_000.0, "nm": 0.001,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "2": 25_400.0, "3": 10_000.0,
}  # fmt: skip
_XY_TOLERANCE, _POWER_TOLERANCE = 0.01, 0.2


class SlideReadError(DataError):
    """A slide that cannot be opened or read, whatever library read it (exit code 3)."""


@dataclass(frozen=True)
class Resolution:
    """Resolution of level 0.

    Attributes:
        x: microns per pixel along a row, in [0.05, 5].
        y: microns per pixel along a column.
        source: the key that said it, or the name of the csv.
        warnings: what does not fit together, in words.
    """

    x: float
    y: float
    source: str
    warnings: tuple[str, ...] = ()


def find_resolution(
    properties: Mapping[str, str], where: str, override: tuple[float, str] | None = None
) -> Resolution:
    """The first that is there of: override, slide properties, vendor keys, TIFF resolution.

    Args:
        properties: what the slide says, with the names that OpenSlide uses; ``dicom.PixelSpacing``
            (mm, row first), ``ome.PhysicalSizeX`` and ``ome.PhysicalSizeXUnit`` besides.
        where: path of the slide, for messages.
        override: microns per pixel from the user's csv, and the name of that csv.

    Raises:
        SlideReadError: nobody says it, or what is said lies outside of 0.05 to 5.
    """
    found = (override[0], override[0], override[1]) if override else _first(properties)
    if found is None:
        raise _refusal(where, "no microns per pixel in the slide")
    x, y, source = found
    if not all(MIN_MPP <= value <= MAX_MPP for value in (x, y)):
        raise _refusal(where, f"{x:g} x {y:g} microns per pixel ({source})")
    return Resolution(x, y, source, tuple(_doubts(x, y, properties)))


def load_overrides(path: Path) -> dict[str, float]:
    """Microns per pixel by the name of a row, from a csv with ``slide`` (or ``wsi``) and ``mpp``.

    Raises:
        ConfigError: no such file, missing columns, a value outside of 0.05 to 5, or two values for
            one slide.
    """
    columns = {"slide": ("slide", "wsi"), "mpp": ("mpp",)}
    table: dict[str, float] = {}
    for where, row in read_columns(path, columns, _bad_csv):
        value = _number(row["mpp"])
        if value is None or not MIN_MPP <= value <= MAX_MPP:
            raise _bad_csv(where, f"mpp {row['mpp']!r}")
        if table.setdefault(row["slide"], value) != value:
            raise _bad_csv(where, f"a second value for {row['slide']!r}")
    return table


def _first(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
    readers: tuple[Callable[[Mapping[str, str]], tuple[float, float, str] | None], ...] = (
        _pair("openslide.mpp-x", "openslide.mpp-y"),
        _dicom,
        _ome,
        _pair("aperio.MPP", "aperio.MPP"),
        _per_centimeter("hamamatsu.XResolution", "hamamatsu.YResolution"),
        _pair("openslide.mirax.MPP", "openslide.mirax.MPP"),
        _tiff,
    )
    return next((found for reader in readers if (found := reader(properties))), None)


def _pair(x: str, y: str) -> Callable[[Mapping[str, str]], tuple[float, float, str] | None]:
    def read(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
        first = _number(properties.get(x))
        if first is None:
            return None
        second = _number(properties.get(y))
        return first, first if second is None else second, x

    return read


def _per_centimeter(
    x: str, y: str
) -> Callable[[Mapping[str, str]], tuple[float, float, str] | None]:
    """Hamamatsu: pixels in a centimetre."""

    def read(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
        found = _pair(x, y)(properties)
        return found and (_inverse(10_000.0, found[0]), _inverse(10_000.0, found[1]), x)

    return read


def _dicom(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
    key = "dicom.PixelSpacing"
    values = [_number(part) for part in re.split(r"[\\, ]+", properties.get(key, "").strip("[]"))]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[1] * 1000, values[0] * 1000, key  # the first is the distance between rows


def _ome(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
    found = _pair("ome.PhysicalSizeX", "ome.PhysicalSizeY")(properties)
    across = _UNITS.get(properties.get("ome.PhysicalSizeXUnit", "µm"))
    down = _UNITS.get(properties.get("ome.PhysicalSizeYUnit", "µm"))
    if "ome.PhysicalSizeY" not in properties:
        down = across  # a height that is not given is that of the width, unit and all
    if not found or across is None or down is None:
        return None
    return found[0] * across, found[1] * down, found[2]


def _tiff(properties: Mapping[str, str]) -> tuple[float, float, str] | None:
    found = _pair("tiff.XResolution", "tiff.YResolution")(properties)
    unit = _UNITS.get(properties.get("tiff.ResolutionUnit", "").lower())
    if not found or not unit:
        return None
    return _inverse(unit, found[0]), _inverse(unit, found[1]), found[2]


def _inverse(unit: float, per_unit: float) -> float:
    return unit / per_unit if per_unit > 0 else 0.0


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _doubts(x: float, y: float, properties: Mapping[str, str]) -> list[str]:
    doubts = []
    if abs(x - y) > _XY_TOLERANCE * max(x, y):
        doubts.append(f"microns per pixel differ by axis: x {x:g}, y {y:g}")
    power = _number(properties.get("openslide.objective-power"))
    if power and abs(x * power / 10 - 1) > _POWER_TOLERANCE:  # 10 µm/px at 1x
        doubts.append(f"{x:g} microns per pixel do not fit an objective of {power:g}x")
    return doubts


_refusal = refusal(
    SlideReadError,
    allowed=f"{MIN_MPP:g} to {MAX_MPP:g}, from the csv, the slide or its TIFF resolution",
    do="Write it into a csv with the columns slide,mpp and pass --mpp-csv FILE.",
)


_bad_csv = refusal(
    ConfigError,
    allowed=f"columns slide (or wsi) and mpp, one row a slide, mpp {MIN_MPP:g} to {MAX_MPP:g}",
    do="Correct the file given to --mpp-csv.",
)
