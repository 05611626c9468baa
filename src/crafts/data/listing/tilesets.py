"""Tiles with text from the layouts people have: class folders, captions beside them, tables, tars.

Listing is cheap and happens first (names, text, fields); :mod:`crafts.data.listing.loading` opens
the images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from crafts.core.artifacts import MANIFEST, load_manifest
from crafts.core.errors import ConfigError, DataError
from crafts.core.paths import place_within, stays_within
from crafts.core.tables import TABLE_SUFFIXES, find_metadata, open_table
from crafts.core.tabular.csv_rows import FEWER_CELLS
from crafts.core.tabular.rows import as_text, is_missing
from crafts.data.config import Columns
from crafts.data.listing.embedded import image_column, is_embedded, path_in
from crafts.data.listing.folders import list_folders
from crafts.data.listing.items import ListedTile, clean_key, reject_collisions
from crafts.data.listing.tables import (
    MASK_COLUMNS,
    SPLIT_NAMES,
    TEXT_COLUMNS,
    names_images,
    parse_row,
    pick,
    pick_name,
    require_columns,
    tidy_names,
)
from crafts.data.listing.tars import list_tars

_FORGOTTEN = re.compile(
    r"(metadata|captions?|labels?|tiles|annotations)\.(xlsx?|xlsm|ods|json)", re.IGNORECASE
)
OUTSIDE = "no path of {} within the folder of the table (columns.outside=true allows it)"
_NUMBERED = "*-?????-of-?????*.parquet"  # as `datasets` writes the parts of a split


def list_items(source: Path, columns: Columns | None = None) -> list[ListedTile]:
    """List a source without opening its images.

    Recognised, in this order: a table file or a tar file; a folder (or its split folders) with
    ``metadata.csv|tsv|jsonl|parquet``; a folder of tars; a folder with one table of another name;
    a folder of ``train-00000-of-00002.parquet`` and the like; a folder of images with class folders
    in it, below split folders (train, validation, test, ...) if there are any, where a ``.txt`` of
    an image's name is its caption. A parquet may hold the images themselves.

    Returns:
        Items sorted by key, those with a fault included: of two tiles with one key, the later.

    Raises:
        ConfigError: the source does not exist, or a named column is missing.
        DataError: the layout is not recognised.
    """
    columns = columns or Columns()
    if not source.exists():
        raise ConfigError(
            str(source),
            came="no such file or folder",
            allowed="a folder of tiles, a table or a tar",
            do="Check the path.",
        )
    items = sorted(_detect(source, columns), key=lambda item: (item.key, item.name))
    if not items:
        raise DataError(
            str(source),
            came="no tile in it",
            allowed="images in class folders, metadata.csv|jsonl|parquet, one table, or .tar files",
            do="Check the path and the layout.",
        )
    return reject_collisions(items)


def _detect(source: Path, columns: Columns) -> Iterator[ListedTile]:
    if not source.is_dir() and not source.is_file():
        raise _no_regular_file(source)
    if source.is_file():
        if source.suffix.lower() == ".tar":
            return list_tars([source])
        if source.suffix.lower() in TABLE_SUFFIXES:
            return _list_table(source, columns)
        raise DataError(
            str(source),
            came=f"a {source.suffix or 'nameless'} file",
            allowed=f"a folder, {', '.join(TABLE_SUFFIXES)} or .tar",
            do="Point at the folder of the tiles.",
        )
    tables = _metadata_tables(source)
    if tables:
        return (
            item for path, split in tables for item in _list_table(path, columns, source, split)
        )
    tars = sorted(source.glob("*.tar"))
    if tars:
        return list_tars(tars)
    plain = _plain_tables(source)
    if len(plain) > 1:
        kind = "csv files" if all(path.suffix.lower() == ".csv" for path in plain) else "tables"
        raise DataError(
            str(source),
            came=f"{len(plain)} {kind} ({', '.join(path.name for path in plain[:3])}, ...)",
            allowed="one",
            do="Give the path of the table that lists the tiles.",
        )
    if plain:
        return _list_table(plain[0], columns)
    parts = _numbered_parts(source)
    if parts:
        return (item for path, split in parts for item in _list_table(path, columns, split=split))
    return list_folders(source)


def _plain_tables(source: Path) -> list[Path]:
    """Tables of any other name in a folder: every csv, and those of other kinds that name images.

    Raises:
        DataError: a workbook or JSON file that is called like a table of tiles; it is not read.
    """
    parts = {path for path, _ in _numbered_parts(source)}
    found = []
    for path in sorted(source.iterdir()):
        suffix = path.suffix.lower()
        asked = suffix in TABLE_SUFFIXES or _FORGOTTEN.fullmatch(path.name)
        if not asked or path.name.startswith(".") or path in parts or not path.is_file():
            continue
        if _FORGOTTEN.fullmatch(path.name):
            raise DataError(
                str(path),
                came=f"a {suffix} file that looks like a table of these tiles",
                allowed=f"metadata.csv, or one of {', '.join(TABLE_SUFFIXES)}",
                do="Save it as metadata.csv (columns file_name, text), or move it away.",
            )
        if suffix == ".csv" or names_images(path):
            found.append(path)
    return found


def _no_regular_file(path: Path) -> DataError:
    return DataError(
        str(path),
        came="no regular file",
        allowed="a folder, a table or a tar: a pipe has no end that is known",
        do="Save what it gives as a file.",
    )


def _metadata_tables(source: Path) -> list[tuple[Path, str]]:
    """Metadata tables of a Hugging Face image folder: one in it, or one in each split folder."""
    found = [(path, "") for path in find_metadata(source)]
    if not found:
        folders = sorted(
            path for path in source.iterdir() if path.is_dir() and path.name.lower() in SPLIT_NAMES
        )
        found = [
            (path, SPLIT_NAMES[folder.name.lower()])
            for folder in folders
            for path in find_metadata(folder)
        ]
    if len({path.parent for path, _ in found}) < len(found):
        names = ", ".join(str(path.relative_to(source)) for path, _ in found)
        raise DataError(
            str(source),
            came=f"several metadata tables ({names})",
            allowed="one in a folder",
            do="Remove all but one.",
        )
    return found


def _numbered_parts(source: Path) -> list[tuple[Path, str]]:
    """Parts of a Hugging Face data set with their splits; a single split leaves the rows free."""
    found = [
        (path, SPLIT_NAMES.get(path.name.split("-", 1)[0].lower(), ""))
        for path in sorted(source.glob(_NUMBERED))
    ]
    several = len({split for _, split in found}) > 1
    return [(path, split if several else "") for path, split in found]


def _list_table(
    path: Path, columns: Columns, base: Path | None = None, split: str = ""
) -> Iterator[ListedTile]:
    """Rows of a csv, jsonl or parquet; paths are relative to the table's folder."""
    prefix = path.parent.relative_to(base).as_posix() + "/" if base and path.parent != base else ""
    locate = _locator(path.parent, columns)
    for listed in open_table(path).rows:
        number = listed.number
        where = f"{prefix}{path.name} row {number}"
        fault = listed.fault or (FEWER_CELLS if listed.short else "")
        if fault:
            yield ListedTile(where, clean_key(where), "", fault=fault)
            continue
        row = tidy_names(_without_spaces(listed.cells), columns)
        require_columns(path, columns, row)
        column = image_column(row, columns)
        cell = row.get(column)
        image = path_in(cell)
        if is_embedded(cell):
            # a key by number keeps the order of the rows; names inside often come twice
            key = clean_key(f"{prefix}{path.stem}-{number:08d}")
            item = ListedTile(where, key, str(path), number - 1, column=column)
        elif isinstance(image, str) and image:
            place = locate(image)
            key = clean_key((prefix + place).rsplit(".", 1)[0] if place else where)
            item = ListedTile(prefix + image, key, str(path.parent / place) if place else "")
            if not place:  # its fields stay: without splits, sets would seem to be the same
                item = replace(item, fault=OUTSIDE.format("an image"))
        else:
            yield ListedTile(where, clean_key(where), "", fault="no image path")
            continue
        yield _fill(item, row, columns, split, path.parent, locate)


