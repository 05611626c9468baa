"""How much tumour, lymphocytes, stroma, fat and necrosis a tile shows: read, binned, put in words.

Scores are shares in [0, 1]. They come from a table by the name of the tile, or from patches and
outlines by their place on the slide, where all that overlap a tile are averaged by the area that
they share with it. A word is a bin of equal width: with n levels, level k holds [k/n, (k+1)/n), and
the top level its end, 1.0, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crafts.captions.config import Grammar
from crafts.core.errors import DataError
from crafts.core.tables import same_name
from crafts.imaging.outlines import Polygon, draw_polygon

KINDS = ("tumor", "til", "stroma", "fat", "necrosis")
MIN_COVERED = 0.5
"""Share of a tile that scored patches must cover; below it the tile has no score."""

_LEVELS = {
    2: ("low", "high"),
    3: ("low", "medium", "high"),
    4: ("very low", "low", "high", "very high"),
}
_MANY = {
    2: ("few", "many"),
    3: ("few", "some", "many"),
    4: ("very few", "few", "many", "very many"),
}
_MUCH = {
    2: ("little", "much"),
    3: ("little", "some", "much"),
    4: ("very little", "little", "much", "very much"),
}
_NOUNS = {
    "tumor": "tumor",
    "til": "lymphocytes",
    "stroma": "stroma",
    "fat": "fat",
    "necrosis": "necrosis",
}


def level_of(score: float, levels: int) -> int:
    """Bin of a score: 0 to ``levels`` - 1; a score of 1.0 is in the last.

    Raises:
        DataError: a score outside of [0, 1] or not a number.
    """
    if not 0 <= score <= 1:
        raise _bad("score", f"{score!r}", "a share from 0 to 1", "Divide percentages by 100.")
    return min(int(score * levels), levels - 1)


def say_score(kind: str, score: float, *, levels: int, grammar: Grammar) -> str:
    """One score in words: "high tumor;" in PathLDM's grammar, "Much tumor." in ours."""
    level = level_of(score, levels)
    if grammar == "pathldm":
        return f"{_LEVELS[levels][level]} {kind};"
    words = (_MANY if kind == "til" else _MUCH)[levels][level]
    return f"{words.capitalize()} {_NOUNS[kind]}."


def say_scores(
    scores: Mapping[str, float], *, kinds: Sequence[str], levels: int, grammar: Grammar
) -> list[str]:
    """The known scores in words, in the order of ``kinds``."""
    return [
        say_score(kind, scores[kind], levels=levels, grammar=grammar)
        for kind in kinds
        if kind in scores
    ]


# ---- where scores lie ------------------------------------------------------------------------


class Box(NamedTuple):
    """A rectangle in pixels of the slide's level 0."""

    left: float
    top: float
    right: float
    bottom: float


class Outline(NamedTuple):
    """A region that an expert or a model outlined and named.

    Attributes:
        kind: one of :data:`KINDS`.
        rings: of one polygon, the outer first, then its holes; (x, y) pairs.
    """

    kind: str
    rings: Polygon


@dataclass
class Patches:
    """Scored rectangles of a slide, sorted by their left edge.

    Attributes:
        boxes: [N, 4] left, top, right, bottom.
        values: kind -> [N], NaN where it is not known.
    """

    boxes: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        """Sort, so that the neighbours of a tile are a slice."""
        order = np.argsort(self.boxes[:, 0], kind="stable")
        self.boxes = self.boxes[order]
        self.values = {kind: values[order] for kind, values in self.values.items()}
        self._widest = float((self.boxes[:, 2] - self.boxes[:, 0]).max(initial=0.0))

    def average(self, tile: Box) -> dict[str, float]:
        """Mean of the patches that overlap a tile, each weighted by the area that they share."""
        first, last = np.searchsorted(self.boxes[:, 0], (tile.left - self._widest, tile.right))
        boxes = self.boxes[first:last]
        widths = np.minimum(boxes[:, 2], tile.right) - np.maximum(boxes[:, 0], tile.left)
        heights = np.minimum(boxes[:, 3], tile.bottom) - np.maximum(boxes[:, 1], tile.top)
        shared = widths.clip(0) * heights.clip(0)
        area = (tile.right - tile.left) * (tile.bottom - tile.top)
        found = {}
        for kind, values in self.values.items():
            known = values[first:last]
            weights = np.where(np.isnan(known), 0.0, shared)
            # overlapping patches may count an area twice: this is a bound, not a measure
            if weights.sum() >= MIN_COVERED * area:
                mean = float((weights * np.nan_to_num(known)).sum() / weights.sum())
                found[kind] = min(max(mean, 0.0), 1.0)
        return found


_RASTER = 64


@dataclass
class ScoreTable:
    """Scores of many tiles.

    Attributes:
        by_name: name of a tile -> kind -> score; ``<slide>/<name>`` where the table names slides.
        by_slide: slide -> scored patches.
        outlines: slide -> named regions; a kind that a slide has outlines of is 0 outside of them.
    """

    by_name: dict[str, dict[str, float]] = field(default_factory=dict)
    by_slide: dict[str, Patches] = field(default_factory=dict)
    outlines: dict[str, list[Outline]] = field(default_factory=dict)

    def of(self, names: Sequence[str], slide: str, tile: Box | None) -> dict[str, float]:
        """Scores of a tile; {} where none is known.

        Args:
            names: that the tile may go by, tried in order.
            slide: name of its slide.
            tile: its place; None where it is not known.
        """
        if key := self.key_of(names, slide):
            return dict(self.by_name[key])
        if tile is None:
            return {}
        slide = same_name(slide)
        found = self.by_slide[slide].average(tile) if slide in self.by_slide else {}
        return found | cover(self.outlines.get(slide, ()), tile)

    def key_of(self, names: Sequence[str], slide: str) -> str:
        """The name under which the table has a tile; "" where it has it under none."""
        keys = [same_name(key) for name in names for key in (f"{slide}/{name}", name)]
        return next((key for key in keys if key in self.by_name), "")


def cover(outlines: Sequence[Outline], tile: Box) -> dict[str, float]:
    """Share of a tile that the outlines of each kind cover, on a raster of 64 x 64."""
    scale = _RASTER / (tile.right - tile.left), _RASTER / (tile.bottom - tile.top)
    masks = {one.kind: np.zeros((_RASTER, _RASTER), bool) for one in outlines}
    for one in outlines:
        xs, ys = zip(*one.rings[0], strict=True)
        outside = max(xs) <= tile.left or min(xs) >= tile.right
        if outside or max(ys) <= tile.top or min(ys) >= tile.bottom:
            continue
        masks[one.kind] |= draw_polygon(
            one.rings, (_RASTER, _RASTER), scale=scale, corner=(tile.left, tile.top), rim=False
        )
    return {kind: float(mask.mean()) for kind, mask in masks.items()}


def _bad(where: str, came: str, allowed: str, do: str) -> DataError:
    return DataError(where, came=came, allowed=allowed, do=do)
