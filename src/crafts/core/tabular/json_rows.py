"""JSON of strangers: whatever is wrong with it is one ``ValueError``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from crafts.core.tabular.rows import Row

MAX_LINE = 16_000_000
_DEPTH = 64


def parse_json(text: str | bytes) -> Any:
    """Value of a JSON text.

    Raises:
        ValueError: no JSON, more than 64 levels deep, an integer of thousands of digits, or an
            object with one name twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None
    except UnicodeDecodeError:
        raise ValueError("no UTF-8") from None
    except ValueError as error:
        came = "an integer of thousands of digits" if "digits" in str(error) else str(error)
        raise ValueError(came) from None
    if _is_deep(value, _DEPTH):
        raise ValueError("nested too deeply")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {max(names, key=names.count)!r} twice")
    return found


def _is_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(one, levels - 1) for one in inner)


def read_json_lines(handle: TextIO) -> Iterator[Row]:
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
            yield Row(number, fault=f"longer than {MAX_LINE} characters")
        elif line.strip():
            yield _row(number, line)


def _row(number: int, line: str) -> Row:
    try:
        value = parse_json(line)
    except ValueError as error:
        return Row(number, fault=f"not JSON ({error})")
    if not isinstance(value, dict):
        return Row(number, fault="not a JSON object")
    return Row(number, value)
