"""A row as a table gives it: its cells, or the reason for which they cannot be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MAX_ROW = 4_000_000
"""Most characters of a row of csv, and of one cell of another table."""

BEHIND = "behind the broken row"
"""Why a row is not believed that may be whole: its reason is another row."""


@dataclass(frozen=True)
class TableRow:
    """One listed row.

    Attributes:
        number: of the row from 1, its header not counted; of the line in a file of JSON lines.
        cells: by the name of their column; without those that a short row lacks.
        fault: why the row cannot be used, in words; "" for a row that can.
        short: the row of a csv has fewer cells than the header has columns.
    """

    number: int
    cells: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    short: bool = False


def is_missing(value: Any) -> bool:
    """True for None, "" and NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str:
    """A value as text, 3.0 as "3"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of numbers with gaps arrives as floats
    return str(value)


def is_encodable(text: str) -> bool:
    """Whether a text can be written; a lone surrogate, as of a name in no UTF-8, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
