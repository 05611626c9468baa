"""Scores of tiles as people store them: csv, h5 with coordinates, GeoJSON, or a folder of these.

A file of places belongs to one slide, which a column names, else the name of the file does, as
in the output of WSInfer and in TRIDENT's and CLAM's folders of h5.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crafts.captions.scoring.scores import KINDS, Outline, Patches, ScoreTable
from crafts.core.arrays import check_unpacked
from crafts.core.errors import ConfigError, DataError, first_line
from crafts.core.parsing import parse_json
from crafts.core.tables import CSV_SUFFIXES, find_column, open_table, same_name
from crafts.core.tabular.csv_rows import FEWER_CELLS
from crafts.imaging.outlines import Feature, check_polygons, class_lineage, read_features

SUFFIXES = (*CSV_SUFFIXES, ".h5", ".hdf5", ".geojson", ".json")
_NAMES = ("file_name", "tile", "filename", "image", "path", "name")
_SLIDES = ("slide", "slide_id", "slide_name", "wsi")
_LEFT, _TOP = ("x", "minx", "coord_x", "left"), ("y", "miny", "coord_y", "top")
_WIDTH, _HEIGHT = (
    ("extent", "width", "patch_size", "size"),
    ("extent", "height", "patch_size", "size"),
)
_ALIASES = {
    "tumor": "tumor tumour cancer malignant malignancy carcinoma",
    "til": "til tils til-positive lymphocyte lymphocytes",
    "stroma": "stroma stromal",
    "fat": "fat adipose",
    "necrosis": "necrosis necrotic",
}
_KIND_OF = {alias: kind for kind, aliases in _ALIASES.items() for alias in aliases.split()}
_AFFIX = re.compile(r"^(?:prob|score|p|probability)[_ -]|[_ -](?:prob|score|probability|fraction)$")


def kind_of(name: object) -> str:
    """The score that a column, dataset or class is called by; "" for another thing."""
    return _KIND_OF.get(_AFFIX.sub("", str(name).strip().lower()), "")


def load_scores(path: Path) -> ScoreTable:
    """Read a file of scores, or all of a folder.

    Args:
        path: csv with a column of tile names (and of slides, where names repeat), or with x, y and
            width (and a slide), and columns of scores (tumor, til, stroma, fat, necrosis, also as
            ``prob_tumor``); h5 with ``coords`` and one dataset a score, or ``scores`` [N, K] with
            the attribute ``names``; GeoJSON of squares with measurements, or of outlines with a
            class.

    Raises:
        ConfigError: nothing there, or a file of another kind.
        DataError: no known score in it, or a score that is no share from 0 to 1.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files or not files[0].is_file() or files[0].suffix.lower() not in SUFFIXES:
        raise ConfigError(
            str(path),
            came="no file of scores" if path.exists() else "no such file or folder",
            allowed=", ".join(SUFFIXES),
            do="Check the path.",
        )
    table, places = ScoreTable(), _Places()
    for file in files:
        if file.suffix.lower() in CSV_SUFFIXES:
            _read_csv(file, table, places)
        elif file.suffix.lower() in (".h5", ".hdf5"):
            _read_h5(file, places)
        else:
            _read_geojson(file, table, places)
    table.by_slide = places.patches()
    if not (table.by_name or table.by_slide or table.outlines):
        raise _bad(path, "no score", "at least one tile or patch with a score")
    return table


