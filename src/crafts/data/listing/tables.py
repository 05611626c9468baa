"""Tables that list tiles: what their columns are called, and the types of the known fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from crafts.core.errors import ConfigError, CraftsError
from crafts.core.parsing import parse_json
from crafts.core.patients import find_patient, parse_id
from crafts.core.tables import JSON_SUFFIXES, open_table, plain_name
from crafts.core.tabular.rows import as_text, is_encodable, is_missing
from crafts.data.config import Columns

TEXT_FIELDS = ("patient", "split", "set", "label", "organ", "power", "licence")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "heldout": "heldout",
    "held-out": "heldout",
    "test": "heldout",
    "testing": "heldout",
}
IMAGE_COLUMNS = ("file_name", "filename", "image", "path", "file")
MASK_COLUMNS = ("mask",)
TEXT_COLUMNS = ("text", "caption")
_KNOWN = {*TEXT_FIELDS, "mpp", "captions", *IMAGE_COLUMNS, *MASK_COLUMNS, *TEXT_COLUMNS}
_SPELT = {plain_name(name): name for name in sorted(_KNOWN)}
_PEEKED = 8


def parse_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the well-known fields to their types; empty values are dropped, others kept.

    A column that means the patient, see :mod:`crafts.core.patients`, becomes ``patient``.

    Raises:
        ValueError: ``patient``, ``mpp``, ``captions`` or ``split`` has a value that cannot be
            meant.
    """
    fields = {name: value for name, value in raw.items() if not is_missing(value)}
    if column := find_patient(fields):
        fields["patient"] = parse_id(fields.pop(column))
    for name in TEXT_FIELDS:
        if name in fields:
            fields[name] = as_text(fields[name]).strip()
    fields = {name: value for name, value in fields.items() if not is_missing(value)}
    if "split" in fields:
        if fields["split"].lower() not in SPLIT_NAMES:
            raise ValueError(f"split {fields['split']!r} is none of {', '.join(SPLIT_NAMES)}")
        fields["split"] = SPLIT_NAMES[fields["split"].lower()]
    if "mpp" in fields:
        fields["mpp"] = parse_mpp(fields["mpp"])
    if "captions" in fields:
        fields["captions"] = _parse_captions(fields["captions"])
    return fields


def parse_mpp(value: Any) -> float | str:
    """Microns per pixel: a positive number, or "unknown".

    Raises:
        ValueError: anything else.
    """
    if value == "unknown" or is_missing(value):
        return "unknown"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"mpp {value!r} is neither a positive number nor unknown")
    return number


def parse_row(text: Any, raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Caption and fields of a row.

    Args:
        text: what the column of the caption holds; a list is taken for alternative wordings. Of
            several the first is the caption.
        raw: the other columns.

    Raises:
        ValueError: as :func:`parse_fields`, and for text that no UTF-8 file can hold.
    """
    _require_unicode([text, raw])
    if isinstance(text, list):
        given = raw.get("captions")
        raw, text = {**raw, "captions": text if is_missing(given) else given}, None
    fields = parse_fields(raw)
    return str(text) if text is not None else next(iter(fields.get("captions", [])), ""), fields


def _require_unicode(values: Any) -> None:
    """Refuse a lone surrogate, as in the JSON string ``D800``."""
    if not is_encodable(json.dumps(values, ensure_ascii=False, default=str)):
        raise ValueError("text that is no valid Unicode")


def _parse_captions(value: Any) -> list[str]:
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return [value]
        try:
            value = parse_json(value)
        except ValueError:
            raise ValueError("captions is no JSON list") from None
    if not isinstance(value, list) or not all(
        isinstance(text, str) and text.strip() for text in value
    ):
        raise ValueError("captions is no list of texts")
    return list(value)


def names_images(path: Path) -> bool:
    """Whether a table has a column that can hold paths of images; its first rows tell."""
    try:
        table = open_table(path)
        names = table.header or [name for row in islice(table.rows, _PEEKED) for name in row.cells]
    except CraftsError:
        return False
    return any(_known_name(name) in IMAGE_COLUMNS for name in names)


def tidy_names(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """The row with the names that crafts knows as they are: ``File Name`` is ``file_name``.

    A name that the user gave, and one that the row has in lower case too, are left.
    """
    given = {columns.image, columns.text, columns.key, columns.mask, *columns.rename.values()}
    tidied: dict[str, Any] = {}
    for name, value in row.items():
        known = _known_name(name)
        ours = known and name not in given and known not in row and known not in tidied
        tidied[known if ours else name] = value
    return tidied


def _known_name(name: str) -> str:
    plain = name.strip().lower()
    return plain if plain in _KNOWN else _SPELT.get(plain_name(name), "")


def require_columns(path: Path, columns: Columns, row: Mapping[str, Any]) -> None:
    """Refuse a csv or parquet without a named column or without one for the image path.

    Rows of JSON may leave out what is empty; there a missing path is a fault of the row.

    Raises:
        ConfigError: names the column and those that exist.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        return
    wanted = [columns.image, columns.text, columns.key, columns.mask, *columns.rename.values()]
    missing = [name for name in wanted if name and name not in row]
    if missing:
        raise ConfigError(
            f"{path}: column {missing[0]!r}",
            came="no such column",
            allowed=f"one of: {', '.join(row)}",
            do="Correct the names under `columns`.",
        )
    if not pick_name(row, columns.image, IMAGE_COLUMNS):
        raise ConfigError(
            str(path),
            came=f"columns {', '.join(row)}",
            allowed=f"a column with the image path ({', '.join(IMAGE_COLUMNS)})",
            do="Rename the column or set columns.image.",
        )


def pick_name(row: Mapping[str, Any], named: str, usual: Iterable[str]) -> str:
    """The column that a row uses: the named one, else the first usual one, else ""."""
    return named or next((name for name in usual if name in row), "")


def pick(row: Mapping[str, Any], named: str, usual: Iterable[str]) -> Any:
    """Value of the column that :func:`pick_name` finds; None when it is missing or empty."""
    name = pick_name(row, named, usual)
    value = row.get(name) if name else None
    return None if is_missing(value) else value
