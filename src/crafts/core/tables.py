"""Tables: one reader for all that users bring, and csv files that read back as written."""

from __future__ import annotations

import codecs
import csv
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from crafts.core.errors import CraftsError, DataError, refusal
from crafts.core.tabular.csv_rows import MORE_CELLS, read_csv
from crafts.core.tabular.json_rows import read_json_lines
from crafts.core.tabular.rows import TableRow, as_text, is_missing

CSV_SUFFIXES, JSON_SUFFIXES = (".csv", ".tsv"), (".jsonl", ".ndjson")
TABLE_SUFFIXES = (*CSV_SUFFIXES, *JSON_SUFFIXES, ".parquet")
MAX_ROWS = 10_000_000
_BLOCK = 1 << 20
MARKED = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Fault = Callable[[str, str], CraftsError]
"""Where, and what came -> the error of whoever reads the table."""


@dataclass(frozen=True)
class TableReader:
    """A table that is read row by row.

    Attributes:
        path: of the file.
        header: names of the columns, "" for one without a name; none in a file of JSON lines,
            where every row names its own.
        rows: in order, each listed row once; those with a fault too.
    """

    path: Path
    header: tuple[str, ...]
    rows: Iterator[TableRow]


def open_table(
    path: Path,
    fault: Fault | None = None,
    *,
    fallback: str = "",
    max_rows: int = MAX_ROWS,
) -> TableReader:
    """The one reader of tables: csv, tsv, JSON lines and parquet, by the suffix in any case.

    A csv lies between commas, semicolons or tabs, its quotes doubled or behind a backslash, in
    UTF-8, or UTF-16 and UTF-32 with their mark. A row that cannot be believed comes with its fault,
    see :mod:`crafts.core.tabular.csv_rows`; memory does not grow with the table.

    Args:
        path: of the file; one of another suffix is read as csv.
        fault: makes the error that is raised.
        fallback: encoding of a text that is none of the above; "" refuses it.
        max_rows: most rows of a parquet.

    Raises:
        CraftsError: as ``fault`` makes it, else a DataError: unreadable, in another encoding, two
            columns of one name, more rows than ``max_rows``. Also while rows are read.
    """
    fault = fault or _bad_table
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            header, rows = _open_parquet(path, fault, max_rows)
        else:
            encoding = find_encoding(path, fallback)
            header, rows = _open_text(path, encoding, is_json=suffix in JSON_SUFFIXES)
    except UnicodeError as error:
        raise fault(str(path), f"unreadable text: {error}") from None
    except OSError as error:
        raise fault(str(path), f"unreadable ({error.strerror or error})") from None
    named = [name for name in header if name]
    if any("\0" in name for name in named):
        raise fault(str(path), "columns of binary data, or of UTF-16 without its mark")
    twice = next((name for name in named if named.count(name) > 1), "")
    if twice:
        raise fault(str(path), f"two columns {twice!r}")
    return TableReader(path, header, rows)


def _open_text(
    path: Path, encoding: str, *, is_json: bool
) -> tuple[tuple[str, ...], Iterator[TableRow]]:
    # what a fallback cannot say is marked in the text; nothing else is left that it could meet
    handle = path.open(encoding=encoding, errors="replace", newline="\n" if is_json else "")
    if is_json:
        return (), _closing(handle, read_json_lines(handle))
    header, rows = read_csv(handle, prefer="\t" if path.suffix.lower() == ".tsv" else "")
    return header, _closing(handle, rows)


def _closing(handle: TextIO, rows: Iterator[TableRow]) -> Iterator[TableRow]:
    with handle:
        yield from rows


def _open_parquet(
    path: Path, fault: Fault, max_rows: int
) -> tuple[tuple[str, ...], Iterator[TableRow]]:
    from crafts.core.tabular.parquet_rows import UnreadableError, read_parquet

    def guarded(rows: Iterator[TableRow]) -> Iterator[TableRow]:
        try:
            yield from rows
        except UnreadableError as error:
            raise fault(str(path), str(error)) from None

    try:
        header, rows = read_parquet(path, max_rows)
    except UnreadableError as error:
        raise fault(str(path), str(error)) from None
    return header, guarded(rows)


def find_encoding(path: Path, fallback: str = "") -> str:
    """UTF-8 where the whole file is, by blocks; else what its mark says, else the fallback.

    Raises:
        UnicodeError: none of them; says where.
    """
    place = waiting = 0
    with path.open("rb") as handle:
        block = handle.read(_BLOCK)
        encoding = next((name for mark, name in MARKED if block.startswith(mark)), "utf-8")
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            while block:
                decoder.decode(block)
                place += len(block)
                waiting = len(decoder.getstate()[0])
                block = handle.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            if fallback:
                return fallback
            place = max(0, place - waiting + error.start)
            name = encoding.removesuffix("-sig").upper()
            is_table = path.suffix.lower() in CSV_SUFFIXES and b"\0" not in block
            hint = f"{_line_of(path, place)}{_EXCEL}" if is_table and encoding == "utf-8" else ""
            raise UnicodeError(f"byte {place} is not {name}{hint}") from None
    return encoding