class _Places:
    """Scored rectangles as they are read, by slide."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    def add(self, slide: str, box: Sequence[float], scores: Mapping[str, float]) -> None:
        values = (scores.get(kind, float("nan")) for kind in KINDS)
        self._rows[same_name(slide)].append((*box, *values))

    def patches(self) -> dict[str, Patches]:
        found = {}
        for slide, rows in self._rows.items():
            array = np.array(rows, np.float64)
            known = {kind: array[:, 4 + i] for i, kind in enumerate(KINDS)}
            kept = {kind: values for kind, values in known.items() if not np.isnan(values).all()}
            found[slide] = Patches(array[:, :4], kept)
        return found


# ---- csv -------------------------------------------------------------------------------------


def _read_csv(path: Path, table: ScoreTable, places: _Places) -> None:
    listed = open_table(path, lambda where, came: _bad(where, came, "a csv in UTF-8"))
    header = [name for name in listed.header if name]
    kinds = {name: kind_of(name) for name in header if kind_of(name)}
    name, left, top = (find_column(header, wanted) for wanted in (_NAMES, _LEFT, _TOP))
    width, height = find_column(header, _WIDTH), find_column(header, _HEIGHT)
    placed = bool(left and top and width)
    if not kinds or not (name or placed):
        raise _bad(
            path,
            f"columns {', '.join(header) or 'none'}",
            f"a column of tile names, or x, y and width, and one of {', '.join(KINDS)}",
        )
    slide = find_column(header, _SLIDES)
    for found in listed.rows:
        where, row = f"{path}: row {found.number}", found.cells
        if found.fault or found.short:
            raise _bad(where, found.fault or FEWER_CELLS, "one cell a column")
        scores = _scores(where, {kind: row[column] for column, kind in kinds.items()})
        if name and row[name]:
            key = same_name(f"{row[slide]}/{row[name]}" if slide and row[slide] else row[name])
            if table.by_name.setdefault(key, scores) != scores:
                raise _bad(where, f"other scores of {key!r}", "one row a tile")
        if placed:
            numbers = _numbers(where, [row[left], row[top], row[width], row[height or width]])
            box = (*numbers[:2], numbers[0] + numbers[2], numbers[1] + numbers[3])
            places.add(row[slide] if slide else path.stem, box, scores)


def _scores(where: str, raw: Mapping[str, Any]) -> dict[str, float]:
    """Scores of a row; an empty cell is not known."""
    found = {}
    for kind, value in raw.items():
        if value is None or str(value).strip().lower() in ("", "nan", "na", "none"):
            continue
        (number,) = _numbers(where, [value])
        if not 0 <= number <= 1:
            raise _bad(where, f"{kind} {value}", "a share from 0 to 1")
        found[kind] = number
    return found


def _numbers(where: str, values: Sequence[Any]) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = [float("nan")]
    if not np.isfinite(numbers).all():
        raise _bad(where, ", ".join(map(str, values)), "numbers")
    return numbers


# ---- h5 --------------------------------------------------------------------------------------


def _read_h5(path: Path, places: _Places) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as handle:
            if "coords" not in handle:
                raise _bad(path, f"datasets {', '.join(handle) or 'none'}", "a dataset `coords`")
            stored = [handle[name] for name in handle if hasattr(handle[name], "nbytes")]
            check_unpacked(sum(one.nbytes for one in stored), path.stat().st_size)
            coords = np.asarray(handle["coords"], np.float64).reshape(-1, 2)
            attributes = dict(handle["coords"].attrs) | dict(handle.attrs)
            columns = _h5_columns(path, handle, len(coords))
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise _bad(path, f"unreadable ({error})", "a whole h5 file") from None
    names = ("patch_size_level0", "patch_size_src", "extent", "patch_size")
    extent = next((float(attributes[name]) for name in names if name in attributes), 0.0)
    if extent <= 0 or not columns:
        came = "no size of patches" if columns else "no known score"
        allowed = f"the attribute patch_size_level0, and one dataset of {', '.join(KINDS)}"
        raise _bad(path, came, allowed)
    # the names of both layouts' files end in what they are
    slide = re.sub(r"_(?:patches|scores|coords)$", "", path.stem)
    for i, (x, y) in enumerate(coords):
        scores = _scores(
            f"{path}: patch {i}", {kind: values[i] for kind, values in columns.items()}
        )
        places.add(slide, (x, y, x + extent, y + extent), scores)


def _h5_columns(path: Path, handle: Any, number: int) -> dict[str, Any]:
    columns = {
        kind_of(name): np.asarray(handle[name]).reshape(-1) for name in handle if kind_of(name)
    }
    if "scores" in handle:
        values = np.asarray(handle["scores"])
        raw = handle["scores"].attrs.get("names", ())
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in raw]
        if values.ndim != 2 or values.shape[1] != len(names):
            came = f"scores {values.shape} with {len(names)} names"
            raise _bad(path, came, "scores [N, K] with an attribute `names` of K texts")
        columns |= {kind_of(name): values[:, i] for i, name in enumerate(names) if kind_of(name)}
    if any(len(values) != number for values in columns.values()):
        raise _bad(path, "scores of another length than coords", "one score a patch")
    return columns


# ---- GeoJSON ---------------------------------------------------------------------------------


def _read_geojson(path: Path, table: ScoreTable, places: _Places) -> None:
    try:
        features = read_features(parse_json(path.read_text(encoding="utf-8-sig")))
        for number, feature in enumerate(features, 1):
            _read_feature(f"{path}: feature {number}", path.stem, feature, table, places)
    except ValueError as error:
        came = f"no GeoJSON of polygons ({first_line(error)})"
        raise _bad(path, came, "a FeatureCollection as QuPath writes it") from None


def _read_feature(
    where: str, slide: str, feature: Feature, table: ScoreTable, places: _Places
) -> None:
    measured = feature.measurements.items()
    scores = _scores(where, {kind_of(name): value for name, value in measured if kind_of(name)})
    kind = next(filter(None, map(kind_of, class_lineage(feature.name))), "")
    for rings in check_polygons(feature.polygons):
        if scores:
            xs, ys = zip(*rings[0], strict=True)
            places.add(slide, (min(xs), min(ys), max(xs), max(ys)), scores)
        elif kind:
            table.outlines.setdefault(same_name(slide), []).append(Outline(kind, rings))


def _bad(where: Path | str, came: str, allowed: str) -> DataError:
    return DataError(str(where), came=came, allowed=allowed, do="Correct the file of scores.")
