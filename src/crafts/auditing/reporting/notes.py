"""Sentences that a reader of an audit must know before the numbers."""

from __future__ import annotations

from collections.abc import Mapping

from crafts.auditing.results import Results
from crafts.auditing.sets import Features
from crafts.sets.source import SetName


def compose_notes(results: Results, usable: Mapping[SetName, Features]) -> list[str]:
    """What the numbers rest on, the gravest first; empty when there is nothing to say."""
    notes = [*_leaks(results), *_patients(usable)]
    copies = results.copies
    if "heldout" not in usable:
        notes.append(
            "No held-out tiles were given: the limit for copies was measured on other tiles, no "
            "tile could be marked as near, and membership inference was not possible."
        )
    elif copies.correlation_threshold.source == "default":
        notes.append(
            f"Only {copies.correlation_threshold.n} held-out tiles could set the limit for copies; "
            "it was measured on other tiles instead."
        )
    if copies.plain:
        notes.append(
            f"{copies.plain} generated tiles have too little structure to be judged; they count as "
            "no copies."
        )
    if "heldout" in usable and not results.membership:
        notes.append("Too few tiles of the same kind on both sides for membership inference.")
    return notes


def _leaks(results: Results) -> list[str]:
    found = results.copies.heldout
    if not found or not found.count:
        return []
    return [
        f"{found.count} of {found.of} held-out tiles show the same structure as a training tile. "
        "Look at the pairs: as a rule the same tissue stands on both sides of the split, and then "
        "figures on held-out tiles are too good. These tiles set no limit and are no non-members."
    ]


def _patients(usable: Mapping[SetName, Features]) -> list[str]:
    if "heldout" not in usable:
        return []
    train, heldout = (usable[name].patients() for name in ("train", "heldout"))
    if train is None or heldout is None:
        return [
            "Patients are not named in both real sets: intervals are over single tiles, and only "
            "the pixels could tell whether a patient stands on both sides."
        ]
    return []
