"""What the page says of tiles that were made from masks."""

from __future__ import annotations

from crafts.core.page import Cell, Column, Row, Table, number
from crafts.measures.faithfulness import Faithfulness, MaskCounts

_MASK_COLUMNS = (
    ("n", "Tiles", "N"),
    ("dice", "Dice", "0 to 1"),
    ("count_correlation", "Number of nuclei", "correlation"),
    ("count_ratio", "Found / asked for", "nuclei"),
    ("f1", "Nuclei matched", "F1"),
    ("aji", "AJI", "0 to 1"),
    ("panoptic_quality", "Panoptic quality", "0 to 1"),
)
_SHOWN = 8  # reasons of rejected masks on the page; the others stand in metrics.json


def mask_notes(result: Faithfulness | None) -> list[str]:
    """What was compared, what was not and why, in sentences; empty where no tile has a mask."""
    if result is None:
        return []
    notes = [_counted(name, one) for name, one in result.counts.items()]
    notes += [result.scale, f"{result.why[:1].upper()}{result.why[1:]}" if result.why else ""]
    notes += result.rejected[:_SHOWN]
    if len(result.rejected) > _SHOWN:
        notes.append(f"{len(result.rejected) - _SHOWN} more, all in metrics.json.")
    return [note for note in notes if note]


def _counted(name: str, counts: MaskCounts) -> str:
    parts = [f"{counts.used:,} used", f"{counts.rejected:,} rejected"]
    parts += [f"{counts.without_mask:,} without a mask"] if counts.without_mask else []
    parts += [f"{counts.not_drawn:,} with a mask not looked at"] if counts.not_drawn else []
    return f"{name.capitalize()} tiles: {', '.join(parts)}."


def faithfulness_table(result: Faithfulness | None) -> Table | None:
    """Nuclei found again beside floor and ceiling; None where no mask was compared."""
    if result is None or result.obeyed is None:
        return None
    sides = (
        ("Generated, against their masks", result.obeyed, "generated"),
        ("Ceiling: real tiles, against their masks", result.ceiling, "real"),
        ("Floor: generated, against masks of others", result.floor, "muted"),
    )
    columns = [Column(title, unit) for _, title, unit in _MASK_COLUMNS]
    rows = []
    for title, scores, kind in sides:
        if scores is not None:
            last = result.normalised if kind == "generated" else None
            values = [*(getattr(scores, name) for name, _, _ in _MASK_COLUMNS), last]
            rows.append(Row(title, tuple(Cell(number(value)) for value in values), kind=kind))
    last_column = Column("From floor to ceiling", "Dice, 1 is as good as real")
    return Table("Do tiles obey their masks?", (*columns, last_column), tuple(rows))
