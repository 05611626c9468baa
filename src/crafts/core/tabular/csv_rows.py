"""The grammar of csv: strict, and distrustful behind a broken row.

A quote that is not closed makes one row of two patients, and one that is closed too early makes
rows of the lines of a text. The csv module reads on behind both. Here a broken row costs itself and
every line behind it, up to the first that can only be the start of a row.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TextIO

from crafts.core.tabular.rows import BEHIND, MAX_ROW, TableRow

DELIMITERS = ",;\t"
MORE_CELLS, FEWER_CELLS = "more cells than columns", "fewer cells than columns"
NOT_CLOSED = "a quote that is not closed"
_CUT = "cut by a line break without quotes"
_SAMPLE_LINES, _SAMPLE_SIZE = 64, 200_000
_ENDS = "\r\n"
_BACKSLASHES = re.compile(r"\\+$")
_SEPARATOR = re.compile(r"sep=([,;\t])[\r\n]*")


class Lines:
    """Lines of a text as they lie in it, of which those ahead can be looked at.

    Args:
        handle: opened with ``newline=""``.
    """

    def __init__(self, handle: TextIO) -> None:
        self._handle = handle
        self._ahead: deque[str] = deque()
        self.number = 1

    def peek(self, index: int = 0) -> str | None:
        """A line ahead with its end; None behind the last one."""
        while len(self._ahead) <= index:
            line = self._handle.readline(MAX_ROW + 1)
            if not line:
                return None
            self._ahead.append(line)
        return self._ahead[index]

    def take(self, count: int = 1) -> None:
        """Go on by so many lines that were looked at."""
        for _ in range(count):
            self._ahead.popleft()
        self.number += count


@dataclass(frozen=True)
class _Record:
    """What can be read of a row.

    Attributes:
        cells: up to the fault.
        lines: over which it goes.
        fault: "" for none.
        bare: a quote stands within a cell that has none around it.
    """

    cells: tuple[str, ...]
    lines: int
    fault: str
    bare: bool

    def fits(self, width: int) -> bool:
        """Whether no doubt is left about it in a table of so many columns."""
        return not self.fault and not self.bare and len(self.cells) == width


class _BrokenError(Exception):
    """The row ends before it should."""


class _Parser:
    """Reads one row from the lines ahead and takes none of them."""

    def __init__(self, lines: Lines, mark: str, *, escaped: bool = False, old: bool = True) -> None:
        self.lines, self.mark, self.escaped, self.old = lines, mark, escaped, old
        self.text, self.index, self.at = lines.peek() or "", 0, 0
        self.length, self.bare = len(self.text), False

    def record(self) -> _Record:
        cells: list[str] = []
        fault = ""
        try:
            if self.length > MAX_ROW:
                raise _BrokenError(f"longer than {MAX_ROW} characters")
            cells.append(self._cell())
            while self._goes_on():
                cells.append(self._cell())
        except _BrokenError as broken:
            fault = str(broken)
        return _Record(tuple(cells), self.index + 1, fault, self.bare)

    def _cell(self) -> str:
        start = self.at
        while self.text.startswith(" ", start):
            start += 1
        if self.text.startswith('"', start):  # a space between comma and quote is of no meaning
            return self._quoted(start + 1)
        end = self.text.find(self.mark, self.at)
        end = end if end >= 0 else len(self.text.rstrip(_ENDS))
        cell, self.at = self.text[self.at : end], end
        self.bare = self.bare or '"' in cell
        return cell

    def _quoted(self, at: int) -> str:
        parts: list[str] = []
        while True:
            quote = self.text.find('"', at)
            if quote < 0:
                parts.append(self.text[at:])
                self._read_on()
                at = 0
                continue
            part = self.text[at:quote]
            run = _BACKSLASHES.search(part) if self.escaped else None
            if run:
                size = len(run[0])
                parts.append(part[: len(part) - size] + "\\" * (size // 2))
                if size % 2:
                    parts.append('"')
                    at = quote + 1
                    continue
            else:
                parts.append(part)
            if not self.text.startswith('"', quote + 1):
                self.at = quote + 1
                return "".join(parts)
            parts.append('"')
            at = quote + 2

    def _read_on(self) -> None:
        following = self.lines.peek(self.index + 1)
        self.length += len(following or "")
        if following is None or self.length > MAX_ROW:
            raise _BrokenError(NOT_CLOSED)
        self.text = following
        self.index += 1

    def _goes_on(self) -> bool:
        """Whether another cell follows."""
        if self.text.startswith(self.mark, self.at):
            self.at += 1
            return True
        rest = self.text[self.at :]
        if rest.strip(_ENDS):
            raise _BrokenError(NOT_CLOSED if self.index else "text behind a closing quote")
        if rest == "\r" and not self.old and self.lines.peek(self.index + 1) is not None:
            raise _BrokenError("a line break without quotes around it")
        return False


def read_csv(handle: TextIO, *, prefer: str = "") -> tuple[tuple[str, ...], Iterator[TableRow]]:
    """Header and rows of a csv between commas, semicolons or tabs.

    Quotes are doubled within quotes, or have a backslash before them, as Spark, Hive and R write
    them; what stands in quotes may go over lines.

    Args:
        handle: opened with ``newline=""``.
        prefer: a delimiter that is taken where the header has it.

    Returns:
        Names of the columns without spaces around them, "" for one without a name, and the rows.
        Both are empty where there is no header that can be read.
    """
    lines = Lines(handle)
    named = _SEPARATOR.fullmatch(lines.peek() or "")
    if named:  # "sep=;" of Excel
        lines.take()
    while (first := lines.peek()) is not None and not first.strip(_ENDS):
        lines.take()
    if first is None:
        return (), iter(())
    mark = named[1] if named else find_delimiter(_sample(lines), prefer)
    header = _Parser(lines, mark).record()
    if header.fault:
        return (), iter(())
    last = lines.peek(header.lines - 1) or ""
    lines.take(header.lines)
    spaced = len(header.cells) > 1 and all(name.startswith(" ") for name in header.cells[1:])
    names = tuple(name.strip() for name in header.cells)
    # lines that end in \r alone are of old programs; elsewhere a \r is no end of a row
    rows = iter(_Rows(lines, names, mark, old=last.endswith("\r")))
    return names, (_unspaced(row) for row in rows) if spaced else rows


def find_delimiter(sample: str, prefer: str = "") -> str:
    """The delimiter with which a header has several columns and most rows as many as it.

    Args:
        sample: the first lines.
        prefer: taken where the header has it.
    """
    found = []
    for order, mark in enumerate(DELIMITERS):
        lines, counts = Lines(StringIO(sample, newline="")), []
        while lines.peek() is not None:
            record = _Parser(lines, mark).record()
            counts.append(len(record.cells))
            lines.take(1 if record.fault else record.lines)
        if counts[:1] > [1]:
            share = sum(count == counts[0] for count in counts[1:]) / max(1, len(counts) - 1)
            found.append((mark == prefer, share, counts[0], -order, mark))
    return max(found)[-1] if found else ","


def _sample(lines: Lines) -> str:
    found: list[str] = []
    size = 0
    while len(found) < _SAMPLE_LINES and size < _SAMPLE_SIZE:
        line = lines.peek(len(found))
        if line is None:
            break
        found.append(line)
        size += len(line)
    return "".join(found)


def _unspaced(row: TableRow) -> TableRow:
    return replace(row, cells={name: cell.lstrip(" ") for name, cell in row.cells.items()})


class _Rows:
    """Rows behind the header.

    Args:
        lines: the next is the first row.
        header: names of the columns.
        mark: between cells.
        old: rows end with a carriage return alone.
    """

    def __init__(self, lines: Lines, header: Sequence[str], mark: str, *, old: bool) -> None:
        self.lines, self.header, self.mark, self.old = lines, header, mark, old
        self.width, self.number = len(header), 0
        self.shapes: set[str] = set()

    def __iter__(self) -> Iterator[TableRow]:
        held: TableRow | None = None
        for row in self._rows():
            if held is not None:
                cut = row.fault == FEWER_CELLS and not held.fault
                yield TableRow(held.number, fault=_CUT) if cut else held
            held = row
        if held is not None:
            yield held

    def _rows(self) -> Iterator[TableRow]:
        while (text := self.lines.peek()) is not None:
            if not text.strip(_ENDS):
                self.lines.take()
                continue
            self.number += 1
            record = self._record()
            if record.lines > 1 and not record.fits(self.width):
                record = replace(record, fault=record.fault or f"{NOT_CLOSED} in its place")
            swallowed = self._swallowed(record)
            if record.fault or swallowed:
                yield from self._broken(record.fault or f"{NOT_CLOSED}: {swallowed}", text)
                continue
            self.lines.take(record.lines)
            yield self._row(record.cells)

    def _record(self) -> _Record:
        record = _Parser(self.lines, self.mark, old=self.old).record()
        if not record.fits(self.width):
            raw = (self.lines.peek(index) or "" for index in range(record.lines))
            if any('\\"' in text for text in raw):
                other = _Parser(self.lines, self.mark, escaped=True, old=self.old).record()
                return other if other.fits(self.width) else record
        return record

    def _row(self, cells: Sequence[str]) -> TableRow:
        shape = _shape(cells[0])
        named = dict(zip(self.header, cells, strict=False))
        named.pop("", None)  # the numbers of a data frame, written without a name
        if len(cells) > self.width:
            return TableRow(self.number, fault=MORE_CELLS)
        if any("\0" in cell for cell in cells):
            return TableRow(self.number, fault="a NUL byte")
        short = len(cells) < self.width
        if short and self.shapes and shape not in self.shapes and _is_prose(cells[0]):
            return TableRow(
                self.number, fault=FEWER_CELLS
            )  # the rest of the row before, most likely
        self.shapes.add(shape)
        return TableRow(self.number, named, short=short)

    def _swallowed(self, record: _Record) -> str:
        """The line within a row that begins like the row itself does; "" for none."""
        first = record.cells[0] if record.lines > 1 and record.cells else ""
        own = "" if "\n" in first or "\r" in first else _stem(first)
        for index in range(1, record.lines):
            if own and self._begins_row(self.lines.peek(index) or "", own):
                return f"line {self.lines.number + index} is a row of its own"
        return ""

    def _begins_row(self, text: str, own: str) -> bool:
        """Whether a line has the cells of a row, and begins with such a name as ``own``.

        Of a line with quotes some commas may be no separators.
        """
        first = text.partition(self.mark)[0].strip(' "')
        more = text.count(self.mark) - (self.width - 1)
        return (more == 0 or (more > 0 and '"' in text)) and _stem(first) == own

    def _broken(self, reason: str, text: str) -> Iterator[TableRow]:
        """A broken row, and the lines behind it that may be rows."""
        number, first = self.number, self.lines.number
        cell = text.partition(self.mark)[0].strip(' "')
        own = _stem(cell)
        shapes = self.shapes | {_shape(cell)}
        quoted = self._skip_line()
        doubtful: list[TableRow] = []
        if quoted and not self._is_whole(text):
            while (line := self.lines.peek()) is not None and not self._starts(line, shapes):
                if own and self._begins_row(line, own):
                    self.number += 1
                    why = f"{BEHIND} {number}, not certain to be a row"
                    doubtful.append(TableRow(self.number, fault=why))
                self._skip_line()
        last = self.lines.number - 1
        where = f"line {first}" if last == first else f"lines {first} to {last}"
        yield TableRow(number, fault=f"a broken row ({reason}; {where})")
        yield from doubtful

    def _skip_line(self) -> bool:
        """Take a line with all its parts, if it is too long; says whether it holds a quote."""
        quoted = False
        while (text := self.lines.peek()) is not None:
            self.lines.take()
            quoted = quoted or '"' in text
            if text.endswith("\n") or (self.old and text.endswith("\r")):
                break
        return quoted

    def _is_whole(self, text: str) -> bool:
        """Whether a broken line holds its row from the first cell to the last.

        Its quotes come in pairs, and the next line begins as this one does.
        """
        if text.count('"') % 2 or re.sub(r'"[^"]*"', "", text).count(self.mark) != self.width - 1:
            return False
        following = self.lines.peek()
        own = _stem(text.partition(self.mark)[0].strip(' "'))
        return following is None or bool(own and _stem(following.partition(self.mark)[0]) == own)

    def _starts(self, text: str, shapes: set[str]) -> bool:
        """Whether a line behind a broken row can only be the start of a row.

        As the inside of a cell it would close a quote before a letter; as a row it has no fault and
        begins as the others do.
        """
        inside = text.rstrip(_ENDS).replace('\\"', "").replace('""', "")
        _, quote, behind = inside.partition('"')
        if not quote or not behind or behind.startswith(self.mark):
            return False
        record = self._record()
        return record.fits(self.width) and _shape(record.cells[0]) in shapes


def _shape(cell: str) -> str:
    """How a name is built: words, the signs between them, and whether it holds a digit."""
    return re.sub(r"[^\W_]+", "x", cell.strip()) + ("9" if re.search(r"\d", cell) else "")


def _is_prose(cell: str) -> bool:
    return " " in cell.strip() or cell.rstrip().endswith((".", ":", ";"))


def _stem(cell: str) -> str:
    """A name with its numbers left out; "" for one without numbers or of numbers alone."""
    stem = re.sub(r"\d+", "9", cell.strip())
    return stem if "9" in stem and stem != "9" else ""
