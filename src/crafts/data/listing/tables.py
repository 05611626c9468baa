"""Tables that list tiles: csv, jsonl and parquet rows and the types of the known fields."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crafts.core.config import Config
from crafts.core.errors import ConfigError, DataError

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
_ROWS = 64


class Columns(Config):
    """Names that a table uses for what crafts knows; empty means: found by the usual names.

    Attributes:
        image: path of the image, or in a parquet the file itself (usual: file_name, filename,
            image, path, file).
        text: caption (usual: text, caption).
        key: unique name of the row (by default the path of the image).
        mask: file with the nuclei of the tile (usual: mask).
        rename: our name of a field -> name of the column, e.g. ``{"patient": "case_id"}``.
    """

    image: str = ""
    text: str = ""
    key: str = ""
    mask: str = ""
    rename: dict[str, str] = {}


def parse_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the well-known fields to their types; empty values are dropped, others kept.

    Raises:
        ValueError: ``mpp``, ``captions`` or ``split`` has a value that cannot be meant.
    """
    fields = {name: value for name, value in raw.items() if not is_missing(value)}
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
    try:
        json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ValueError("text that is no valid Unicode") from None


def _parse_captions(value: Any) -> list[str]:
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return [value]
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError("captions is no JSON list") from None
    if not isinstance(value, list) or not all(
        isinstance(text, str) and text.strip() for text in value
    ):
        raise ValueError("captions is no list of texts")
    return list(value)


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Numbered rows; a row that cannot be read comes as its reason."""
    try:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as handle:
                yield from (
                    (number, _json_row(line))
                    for number, line in enumerate(handle, 1)
                    if line.strip()
                )
        else:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                rows = csv.DictReader(handle, skipinitialspace=True)
                rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
                yield from ((number, _csv_row(row)) for number, row in enumerate(rows, 1))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            str(path),
            came=f"unreadable text ({error})",
            allowed="a table in UTF-8",
            do="Save the table again as UTF-8 with one row a line.",
        ) from None


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # a few rows at a time: they may hold images
            named = _class_names((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
            rows = (row for part in file.iter_batches(_ROWS) for row in part.to_pylist())
            yield from enumerate((_with_names(row, named) for row in rows), 1)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            str(path),
            came=f"damaged parquet ({str(error).splitlines()[0]})",
            allowed="a whole file",
            do="Copy or write the table again.",
        ) from None


def _class_names(facts: bytes) -> dict[str, list[str]]:
    """Columns of class numbers and the names of the classes, as `datasets` notes them."""
    try:
        features = json.loads(facts)["info"]["features"]
        kinds = {name: value for name, value in features.items() if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {n: v["names"] for n, v in kinds.items() if isinstance(v.get("names"), list)}


def _with_names(row: dict[str, Any], named: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    for column, names in named.items():
        number = row.get(column)
        if isinstance(number, int) and 0 <= number < len(names):
            row[column] = names[number]
    return row


def _json_row(line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg})"
    return row if isinstance(row, dict) else "not a JSON object"


def _csv_row(row: dict[Any, Any]) -> dict[str, Any] | str:
    if None in row:
        return "more cells than columns"
    if None in row.values():
        return "fewer cells than columns"
    row.pop("", None)  # the numbers of a data frame, written without a name
    return row


def tidy_names(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """The row with the names that crafts knows in lower case: ``Patient`` is ``patient``.

    A name that the user gave, and one that the row has in lower case too, are left.
    """
    given = {columns.image, columns.text, columns.key, columns.mask, *columns.rename.values()}
    tidied: dict[str, Any] = {}
    for name, value in row.items():
        plain = name.strip().lower()
        ours = plain in _KNOWN and name not in given and plain not in row and plain not in tidied
        tidied[plain if ours else name] = value
    return tidied


def require_columns(path: Path, columns: Columns, row: Mapping[str, Any]) -> None:
    """Refuse a csv or parquet without a named column or without one for the image path.

    Rows of JSON may leave out what is empty; there a missing path is a fault of the row.

    Raises:
        ConfigError: names the column and those that exist.
    """
    if path.suffix == ".jsonl":
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


def is_missing(value: Any) -> bool:
    """True for None, "" and NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str:
    """A value as text, 3.0 as "3"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of numbers with gaps arrives as floats
    return str(value)
