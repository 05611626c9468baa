"""Tables from results: a field of a result class says itself under which head it stands.

    class StructureRow(Config):
        glands: Annotated[Number, Head("With a gland", "share of the tiles", percent=True)]

A table names the fields it shows only where it leaves some out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from crafts.core.config import Config
from crafts.core.page import MISSING, Cell, Column, Level, Row, Table, number
from crafts.sets.source import SetName

ROLES: Mapping[SetName, str] = {"generated": "generated", "heldout": "real", "train": "training"}
"""Name of a set -> role of its colour."""

TITLES: Mapping[SetName, str] = {
    "generated": "Generated",
    "heldout": "Held-out",
    "train": "Training",
}
"""Name of a set -> its name for people; "tiles" follows."""


@dataclass(frozen=True)
class Head:
    """How a field of a result class stands in a table.

    Attributes:
        label: of its column.
        note: unit, or which direction is better.
        percent: the value is a share in [0, 1].
        beside: fields for the second line of the cell.
        form: of that line; ``{}`` for each of these fields.
        words: value -> what is shown in its place.
        dash: 0 is no value.
        alarm: a value above 0 is marked.
    """

    label: str
    note: str = ""
    percent: bool = False
    beside: tuple[str, ...] = ()
    form: str = "± {}"
    words: tuple[tuple[str, str], ...] = ()
    dash: bool = False
    alarm: bool = False

    @property
    def column(self) -> Column:
        """The head of the column."""
        return Column(self.label, self.note, numeric=not self.words)

    def cell(self, row: Config, name: str) -> Cell:
        """The cell of a field; a dash where its value is missing."""
        value = getattr(row, name)
        if self.words:
            return Cell(dict(self.words)[value])
        if value is not None and not isinstance(value, int | float):
            return measured_cell(value)
        others = [getattr(row, other) for other in self.beside]
        known = bool(others) and None not in others
        texts = [number(other, percent=self.percent) for other in others]
        text = number(None if self.dash and not value else value, percent=self.percent)
        level: Level = "bad" if self.alarm and value else "plain"
        return Cell(text, self.form.format(*texts) if known else "", level)


class Measurement(Protocol):
    """A number that knows its spread, or why it is missing."""

    @property
    def value(self) -> float | None:
        """The number; None where it could not be had."""
        ...

    @property
    def spread(self) -> float | None:
        """How far it varies; None where that is not known."""
        ...

    @property
    def why(self) -> str:
        """Reason of a missing value."""
        ...


R = TypeVar("R", bound=Config)


def heads_of(kind: type[Config]) -> dict[str, Head]:
    """The fields of a result class that stand in tables, in their order."""
    return {
        name: head
        for name, field in kind.model_fields.items()
        for head in field.metadata
        if isinstance(head, Head)
    }


def build_table(
    caption: str,
    rows: Sequence[tuple[str, R]],
    *,
    kind: Callable[[R], str] = lambda row: "",
    note: Callable[[R], str] = lambda row: "",
    corner: str = "",
) -> Table | None:
    """Rows of one result class as a table of the fields that have a head; None without rows.

    Args:
        caption: of the table.
        rows: the head of each row and its result, all of one class.
        kind: role of the colour of a row.
        note: small line below its head.
        corner: above the heads.
    """
    if not rows:
        return None
    heads = heads_of(type(rows[0][1]))
    body = [
        Row(title, tuple(one.cell(row, name) for name, one in heads.items()), note(row), kind(row))
        for title, row in rows
    ]
    return Table(caption, tuple(one.column for one in heads.values()), tuple(body), corner)


def measured_cell(measured: Measurement | None, *, note: str = "") -> Cell:
    """A number with its spread below it, or a dash with the reason."""
    if measured is None or measured.value is None:
        return Cell(MISSING, measured.why if measured else "")
    spread = f"± {number(measured.spread)}" if is_spread(measured) else ""
    return Cell(number(measured.value), "\n".join(part for part in (spread, note) if part))


def is_spread(measured: Measurement) -> bool:
    """Whether a spread is known and no mere rounding, as where every draw takes the same tiles."""
    spread, value = measured.spread, measured.value or 0.0
    return spread is not None and spread > 1e-9 * abs(value)


def share_cell(count: int, of: int) -> Cell:
    """A count as a share of a number; a dash for none of none."""
    return Cell(number(count / of if of else None, percent=True))
