"""What is known of each tile: class, group, site, power; and where the prompts come from.

Generated tiles say little of themselves. A field that a generated tile lacks is taken from the real
tiles that have its prompt as a caption, if all of them agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.records import FeatureSet
from crafts.data.collection import group_of
from crafts.evaluation.results import PromptSource

SLICE_FIELDS = ("organ", "set", "site", "scanner", "stain", "power")
"""Fields whose values are compared one by one, where they are known."""

CLASS_FIELD = "label"


@dataclass(frozen=True)
class Described:
    """A set of features with what the comparison needs to know of each row.

    Attributes:
        set: features, texts and rows.
        groups: [N] patient (or case, slide); a row without one is a group of its own.
        named_groups: whether every row names its group.
        fields: field -> [N] values, "" where unknown; holds ``label`` and :data:`SLICE_FIELDS`.
    """

    set: FeatureSet
    groups: NDArray[np.str_]
    named_groups: bool
    fields: Mapping[str, NDArray[np.str_]]

    @property
    def classes(self) -> NDArray[np.str_]:
        """Class of each row [N], "" where unknown."""
        return self.fields[CLASS_FIELD]

    @property
    def texts(self) -> list[str]:
        """Caption or prompt of each row."""
        return [str(row.get("text") or "") for row in self.set.rows]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.set)


def describe(found: FeatureSet, captions: Mapping[str, Mapping[str, str]]) -> Described:
    """Class, group and slice fields of every row.

    Args:
        found: a set.
        captions: as :func:`caption_fields` gives them; empty for real tiles, which speak for
            themselves.
    """
    fields = {
        name: np.array([_known(row, name, captions) for row in found.rows], dtype=np.str_)
        for name in (CLASS_FIELD, *SLICE_FIELDS)
    }
    groups = [group_of(row) for row in found.rows]
    alone = [group or f"tile {number}" for number, group in enumerate(groups)]
    return Described(found, np.array(alone, dtype=np.str_), all(groups), fields)


def caption_fields(sets: Iterable[FeatureSet]) -> dict[str, dict[str, str]]:
    """Caption -> the fields on which all real tiles with that caption agree."""
    values: dict[str, dict[str, set[str]]] = {}
    for row in (row for found in sets for row in found.rows):
        for caption in captions_of(row):
            mine = values.setdefault(caption, {})
            for name in (CLASS_FIELD, *SLICE_FIELDS):
                mine.setdefault(name, set()).add(_text(row.get(name)))
    return {
        caption: {name: next(iter(few)) for name, few in mine.items() if len(few) == 1}
        for caption, mine in values.items()
    }


def captions_of(row: Mapping[str, Any]) -> set[str]:
    """All wordings of a real tile, spaces evened out."""
    more = row.get("captions")
    wordings = [row.get("text"), *(more if isinstance(more, list | tuple) else ())]
    return {even(str(text)) for text in wordings if text}


def even(text: str) -> str:
    """A text with single spaces and none at its ends."""
    return " ".join(text.split())


def prompt_source(
    generated: FeatureSet, heldout: FeatureSet, train: FeatureSet | None
) -> PromptSource:
    """Where the prompts of generated tiles occur as captions, word for word."""
    unseen = {caption for row in heldout.rows for caption in captions_of(row)}
    seen = {caption for row in (train.rows if train else ()) for caption in captions_of(row)}
    counts = dict.fromkeys(("heldout", "both", "train", "neither", "empty"), 0)
    for row in generated.rows:
        prompt = even(str(row.get("text") or ""))
        where = (prompt in unseen, prompt in seen)
        key = {(1, 0): "heldout", (1, 1): "both", (0, 1): "train", (0, 0): "neither"}[where]
        counts[key if prompt else "empty"] += 1
    return PromptSource(**counts, checked=train is not None)


def shared_files(first: Described, second: Described) -> list[str]:
    """Hashes of the image files that stand in both sets, sorted."""
    hashes = [{str(row.get("sha256")) for row in side.set.rows} for side in (first, second)]
    return sorted(hashes[0] & hashes[1])


def values_of(sides: Sequence[Described], field: str) -> list[str]:
    """Values of a field that occur in every one of the sets, sorted; "" is none."""
    found = [set(side.fields[field].tolist()) - {""} for side in sides]
    return sorted(set.intersection(*found))


def _known(row: Mapping[str, Any], name: str, captions: Mapping[str, Mapping[str, str]]) -> str:
    own = _text(row.get(name))
    return own or captions.get(even(str(row.get("text") or "")), {}).get(name, "")


def _text(value: Any) -> str:
    return "" if value is None or value == "unknown" else str(value)
