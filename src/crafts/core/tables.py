"""Tables: a small csv or tsv that users write by hand, and csv files that read back as written."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from crafts.core.errors import CraftsError

Fault = Callable[[str, str], CraftsError]
"""Where, and what came -> the error of whoever reads the table."""


def read_columns(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    fault: Fault,
    *,
    optional: Collection[str] = (),
) -> list[tuple[str, dict[str, str]]]:
    """Rows of a table, by our names of the columns.

    Args:
        path: csv, or tsv, in UTF-8 with a header; semicolons, tabs and UTF-16, as Excel writes
            them, are understood too.
        columns: our name -> names under which a table may have it, in any case, the preferred one
            first.
        fault: makes the error that is raised.
        optional: our names of columns that may be missing; they are "" then.

    Returns:
        Place of each row, for messages, and its values without spaces around them.

    Raises:
        CraftsError: as ``fault`` makes it; no such file, no table, or a column is missing.
    """
    try:
        text = decode_table(path.read_bytes())
        rows = list(
            csv.DictReader(io.StringIO(text, newline=""), delimiter=find_delimiter(path, text))
        )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise fault(str(path), f"unreadable ({error})") from None
    names = [name for name in (rows[0] if rows else ()) if name]
    wanted = {name for theirs in columns.values() for name in theirs}
    found = [name for name in names if name.strip().lower() in wanted]
    known = {name.strip().lower(): name for name in found}
    chosen = {
        our: next((known[name] for name in theirs if name in known), None)
        for our, theirs in columns.items()
    }
    missing = any(name is None and our not in optional for our, name in chosen.items())
    if missing or len(known) < len(found):  # slide and Slide: which of them is meant?
        raise fault(str(path), f"columns {', '.join(names) or 'none'}")
    return [
        (
            f"{path}: row {number}",
            {our: ((row[name] if name else "") or "").strip() for our, name in chosen.items()},
        )
        for number, row in enumerate(rows, 1)
    ]


def decode_table(data: bytes) -> str:
    """Text of a table in UTF-8, or in UTF-16 with its mark ("Unicode text" of Excel)."""
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")


def find_delimiter(path: Path, text: str) -> str:
    """A tab in a tsv; in a csv the first of comma, semicolon and tab that its header has."""
    header = (text.splitlines() or [""])[0]
    known = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    return next((mark for mark in known if mark in header), known[0])


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
