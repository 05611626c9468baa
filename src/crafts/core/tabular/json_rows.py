"""JSON lines: one row a line, with its fault where it is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from crafts.core.parsing import parse_json
from crafts.core.tabular.rows import TableRow

MAX_LINE = 16_000_000


def read_json_lines(handle: TextIO) -> Iterator[TableRow]:
    """One row a line; empty lines are left out, but counted.

    Args:
        handle: opened so that lines end at line feeds alone.
    """
    number = 0
    while line := handle.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith("\n"):
                line = handle.readline(MAX_LINE)
            yield TableRow(number, fault=f"longer than {MAX_LINE} characters")
        elif line.strip():
            yield _row(number, line)


def _row(number: int, line: str) -> TableRow:
    try:
        value = parse_json(line)
    except ValueError as error:
        return TableRow(number, fault=f"not JSON ({error})")
    if not isinstance(value, dict):
        return TableRow(number, fault="not a JSON object")
    return TableRow(number, value)
