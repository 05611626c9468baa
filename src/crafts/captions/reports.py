"""Reports from the files people have: text files, folders of them, csv of TCGA-Reports, jsonl.

One report at a time and bounded memory, whatever the size of the table. Everything that is listed
is either yielded or rejected with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.patients import PATIENT_COLUMNS, parse_id
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.core.tables import JSON_SUFFIXES, MARKED, TABLE_SUFFIXES, find_column, open_table
from crafts.core.tabular.rows import is_encodable

TEXT_SUFFIXES = (".txt", ".text")
ID_COLUMNS = (
    *("report_id", "patient_filename", "file_name", "filename", "case_id", "patient", "id"),
    *PATIENT_COLUMNS,
)
TEXT_COLUMNS = ("text", "report", "report_text", "body", "content")
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Report:
    """One report as it came.

    Attributes:
        report_id: name of the file without its suffix, or the id column of a table; unique.
        text: source text, untouched; all spans of findings refer to it.
        source: file, and row where it is a table.
    """

    report_id: str
    text: str
    source: str


@dataclass(frozen=True)
class _Entry:
    """One listed item: a text, or the reason for which there is none."""

    name: str
    source: str
    text: str = ""
    fault: str = ""


def iter_reports(path: Path, ledger: Ledger) -> Iterator[Report]:
    """Reports of a source, each counted as used; see :func:`list_reports`."""
    for report in list_reports(path, ledger):
        ledger.use(report.report_id)
        yield report


def list_reports(path: Path, ledger: Ledger) -> Iterator[Report]:
    """Reports of a file or folder, listed in the ledger, what is unusable rejected there.

    Whoever takes them counts each as used or rejected in his turn. A folder is read with its
    subfolders in the order of names; hidden files are not listed. Texts are UTF-8, or UTF-16 and
    UTF-32 with their mark, else Windows-1252. Rejected are: files of another kind, binary files,
    empty and over-long reports, rows without text, and the second report of an id.

    Raises:
        ConfigError: nothing there, or a file of another kind.
        DataError: a folder without a file, or a table without a column of texts.
    """
    seen: dict[str, str] = {}
    for entry in _iter_entries(path):
        ledger.listed()
        fault = entry.fault or _text_fault(entry.text) or _repeat_fault(entry, seen)
        if fault:
            ledger.reject(entry.source, fault)
        else:
            yield Report(entry.name, entry.text, entry.source)


def _text_fault(text: str) -> str:
    if not text.strip():
        return "empty"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if "\0" in text:
        return "binary data, not text"
    return ""


def _repeat_fault(entry: _Entry, seen: dict[str, str]) -> str:
    digest = sha256_bytes(entry.text.encode("utf-8", "surrogatepass"))
    if entry.name not in seen:
        seen[entry.name] = digest
        return ""
    same = "the same" if seen[entry.name] == digest else "another"
    return f"id {entry.name!r} was seen before, with {same} text"


def _iter_folder(folder: Path) -> Iterator[_Entry]:
    found = False
    for file in sorted(file for file in folder.rglob("*") if not file.is_dir()):
        relative = file.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            found, name = True, relative.as_posix()
            if not file.is_file():  # opening a pipe would wait without end
                yield _Entry(name, name, fault="no regular file")
                continue
            try:
                yield from _iter_file(file, name)
            except DataError as error:  # one table of something else among a thousand reports
                yield _Entry(name, name, fault=str(error))
    if not found:
        raise DataError(
            str(folder),
            came="no report in it",
            allowed=f"files ending in {', '.join(TEXT_SUFFIXES + TABLE_SUFFIXES)}",
            do="Check the path.",
        )


def _iter_entries(path: Path) -> Iterator[_Entry]:
    if path.is_dir():
        yield from _iter_folder(path)
        return
    if not path.is_file():
        raise ConfigError(
            str(path),
            came="no such file or folder",
            allowed="a folder of .txt, a .txt, .csv, .tsv or .jsonl",
            do="Check the path.",
        )
    if path.suffix.lower() not in TEXT_SUFFIXES + TABLE_SUFFIXES:
        raise ConfigError(
            str(path),
            came=f"a {path.suffix or 'nameless'} file",
            allowed=", ".join(TEXT_SUFFIXES + TABLE_SUFFIXES),
            do="Convert the reports to text first (PDF and DOCX are not read).",
        )
    yield from _iter_file(path, path.name)


def _iter_file(file: Path, name: str) -> Iterator[_Entry]:
    suffix = file.suffix.lower()
    if not is_encodable(name):
        name = name.encode("utf-8", "replace").decode()
        yield _Entry(name, name, fault="a name that is no UTF-8; rename the file")
        return
    try:
        if suffix in TEXT_SUFFIXES:
            yield _read_text(file, name)
        elif suffix in TABLE_SUFFIXES:
            yield from _iter_table(file, name)
        else:
            yield _Entry(name, name, fault=f"a {suffix or 'nameless'} file, not text, csv or jsonl")
    except OSError as error:
        yield _Entry(name, name, fault=f"unreadable ({error.strerror or error})")


def _read_text(file: Path, name: str) -> _Entry:
    # four bytes a character at most
    if file.stat().st_size > 4 * MAX_CHARACTERS:
        return _Entry(name, name, fault=f"longer than {MAX_CHARACTERS} characters")
    report_id = name[: -len(file.suffix)]
    text = decode(file.read_bytes())
    return _Entry(report_id, name, text or "", "" if text is not None else "binary data, not text")


def decode(data: bytes) -> str | None:
    """Text of a file of unknown encoding; None for binary data."""
    for mark, encoding in MARKED:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return None
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").replace("\ufffd", " ")


# ---- tables ----------------------------------------------------------------------------------


def _iter_table(file: Path, name: str) -> Iterator[_Entry]:
    """Rows of a table; what is neither UTF-8 nor marked is Windows-1252, as in texts."""
    table = open_table(file, fallback="cp1252")
    is_json = file.suffix.lower() in JSON_SUFFIXES
    columns = ("", "") if is_json else _columns(table.header, name)
    if not is_json and not columns[0]:
        say(
            f"{name}: no column of ids ({', '.join(ID_COLUMNS[:7])}); reports are called "
            f"{name}:1 and so on, which no tile can name. Rename the column that holds the ids."
        )
    for row in table.rows:
        source = f"{name}:{row.number}"
        if row.fault:
            yield _Entry(source, source, fault=row.fault)
            continue
        if is_json:
            columns = (find_column(row.cells, ID_COLUMNS), find_column(row.cells, TEXT_COLUMNS))
        yield _entry(row.cells, columns, source)


def _entry(row: Mapping[str, Any], columns: tuple[str, str], source: str) -> _Entry:
    id_column, text_column = columns
    text = row.get(text_column)
    if not isinstance(text, str):
        return _Entry(source, source, fault="no text")
    given = row.get(id_column)
    try:
        report_id = parse_id(given) if isinstance(given, str | int | float) else ""
    except ValueError as error:
        return _Entry(source, source, fault=str(error))
    if not is_encodable(text) or not is_encodable(report_id):
        return _Entry(source, source, fault="text or id that is no valid Unicode")
    for suffix in (".pdf", *TEXT_SUFFIXES):
        if report_id.lower().endswith(suffix):
            report_id = report_id[: -len(suffix)]
    if id_column and not report_id:
        return _Entry(source, source, fault=f"no {id_column}")
    return _Entry(report_id or source, source, text)


def _columns(header: Sequence[str], name: str) -> tuple[str, str]:
    text_column = find_column(header, TEXT_COLUMNS)
    if not text_column:
        raise DataError(
            f"{name}: columns",
            # without a header, what stands in its place is a report, which no message may repeat
            came=", ".join(one[:24] for one in header[:12]) or "no header",
            allowed=f"a column of texts ({', '.join(TEXT_COLUMNS)})",
            do="Rename the column that holds the reports.",
        )
    return find_column(header, ID_COLUMNS), text_column
