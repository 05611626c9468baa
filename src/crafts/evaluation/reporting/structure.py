"""The table of the evaluation page on glands: do the tiles have what the class is made of?"""

from __future__ import annotations

from crafts.core.page import Cell, Column, Row, Table, number
from crafts.evaluation import results as found

_TITLES = {"generated": "Generated", "heldout": "Held-out", "train": "Training"}
_KINDS = {"generated": "generated", "heldout": "real", "train": "training"}


def structure_table(results: found.Results) -> Table | None:
    """Glands and lumens of every set, sets of a class beside each other; None without tiles."""
    if not results.structure:
        return None
    labels = sorted({row.name for row in results.structure})
    rows = [row for label in labels for row in results.structure if row.name == label]
    return Table(
        "Glands: lumens with a ring of nuclei",
        (
            Column("Tiles", "looked at"),
            Column("With a gland", "share of the tiles"),
            Column("Lumens", "a tile"),
            Column("Area of lumens", "share of a tile"),
        ),
        tuple(_row(row) for row in rows),
    )


def _row(row: found.StructureRow) -> Row:
    title = _TITLES[row.set] + (f": {row.name}" if row.name else "")
    cells = (
        Cell(number(row.n)),
        Cell(number(row.glands, percent=True)),
        Cell(number(row.lumens)),
        Cell(number(row.lumen_share, percent=True)),
    )
    return Row(title, cells, kind=_KINDS[row.set])
