"""Reports from the files people have: text files, folders of them, csv of TCGA-Reports, jsonl.

One report at a time and bounded memory, whatever the size of the table. Everything that is listed
is either yielded or rejected with its reason.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.core.tables import find_delimiter

TEXT_SUFFIXES = (".txt", ".text")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
ID_COLUMNS = ("report_id", "patient_filename", "file_name", "filename", "case_id", "patient", "id")
TEXT_COLUMNS = ("text", "report", "report_text", "body", "content")
MAX_CHARACTERS = 1_000_000
_BLOCK = 1 << 20
_MARKED = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        relative = file.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            found = True
            try:
                yield from _iter_file(file, relative.as_posix())
            except DataError as error:  # one table of something else among a thousand reports
                yield _Entry(relative.as_posix(), relative.as_posix(), fault=str(error))
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
    if not _is_unicode(name):
        name = name.encode("utf-8", "replace").decode()
        yield _Entry(name, name, fault="a name that is no UTF-8; rename the file")
        return
    try:
        if suffix in TEXT_SUFFIXES:
            yield _read_text(file, name)
        elif suffix in (".csv", ".tsv"):
            yield from _iter_csv(file, name)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _iter_jsonl(file, name)
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
    for mark, encoding in _MARKED:
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


def _iter_csv(file: Path, name: str) -> Iterator[_Entry]:
    csv.field_size_limit(4 * MAX_CHARACTERS)
    with file.open(encoding=_encoding_of(file), errors="replace", newline="") as handle:
        # strict: a quote that is never closed would make one report of two patients'
        delimiter = find_delimiter(file, handle.readline(_BLOCK))
        handle.seek(0)
        reader = csv.DictReader(handle, delimiter=delimiter, strict=True)
        try:
            header = reader.fieldnames or ()
        except csv.Error:
            header = ()
        columns = _columns(header, name)
        if not columns[0]:
            say(
                f"{name}: no column of ids ({', '.join(ID_COLUMNS)}); reports are called "
                f"{name}:1 and so on, which no tile can name. Rename the column that holds the ids."
            )
        rows = iter(reader)
        for number in _count_from(1):
            source = f"{name}:{number}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield _Entry(source, source, fault=f"a broken row ({error})")
                continue
            yield _entry(row, columns, source)


def _count_from(number: int) -> Iterator[int]:
    while True:
        yield number
        number += 1


def _iter_jsonl(file: Path, name: str) -> Iterator[_Entry]:
    with file.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            source = f"{name}:{number}"
            text = decode(line)
            try:
                row = json.loads(text or "")
            except (ValueError, RecursionError):  # a number of 5,000 digits is a ValueError, too
                yield _Entry(source, source, fault="a line that is no JSON")
                continue
            if not isinstance(row, dict):
                yield _Entry(source, source, fault="a line that is no JSON object")
                continue
            columns = (_pick(row, ID_COLUMNS), _pick(row, TEXT_COLUMNS))
            yield _entry(row, columns, source)


def _entry(row: Mapping[Any, Any], columns: tuple[str, str], source: str) -> _Entry:
    id_column, text_column = columns
    text = row.get(text_column)
    if not isinstance(text, str):
        return _Entry(source, source, fault="no text")
    given = row.get(id_column)
    report_id = str(given).strip() if isinstance(given, str | int) else ""
    if not _is_unicode(text) or not _is_unicode(report_id):
        return _Entry(source, source, fault="text or id that is no valid Unicode")
    for suffix in (".pdf", *TEXT_SUFFIXES):
        if report_id.lower().endswith(suffix):
            report_id = report_id[: -len(suffix)]
    if id_column and not report_id:
        return _Entry(source, source, fault=f"no {id_column}")
    return _Entry(report_id or source, source, text)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written; half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _columns(header: Any, name: str) -> tuple[str, str]:
    text_column = _pick(header, TEXT_COLUMNS)
    if not text_column:
        raise DataError(
            f"{name}: columns",
            # without a header, what stands in its place is a report, which no message may repeat
            came=", ".join(str(one)[:24] for one in header[:12]) or "no header",
            allowed=f"a column of texts ({', '.join(TEXT_COLUMNS)})",
            do="Rename the column that holds the reports.",
        )
    return _pick(header, ID_COLUMNS), text_column


def _pick(names: Any, wanted: tuple[str, ...]) -> str:
    by_lower = {str(name).strip().lower(): str(name) for name in reversed(list(names))}
    return next((by_lower[name] for name in wanted if name in by_lower), "")


def _encoding_of(file: Path) -> str:
    """UTF-8 where the whole file is, by blocks; else what its mark says, else Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as handle:
        block = handle.read(_BLOCK)
        for mark, encoding in _MARKED:
            if block.startswith(mark):
                return encoding
        try:
            while block:
                decoder.decode(block)
                block = handle.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"
