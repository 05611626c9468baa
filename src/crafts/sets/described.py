"""What is known of each tile of a set, and of the set: class, group, site, scale, prompts.

Generated tiles say little of themselves. A field that a generated tile lacks is taken from the real
tiles that have its prompt as a caption, if all of them agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.config import Config
from crafts.core.records import FeatureSet
from crafts.data.collection import group_of
from crafts.sets.source import SetName
from crafts.sets.splits import Rows

SLICE_FIELDS = ("organ", "set", "site", "scanner", "stain", "power")
"""Fields whose values are compared one by one, where they are known."""

CLASS_FIELD = "label"

_TOLERANCE = 1.1  # between scanners of one nominal power
_MOST = (0.05, 0.95)  # a few odd tiles do not make a set mixed
_KNOWN = 0.9


class PromptSource(Config):
    """Where the prompts of the generated tiles occur, word for word, as captions; counts of tiles.

    Attributes:
        heldout: of held-out tiles only.
        both: of held-out and of training tiles.
        train: of training tiles only.
        neither: in neither, or the training captions are not known.
        empty: no prompt known.
        checked: a training set was given.
    """

    heldout: int = 0
    both: int = 0
    train: int = 0
    neither: int = 0
    empty: int = 0
    checked: bool = False


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


@dataclass(frozen=True)
class Sets:
    """The three sets of a comparison.

    Attributes:
        generated: to be judged.
        heldout: real tiles of groups that the model has not seen; without rows where a file of
            statistics stands in for them.
        train: real tiles that it has seen, or None.
        nearest: for each generated row the nearest training row [N]; empty without a training set.
    """

    generated: Described
    heldout: Described
    train: Described | None
    nearest: Rows

    def named(self) -> dict[SetName, Described]:
        """Sets by name; those that are not there have no entry."""
        found: dict[SetName, Described | None] = {
            "generated": self.generated,
            "heldout": self.heldout,
            "train": self.train,
        }
        return {name: one for name, one in found.items() if one is not None and len(one)}


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


@dataclass(frozen=True)
class Scale:
    """Pixels of a set.

    Attributes:
        low, middle, high: shorter side of its tiles in pixels, 5 %, median and 95 %.
        mpp: median microns per pixel, None unless nine tiles in ten name theirs and agree.
    """

    low: float
    middle: float
    high: float
    mpp: float | None

    @property
    def words(self) -> str:
        """The scale in words."""
        mixed = self.high > _TOLERANCE * self.low
        size = f"{self.low:.0f} to {self.high:.0f}" if mixed else f"{self.middle:.0f}"
        return f"{size} px at {f'{self.mpp:g}' if self.mpp else 'unknown'} µm a pixel"


def scale_of(side: Described) -> Scale | None:
    """The scale of a set; None where its rows do not tell the size of their images."""
    rows = [row for row in side.set.rows if row.get("width") and row.get("height")]
    if not rows:
        return None
    sides = [min(int(row["width"]), int(row["height"])) for row in rows]
    low, middle, high = np.quantile(sides, (_MOST[0], 0.5, _MOST[1]))
    named = [float(row["mpp"]) for row in rows if isinstance(row.get("mpp"), int | float)]
    mpp = None
    if len(named) >= _KNOWN * len(rows):
        ends = np.quantile(named, _MOST)
        mpp = float(np.median(named)) if ends[1] <= _TOLERANCE * ends[0] else None
    return Scale(float(low), float(middle), float(high), mpp)


def same_pixels(one: Scale | None, two: Scale | None) -> bool:
    """Whether a pixel is as large in both, so that blur and block edges compare.

    By microns per pixel where both name them; else equal sizes are taken for equal scales.
    """
    if one is None or two is None:
        return True
    if one.mpp and two.mpp:
        return _close(one.mpp, two.mpp)
    return _close(min(one.low, two.low), max(one.high, two.high))


def same_fields(one: Scale | None, two: Scale | None) -> bool:
    """Whether a tile shows as much tissue in both, so that an encoder sees both at one scale."""
    if one is None or two is None:
        return True
    if one.mpp and two.mpp:
        return _close(one.mpp * one.middle, two.mpp * two.middle)
    return _close(one.middle, two.middle)


def _close(one: float, two: float) -> bool:
    return max(one, two) <= _TOLERANCE * min(one, two)
