"""Where the tiles of a slide lie: on a grid, or at the places that a file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError, refusal
from crafts.core.tables import read_columns
from crafts.slides.config import TileConfig
from crafts.slides.grid import View, choose_view, plan_grid
from crafts.slides.reading.naming import group_rows
from crafts.slides.reading.resolution import SlideReadError
from crafts.slides.reading.slide_files import SlideFile
from crafts.slides.siting.coordinates import read_coordinates

_COLUMNS = {
    "slide": ("slide", "wsi", "slide_id"), "x": ("x",), "y": ("y",), "extent": ("extent", "size"),
    "level": ("level",),
}  # fmt: skip
_MAX_TILES = 20_000_000


@dataclass(frozen=True)
class Places:
    """Tiles that are asked for on one slide.

    Attributes:
        coords: x and y of the upper left corners in pixels of level 0, each place once.
        extent: edge of a tile in pixels of level 0; None where only the configuration says it.
    """

    coords: tuple[tuple[int, int], ...]
    extent: float | None


FindPlaces = Callable[[SlideFile], Places | None]
"""Slide -> what is asked for on it; None where nothing is."""


@dataclass(frozen=True)
class Layout:
    """Tiles of one slide before anything was looked at.

    Attributes:
        view: how tiles are read.
        x: left edges in pixels of level 0, [N].
        y: top edges, [N].
        extent: (width, height) of a tile in pixels of level 0.
        inside: bool [N], whether the tile lies wholly on the slide.
        grid: columns and rows; None where a file names the places.
    """

    view: View
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    extent: tuple[float, float]
    inside: NDArray[np.bool_]
    grid: tuple[int, int] | None


def load_places(given: Path, sources: Sequence[SlideFile]) -> FindPlaces:
    """What is asked for, by slide.

    Args:
        given: folder with ``<slide>_patches.h5`` (TRIDENT) or ``<slide>.h5`` (CLAM), opened one by
            one; or a csv with the columns ``slide`` (or ``wsi``), ``x``, ``y`` and perhaps
            ``size``, the edge of the tile, all in pixels of level 0.
        sources: all slides of the input.

    Raises:
        ConfigError: nothing there, a csv without these columns or with values that cannot be, or a
            name that fits several slides.
    """
    if given.is_dir():
        _require_h5(given)
        files = Counter(stem for source in sources for stem in _stems(source))
        return lambda source: _find_file(given, source, files)
    rows = group_rows(_read_table(given), sources, str(given))
    table = {name: _join(found, str(given)) for name, found in rows.items()}
    return lambda source: table.get(source.name)


def _require_h5(folder: Path) -> None:
    """Refuse a folder without coordinates once, and not slide by slide."""
    if any(folder.glob("*.h5")):
        return
    inner = next((name for name in ("trident", "clam") if any(folder.glob(f"{name}/*.h5"))), None)
    raise ConfigError(
        str(folder),
        came="a folder without an h5 file" + (f"; those of {inner}/ lie below it" if inner else ""),
        allowed="<slide>_patches.h5 of TRIDENT or <slide>.h5 of CLAM in it",
        do=f"Give --coordinates {folder / (inner or 'FOLDER')}.",
    )


def _stems(source: SlideFile) -> set[str]:
    return {source.path.stem, source.path.name}


def _find_file(folder: Path, source: SlideFile, files: Mapping[str, int]) -> Places | None:
    """The file of a slide: by the name that we give it, else by that of its own file."""
    stems = dict.fromkeys((source.name, source.path.stem, source.path.name))
    paths = ((stem, folder / f"{stem}{end}.h5") for stem in stems for end in ("_patches", ""))
    stem, found = next(((stem, path) for stem, path in paths if path.is_file()), ("", None))
    if found is None:
        return None
    if stem != source.name and files[stem] > 1:
        raise DataError(
            str(found),
            came=f"coordinates for {files[stem]} slides of that name",
            allowed="a file for each",
            do=f"Name them as metadata.csv does: {source.name}_patches.h5 is for {source.place}.",
        )
    coordinates = read_coordinates(found)
    coords = dict.fromkeys((int(x), int(y)) for x, y in coordinates.coords)
    return Places(tuple(coords), coordinates.extent)


def _join(rows: Mapping[str, Places], where: str) -> Places:
    """Places of one slide under all its names, each once."""
    (first, one), *others = rows.items()
    for name, other in others:
        if other.extent != one.extent:
            raise _bad_table(
                where,
                f"one slide under two names, {first!r} with size {one.extent} and {name!r} with "
                f"{other.extent}",
            )
    coords = dict.fromkeys(place for places in rows.values() for place in places.coords)
    return Places(tuple(coords), one.extent)


def _read_table(path: Path) -> Mapping[str, Places]:
    coords: dict[str, dict[tuple[int, int], None]] = {}
    extents: dict[str, float | None] = {}
    for where, row in read_columns(path, _COLUMNS, _bad_table, optional=("extent", "level")):
        try:
            place = int(row["x"]), int(row["y"])
            extent = float(row["extent"]) if row["extent"] else None
        except ValueError:
            raise _bad_table(
                where, f"x {row['x']!r}, y {row['y']!r}, size {row['extent']!r}"
            ) from None
        if row["level"] not in ("", "0") or (extent is not None and not 1 <= extent < 1e6):
            raise _bad_table(where, f"level {row['level'] or '0'!r}, size {row['extent']!r}")
        if extents.setdefault(row["slide"], extent) != extent:
            raise _bad_table(where, f"a second size for {row['slide']!r}")
        coords.setdefault(row["slide"], {})[place] = None
    return {slide: Places(tuple(found), extents[slide]) for slide, found in coords.items()}


def lay_out(
    sizes: Sequence[tuple[int, int]],
    mpp: tuple[float, float],
    config: TileConfig,
    places: Places | None,
) -> Layout:
    """Lay the tiles of a slide out.

    Args:
        sizes: (width, height) of its levels, largest first.
        mpp: microns per pixel of level 0, along x and y.
        config: size, resolution and overlap; where places have an extent, that and the size
            say the resolution.
        places: what is asked for; None lays out a grid.

    Raises:
        TooCoarseError: the slide has fewer pixels than the tiles ask for.
        SlideReadError: more than 20 million tiles.
    """
    wanted = config.mpp
    if places is not None and places.extent is not None:
        wanted = mpp[0] * places.extent / config.size
    view = choose_view(sizes, mpp, wanted, max_upsampling=config.max_upsampling)
    if places is None:
        grid = plan_grid(sizes[0], view, size=config.size, overlap=config.overlap)
        _refuse_endless(grid.columns, grid.rows)
        x, y = grid.positions()
        inside = np.ones(len(x), bool)
        return Layout(view, x, y, grid.extent, inside, (grid.columns, grid.rows))
    extent = view.footprint[0] * config.size, view.footprint[1] * config.size
    coords: Any = np.array(places.coords, np.int64).reshape(-1, 2)
    ends = coords + extent
    # half a pixel of level 0 is within the rounding of level sizes
    inside = ((coords >= 0) & (ends <= np.array(sizes[0]) + 0.5)).all(1)
    return Layout(view, coords[:, 0], coords[:, 1], extent, inside, None)


def _refuse_endless(columns: int, rows: int) -> None:
    if columns * rows > _MAX_TILES:
        raise SlideReadError(
            "grid",
            came=f"{columns} x {rows} tiles",
            allowed=f"at most {_MAX_TILES}",
            do="Check mpp and size of the tiles, and the resolution of the slide.",
        )


def require_places(find: FindPlaces | None, source: SlideFile, given: Path | None) -> Places | None:
    """What is asked for on a slide; None where nothing is asked for of any.

    Raises:
        DataError: the file of the slide is damaged or of several slides, or it has none.
    """
    if find is None:
        return None
    places = find(source)
    if places is None:
        stem = source.path.stem
        raise DataError(
            source.path.name,
            came=f"no place of it in {given}",
            allowed=f"{stem}_patches.h5 or {stem}.h5, or a row of the csv",
            do="Add it, or leave the slide out.",
        )
    return places


_bad_table = refusal(
    ConfigError,
    allowed="a folder of h5 files, or a csv with the columns slide, x, y and perhaps size, in "
    "pixels of level 0, one size a slide",
    do="Correct what --coordinates names.",
)