def _line_of(path: Path, place: int) -> str:
    with path.open("rb") as handle:
        blocks = (handle.read(min(_BLOCK, place - k)) for k in range(0, place, _BLOCK))
        ended = sum(block.count(b"\n") for block in blocks)
    return f" (line {ended + 1})"


_EXCEL = ": probably Windows-1252; in Excel: Save as > CSV UTF-8"
_bad_table = refusal(
    DataError,
    allowed="a table with one header, in UTF-8",
    do="Save the table again as csv in UTF-8, with one row a line.",
)


def read_columns(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    fault: Fault,
    *,
    optional: Collection[str] = (),
) -> list[tuple[str, dict[str, str]]]:
    """Rows of a table, by our names of the columns; a table of names and numbers, read whole.

    Args:
        path: as :func:`open_table` reads it.
        columns: our name -> names under which a table may have it, in any case, the preferred one
            first.
        fault: makes the error that is raised.
        optional: our names of columns that may be missing; they are "" then.

    Returns:
        Place of each row, for messages, and its values without spaces around them, accents in one
        form.

    Raises:
        CraftsError: as ``fault`` makes it; no such file, no table, a column is missing, or a row
            cannot be believed.
    """
    table = open_table(path, fault)
    rows = list(table.rows)
    names = table.header or tuple(dict.fromkeys(name for row in rows for name in row.cells))
    found = {our: find_column(names, aliases) for our, aliases in columns.items()}
    missing = any(not name and our not in optional for our, name in found.items())
    wanted = {plain_name(name) for aliases in columns.values() for name in aliases}
    known = [plain_name(name) for name in names if plain_name(name) in wanted]
    if missing or len(set(known)) < len(known):  # slide and Slide: which of them is meant?
        raise fault(str(path), f"columns {', '.join(filter(None, names)) or 'none'}")
    return [_columns_of(row, found, f"{path}: row {row.number}", fault) for row in rows]


def _columns_of(
    row: TableRow, found: Mapping[str, str], where: str, fault: Fault
) -> tuple[str, dict[str, str]]:
    if row.fault:
        hint = " (a decimal comma? write numbers with a point)"
        raise fault(where, row.fault + (hint if row.fault == MORE_CELLS else ""))
    values = {our: row.cells.get(name) if name else None for our, name in found.items()}
    return where, {
        our: "" if is_missing(value) else same_name(as_text(value)).strip()
        for our, value in values.items()
    }


def find_column(names: Iterable[str], wanted: Sequence[str]) -> str:
    """The column that bears one of the names, the preferred one first; "" for none.

    Case and signs do not count: ``Slide ID`` is ``slide_id``.
    """
    known = {plain_name(name): name for name in reversed(list(names))}
    return next((known[plain] for name in wanted if (plain := plain_name(name)) in known), "")


def plain_name(name: str) -> str:
    """A name of a column in letters and digits: ``Slide ID`` and ``slide_id`` are one."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def find_metadata(folder: Path) -> list[Path]:
    """Tables of a folder that are called metadata, in any case; they list its tiles."""
    try:
        names = [name for name in os.listdir(folder) if name.lower().startswith("metadata.")]
    except OSError:
        return []  # who walks the folder will say so
    found = (folder / name for name in sorted(names) if name[8:].lower() in TABLE_SUFFIXES)
    return [path for path in found if path.is_file()]


def same_name(text: str) -> str:
    """A name with its accents in one form: what a Mac stores and what a table says are equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def csv_writer(handle: TextIO) -> Any:
    """A ``csv.writer`` with lines that end in a line feed.

    A value that holds a carriage return is quoted, as any reader expects; the writer of the
    standard library quotes only what stands in its line end.

    Args:
        handle: opened with ``newline=""``.
    """
    return csv.writer(_Lines(handle), lineterminator="\r\n")


def csv_row_writer(
    handle: TextIO, columns: Sequence[str], *, ignore_others: bool = False
) -> csv.DictWriter[str]:
    """As ``csv_writer``, for rows by the names of their columns; it has written the header.

    Args:
        handle: opened with ``newline=""``.
        columns: in order; a row without one has nothing there.
        ignore_others: leave out what a row has beside them; else ``ValueError``.
    """
    writer = csv.DictWriter(
        _Lines(handle),
        columns,
        extrasaction="ignore" if ignore_others else "raise",
        lineterminator="\r\n",
    )
    writer.writeheader()
    return writer


class _Lines:
    """Takes whole lines from a csv writer and gives them their line feed."""

    def __init__(self, handle: TextIO) -> None:
        self._handle = handle

    def write(self, line: str) -> int:
        return self._handle.write(line.removesuffix("\r\n") + "\n")
