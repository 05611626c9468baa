"""The table of the evaluation page on masks: were they obeyed?"""

from __future__ import annotations

from crafts.core.page import MISSING, Cell, Column, Row, Table, number
from crafts.evaluation.faithfulness import Faithfulness
from crafts.evaluation.nuclei import Scores

_COLUMNS = (
    ("n", "Tiles", "N"),
    ("dice", "Dice", "0 to 1"),
    ("count_correlation", "Number of nuclei", "correlation"),
    ("count_ratio", "Found / asked for", "nuclei"),
    ("f1", "Nuclei matched", "F1"),
    ("aji", "AJI", "0 to 1"),
    ("panoptic_quality", "Panoptic quality", "0 to 1"),
)


def faithfulness_table(result: Faithfulness | None) -> Table | None:
    """Nuclei found again beside floor and ceiling; None where no tile has a mask."""
    if result is None:
        return None
    sides = (
        ("Generated, against their masks", result.obeyed, "generated"),
        ("Ceiling: real tiles, against their masks", result.ceiling, "real"),
        ("Floor: generated, against masks of others", result.floor, "muted"),
    )
    return Table(
        "Do tiles obey their masks?",
        (
            *(Column(title, unit) for _, title, unit in _COLUMNS),
            Column("From floor to ceiling", "Dice, 1 is as good as real"),
        ),
        tuple(
            Row(title, (*_cells(scores), _last(result, kind)), kind=kind)
            for title, scores, kind in sides
            if scores is not None
        ),
    )


def _cells(scores: Scores) -> list[Cell]:
    values = [getattr(scores, name) for name, _, _ in _COLUMNS]
    return [Cell(MISSING if value is None else number(value)) for value in values]


def _last(result: Faithfulness, kind: str) -> Cell:
    known = kind == "generated" and result.normalised is not None
    return Cell(number(result.normalised) if known else MISSING)
