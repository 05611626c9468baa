"""What pages of an evaluation and of an audit say alike: sets, encoders, the verdict, sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.page import Level, Verdict, fact_text
from crafts.report.tables import TITLES
from crafts.sets.source import SetFacts

OpenTile = Callable[[Any, str], NDArray[np.uint8] | None]
"""Set and name of a tile -> its pixels uint8 [H, W, 3]; None where it cannot be opened."""

Sentence = tuple[Level, str]
"""A plain sentence and how it is marked."""

_SUBJECTS = {
    "generated": "generated tiles",
    "heldout": "held-out tiles",
    "train": "training tiles",
}


def judge_sentences(
    headline: str, sentences: Sequence[Sentence], warnings: Sequence[str] = ()
) -> Verdict:
    """The verdict of a page: as grave as its gravest sentence; warnings make it at least "warn"."""
    levels = {"warn" if warnings else "good", *(level for level, _ in sentences)}
    level: Level = "bad" if "bad" in levels else "warn" if "warn" in levels else "good"
    return Verdict(level, headline, tuple(text for _, text in sentences), tuple(warnings))


def known_facts(name: str, known: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of an encoder or a model, a line each."""
    return [(f"{name}: {key.replace('_', ' ')}", fact_text(one)) for key, one in known.items()]


def set_fact(item: SetFacts, unit: str, more: str = "") -> tuple[str, str]:
    """A set in one line: its title, and how many of its images were used.

    Args:
        item: the set.
        unit: what its groups are called.
        more: stands last.
    """
    parts = [f"{item.used:,} used, {item.rejected:,} rejected of {item.listed:,} listed"]
    parts += [f"{item.groups:,} {unit}"] if item.groups else []
    parts += [f"split “{item.split}”"] if item.split else []
    parts += [f"folder {item.folder}", *([more] if more else [])]
    return f"{TITLES[item.name]} tiles", "; ".join(parts)


def filled_sections(
    sections: Sequence[tuple[str, str]],
    values: Mapping[str, Any],
    *,
    always: Sequence[str],
    needs: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str, str]]:
    """The sections of a page that have something to say.

    Args:
        sections: anchor and title of all.
        values: of the page.
        always: sections that are there in any case.
        needs: section -> values of which one must be there; by default that of its own name.
    """
    return [
        (name, title)
        for name, title in sections
        if name in always or any(values[one] for one in (needs or {}).get(name, (name,)))
    ]
