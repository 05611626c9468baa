"""Rows of a parquet, a few at a time; a small file may stand for more than any memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crafts.core.errors import first_line
from crafts.core.parsing import parse_json
from crafts.core.tabular.rows import MAX_ROW, TableRow

_BATCH = 64
_MAX_GROUP = 8 << 30
_MEAN_TEXT = 500  # characters of a row; a table of the most rows may hold so many each


class UnreadableError(Exception):
    """The parquet as a whole cannot be used; the text says why."""


def read_parquet(path: Path, max_rows: int) -> tuple[tuple[str, ...], Iterator[TableRow]]:
    """Names of the columns, and the rows.

    Class numbers of `datasets` come as the names of the classes.

    Args:
        path: of the file.
        max_rows: most rows, counted in its footer before any is read.

    Raises:
        UnreadableError: damaged, too many rows, too much text, too large a group of rows, or two
            columns of one name; also while rows are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            facts = file.metadata
            schema = file.schema_arrow
            sizes = [facts.row_group(k).total_byte_size for k in range(facts.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(_damaged(error)) from None
    if facts.num_rows > max_rows:
        raise UnreadableError(f"{facts.num_rows:,} rows; at most {max_rows:,} are read")
    if max(sizes, default=0) > _MAX_GROUP:
        raise UnreadableError(f"a group of rows of {max(sizes) >> 30} GiB")
    names = tuple(schema.names)
    if len(set(names)) < len(names):
        raise UnreadableError(f"two columns {max(names, key=names.count)!r}")
    # texts stay in their dictionary: written out, one of a megabyte in each row fills any memory
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    classes = _class_names((schema.metadata or {}).get(b"huggingface", b"{}"))
    return names, _measured(_rows(path, texts, classes), _MEAN_TEXT * max_rows)


def _measured(rows: Iterator[TableRow], most: int) -> Iterator[TableRow]:
    """The rows, as long as their texts together fit into memory: the footer does not tell."""
    size = 0
    for row in rows:
        size += sum(len(value) for value in row.cells.values() if isinstance(value, str))
        if size > most:
            raise UnreadableError(f"more than {most:,} characters of text")
        yield row


def _rows(
    path: Path, texts: Sequence[str], classes: Mapping[str, Sequence[str]]
) -> Iterator[TableRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, read_dictionary=list(texts)) as file:
            for batch in file.iter_batches(_BATCH):
                for index in range(batch.num_rows):
                    number += 1
                    yield _row(number, batch, index, classes)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(_damaged(error)) from None


def _row(number: int, batch: Any, index: int, classes: Mapping[str, Sequence[str]]) -> TableRow:
    cells: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            value = column[index].as_py()
        except (ValueError, OverflowError) as error:  # no UTF-8, a date beyond all calendars
            return TableRow(number, fault=f"{name} that cannot be read ({type(error).__name__})")
        if isinstance(value, str) and len(value) > MAX_ROW:
            return TableRow(number, fault=f"{name} longer than {MAX_ROW} characters")
        names = classes.get(name, ())
        known = isinstance(value, int) and 0 <= value < len(names)
        cells[name] = names[value] if known else value
    return TableRow(number, cells)


def _class_names(facts: bytes) -> dict[str, list[str]]:
    """Columns of class numbers and the names of the classes, as `datasets` notes them."""
    try:
        features = parse_json(facts)["info"]["features"]
        kinds = {name: value for name, value in features.items() if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {n: v["names"] for n, v in kinds.items() if isinstance(v.get("names"), list)}


def _damaged(error: Exception) -> str:
    return f"damaged parquet ({first_line(error)})"
