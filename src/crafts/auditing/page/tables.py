"""The tables of the audit page, made from its results."""

from __future__ import annotations

from crafts.auditing import results as found
from crafts.auditing.page.verdict import ATTACKS, interval, share
from crafts.core.page import Cell, Column, Row, Table, number
from crafts.report.tables import build_table, share_cell


def kinds_table(results: found.Results) -> Table:
    """Every generated tile in one of the verdicts."""
    part = results.copies
    judged = part.copies.of
    rows = [
        Row("Copies", _counts(part.copies), kind="generated"),
        *(
            Row(f"– {kind}", (Cell(number(count)), share_cell(count, judged), Cell("")))
            for kind, count in part.kinds.items()
        ),
    ]
    if part.near:
        rows.append(Row("Near in the features only", _counts(part.near)))
    if part.plain:
        blank = (Cell(number(part.plain)), share_cell(part.plain, judged), Cell(""))
        rows.append(Row("Too plain to be judged", blank))
    if part.heldout:
        rows.append(Row("Real tiles of other patients", _counts(part.heldout), kind="real"))
    columns = (Column("Tiles"), Column("Share"), Column("95 % interval"))
    return Table("Generated tiles that match training tiles", columns, tuple(rows), "Verdict")


def _counts(value: found.Share) -> tuple[Cell, ...]:
    return Cell(number(value.count), f"of {value.of:,}"), Cell(share(value)), Cell(interval(value))


def thresholds_table(results: found.Results) -> Table | None:
    """Where the thresholds come from."""
    part = results.copies
    limits = [("Likeness in structure: copy above", part.correlation_threshold)]
    if part.whole_threshold:
        limits.append(("Likeness edge on edge: copy above", part.whole_threshold))
    if part.ratio_threshold:
        limits.append(("Ratio of distances: near below", part.ratio_threshold))
    return build_table("Thresholds", limits)


def membership_table(results: found.Results) -> Table | None:
    """Each attack with its interval."""
    return build_table(
        "Can training tiles be told from held-out ones?",
        [(f"Told {ATTACKS[attack.name]}", attack) for attack in results.membership],
        kind=lambda attack: "real" if attack.name == "blind" else "generated",
        note=lambda attack: f"equal mix of {attack.matched}" if attack.matched else "",
        corner="Attack",
    )


def extraction_table(results: found.Results) -> Table | None:
    """Each caption that was tried."""
    return build_table(
        "Captions tried, most repeated first",
        [(one.text, one) for one in results.extraction.captions] if results.extraction else [],
        corner="Caption",
    )
