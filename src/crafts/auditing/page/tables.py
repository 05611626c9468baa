"""The tables of the audit page, made from its results."""

from __future__ import annotations

from crafts.auditing import results as found
from crafts.auditing.page.verdict import ATTACKS, interval, share
from crafts.core.page import Cell, Column, Row, Table, number


def kinds_table(results: found.Results) -> Table:
    """Every generated tile in one of the verdicts."""
    part = results.copies
    judged = part.copies.of
    rows = [
        Row("Copies", _counts(part.copies), kind="generated"),
        *(
            Row(f"– {kind}", (Cell(number(count)), Cell(_part(count, judged)), Cell("")))
            for kind, count in part.kinds.items()
        ),
    ]
    if part.near:
        rows.append(Row("Near in the features only", _counts(part.near)))
    if part.plain:
        blank = (Cell(number(part.plain)), Cell(_part(part.plain, judged)), Cell(""))
        rows.append(Row("Too plain to be judged", blank))
    if part.heldout:
        rows.append(Row("Real tiles of other patients", _counts(part.heldout), kind="real"))
    columns = (Column("Tiles"), Column("Share"), Column("95 % interval"))
    return Table("Generated tiles that match training tiles", columns, tuple(rows), "Verdict")


def _counts(value: found.Share) -> tuple[Cell, ...]:
    return Cell(number(value.count), f"of {value.of:,}"), Cell(share(value)), Cell(interval(value))


def _part(count: int, of: int) -> str:
    return number(count / of if of else None, percent=True)


def thresholds_table(results: found.Results) -> Table:
    """Where the thresholds come from."""
    part = results.copies
    limits = [("Likeness in structure: copy above", part.correlation_threshold)]
    if part.whole_threshold:
        limits.append(("Likeness edge on edge: copy above", part.whole_threshold))
    if part.ratio_threshold:
        limits.append(("Ratio of distances: near below", part.ratio_threshold))
    words = {
        "heldout": "held-out tiles of this audit",
        "default": "default, set on other tiles",
        "given": "given by the user",
    }
    rows = tuple(
        Row(
            name,
            (
                Cell(number(limit.value)),
                Cell(words[limit.source]),
                Cell(number(limit.n) if limit.n else number(None)),
                Cell(number(limit.quantile)),
            ),
        )
        for name, limit in limits
    )
    columns = (
        Column("Threshold"),
        Column("Source", numeric=False),
        Column("Tiles"),
        Column("Held-out alone", "99.9 % quantile"),
    )
    return Table("Thresholds", columns, rows)


def membership_table(results: found.Results) -> Table | None:
    """Each attack with its interval."""
    if not results.membership:
        return None
    columns = (
        Column("AUC", "0.5 is chance"),
        Column("Found at 1 % false positives", "1 % is chance"),
        Column("Training tiles"),
        Column("Held-out tiles"),
        Column("Patients drawn"),
    )
    rows = tuple(
        Row(
            f"Told {ATTACKS[attack.name]}",
            (
                Cell(number(attack.auc), f"{number(attack.auc_low)} to {number(attack.auc_high)}"),
                Cell(
                    number(attack.tpr, percent=True),
                    f"{number(attack.tpr_low, percent=True)} to "
                    f"{number(attack.tpr_high, percent=True)}",
                ),
                Cell(number(attack.members)),
                Cell(number(attack.nonmembers)),
                Cell(number(attack.groups) if attack.groups else number(None)),
            ),
            note=f"equal mix of {attack.matched}" if attack.matched else "",
            kind="real" if attack.name == "blind" else "generated",
        )
        for attack in results.membership
    )
    return Table("Can training tiles be told from held-out ones?", columns, rows, "Attack")


def extraction_table(results: found.Results) -> Table | None:
    """Each caption that was tried."""
    if results.extraction is None or not results.extraction.captions:
        return None
    columns = (
        Column("Carried by", "training tiles"),
        Column("Tries", "seeds"),
        Column("Copies"),
        Column("Alike", "largest group of seeds"),
        Column("Highest likeness", "to a training tile"),
    )
    rows = tuple(
        Row(
            one.text,
            (
                Cell(number(one.repeats)),
                Cell(number(one.images)),
                Cell(number(one.copies), level="bad" if one.copies else "plain"),
                Cell(number(one.clique)),
                Cell(number(one.largest)),
            ),
        )
        for one in results.extraction.captions
    )
    return Table("Captions tried, most repeated first", columns, rows, "Caption")