def _without_spaces(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells as ``a.png, one`` means them, written with a space behind each comma."""
    return {n: cell.lstrip(" ") if isinstance(cell, str) else cell for n, cell in cells.items()}


def _locator(folder: Path, columns: Columns) -> Callable[[str], str]:
    """What finds the files that a table of a folder names; "" for one outside of it.

    Links may lead out of it where the user says so, and where ``caption`` has set them.
    """
    if columns.outside:
        return lambda name: name
    if (folder / MANIFEST).is_file() and load_manifest(folder).stage == "caption":
        return partial(place_within, folder)

    def locate(name: str) -> str:
        place = place_within(folder, name)
        return place if stays_within(folder, place) else ""

    return locate


def _fill(
    item: ListedTile,
    row: Mapping[str, Any],
    columns: Columns,
    split: str,
    folder: Path,
    locate: Callable[[str], str],
) -> ListedTile:
    """The item with key, text, fields and mask of its row; files in other cells are left out."""
    taken = {
        image_column(row, columns),
        pick_name(row, columns.text, TEXT_COLUMNS),
        columns.key,
        pick_name(row, columns.mask, MASK_COLUMNS),
        *(name for name, value in row.items() if is_embedded(value)),
    }
    ours = {column: field for field, column in columns.rename.items()}
    ours |= {field: f"source_{field}" for field in columns.rename if field not in ours}  # overruled
    raw = {ours.get(name, name): value for name, value in row.items() if name not in taken}
    if split:
        raw.setdefault("split", split)
    chosen = row.get(columns.key) if columns.key else None
    if not is_missing(chosen):
        item = replace(item, key=clean_key(as_text(chosen)))
    text = pick(row, columns.text, TEXT_COLUMNS)
    mask = pick(row, columns.mask, MASK_COLUMNS)
    if is_embedded(mask):
        return replace(item, fault="its mask lies inside the table; save it as a file")
    try:
        text, fields = parse_row(text, raw)
    except ValueError as error:
        return replace(item, fault=str(error))
    named = path_in(mask)
    if is_missing(named):
        return replace(item, text=text, fields=fields)
    place = locate(as_text(named))
    if not place:
        return replace(item, fault=OUTSIDE.format("a mask"))
    return replace(item, text=text, fields=fields, mask=str(folder / place))
