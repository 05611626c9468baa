"""Copies of training tiles among other tiles: search over whole folders, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crafts.auditing.matching.landmarks import SCALES, SIDE
from crafts.auditing.matching.library import Library, OpenTile, Seen, is_plain, iter_blocks, look
from crafts.auditing.matching.search import Match, search
from crafts.auditing.results import Kind, Share, Threshold, TileVerdict
from crafts.core.runtime import say

PART, WHOLE = (0.55, 0.7), (0.4, 0.7)
"""Lowest and highest limit that held-out tiles may set: for a part that is laid over a part, where
chance reaches higher, and for whole tiles edge on edge. What lies above the highest shares tissue.
"""

DEFAULT_PART, DEFAULT_WHOLE = 0.65, 0.45
"""Limits where no held-out tiles set them."""

MARGIN = 0.1
QUANTILE, FEWEST = 0.999, 200
_SAME_COLOUR = 4.0  # grey levels
_TURNED, _SCALED, _WHOLE, _STAYED = 2.0, 0.05, 0.93, 0.03  # degrees, then shares


@dataclass(frozen=True)
class Found:
    """The nearest training tile of one suspect, by structure.

    Attributes:
        seen: facts of the suspect, without its structure map.
        plain: too little structure to be judged.
        match: best placement; ``match.index`` counts the usable and unusable training tiles.
        exact: ``"exact file"``, ``"exact pixels"`` or "".
        recoloured: the colours differ from those of the source by more than recompression does.
    """

    seen: Seen
    plain: bool = False
    match: Match = field(default_factory=Match)
    exact: Kind = ""
    recoloured: bool = False


def find_copies(what: str, number: int, *, open_tile: OpenTile, library: Library) -> list[Found]:
    """Look for every tile of a set in a library.

    Args:
        what: name of the set, for progress.
        number: of tiles.
        open_tile: opens one.
        library: the training tiles.

    Returns:
        One entry a tile, in order; those that cannot be used have ``seen.fault``.
    """
    found: list[Found] = []
    for block in iter_blocks(number):
        rows = [
            seen
            for _, seen in look(
                what, block, open_tile=open_tile, num_workers=library.num_workers, scales=SCALES
            )
        ]
        usable = [
            k
            for k, seen in enumerate(rows)
            if seen.described is not None and not is_plain(seen.described)
        ]
        best = [Match()] * len(rows)
        for index, numbers in library.iter_indexes():
            described = [rows[k].described for k in usable]
            matches = search(index, [tile for tile in described if tile is not None])
            for k, match in zip(usable, matches, strict=True):
                if match.rank > best[k].rank:
                    best[k] = replace(match, index=numbers[match.index])
        say(f"{what}: {block[-1] + 1} of {number} tiles searched")
        found += [_found(seen, match) for seen, match in zip(rows, best, strict=True)]
    return _add_exact(found, library)


def _found(seen: Seen, match: Match) -> Found:
    if seen.described is None:
        return Found(seen)
    return Found(replace(seen, described=None), is_plain(seen.described), match)


def _add_exact(found: Sequence[Found], library: Library) -> list[Found]:
    """Equal files and equal pixels, and whether the colours of a match differ."""
    files: dict[str, int] = {}
    pixels: dict[str, int] = {}
    for number in sorted(library.facts, reverse=True):  # of equal ones the first is named
        seen = library.facts[number]
        if not seen.fault:
            files[seen.file_hash] = pixels[seen.pixel_hash] = number
    out = []
    for item in found:
        kind: Kind = ""
        if not item.seen.fault and item.seen.file_hash in files:
            kind, number = "exact file", files[item.seen.file_hash]
        elif not item.seen.fault and item.seen.pixel_hash in pixels:
            kind, number = "exact pixels", pixels[item.seen.pixel_hash]
        if kind:
            item = replace(item, exact=kind, match=Match(number, 1.0, 1.0))
        elif item.match.index >= 0:
            own, other = item.seen.colour, library.facts[item.match.index].colour
            gap = np.abs(np.subtract(own, other)).max()
            item = replace(item, recoloured=bool(gap > _SAME_COLOUR))
        out.append(item)
    return out


@dataclass(frozen=True)
class Limits:
    """Correlations above which a tile is a copy.

    Attributes:
        part: of a match of a part, shifted or enlarged.
        whole: of a match of whole tiles, in any of the eight positions.
    """

    part: Threshold
    whole: Threshold

    def of(self, match: Match) -> float:
        """The limit for this match."""
        return self.whole.value if is_whole(match) else self.part.value


def is_whole(match: Match) -> bool:
    """Whether a match lays all of a tile on all of another."""
    return match.overlap >= _WHOLE and abs(_scale(match) - 1) <= _SCALED


def _scale(match: Match) -> float:
    a, b, c, d = match.matrix
    return math.sqrt(abs(a * d - b * c)) or 1.0


def calibrate(found: Sequence[Found]) -> Limits:
    """Limits of the correlation, from held-out tiles against training tiles.

    Each is their 99.9 % quantile and a margin, within bounds. Tiles above the upper bound show the
    same tissue as a training tile and say nothing of chance; they are left out of the quantile.

    Args:
        found: of held-out tiles; fewer than 200 usable ones give the defaults.
    """
    usable = [item.match for item in found if not (item.seen.fault or item.plain or item.exact)]
    chance = [match for match in usable if match.correlation <= PART[1]]
    if len(chance) < FEWEST:
        return Limits(
            Threshold(value=DEFAULT_PART, source="default", n=len(chance)),
            Threshold(value=DEFAULT_WHOLE, source="default", n=len(chance)),
        )
    limits = []
    for whole, (low, high) in ((False, PART), (True, WHOLE)):
        mine = [match.correlation if is_whole(match) == whole else 0.0 for match in chance]
        quantile = float(np.quantile(mine, QUANTILE))
        value = min(max(quantile + MARGIN, low), high)
        limits.append(Threshold(value=value, source="heldout", n=len(mine), quantile=quantile))
    return Limits(*limits)


def judge(
    name: str,
    found: Found,
    *,
    limits: Limits,
    sources: Callable[[int], str],
    text: str = "",
) -> TileVerdict:
    """The verdict on one tile, without the features of an encoder.

    Args:
        name: of the tile.
        found: what the search found.
        limits: of the correlation.
        sources: number of a training tile -> its name.
        text: prompt or caption.
    """
    if found.seen.fault:
        return TileVerdict(name=name, verdict="rejected", reason=found.seen.fault, text=text)
    match = found.match
    facts = {
        "name": name,
        "source": sources(match.index) if match.index >= 0 else "",
        "correlation": match.correlation,
        "overlap": match.overlap,
        "matrix": match.matrix,
        "shift": tuple(value / SIDE for value in match.shift),
        "votes": match.votes,
        "text": text,
    }
    if found.seen.blank or (found.plain and not found.exact):  # white equals white
        return TileVerdict(verdict="plain", **facts)
    if found.exact:
        return TileVerdict(verdict="copy", kind=found.exact, how="unchanged", **facts)
    if match.correlation <= limits.of(match):
        return TileVerdict(verdict="clear", **facts)
    kind, how = name_transformation(match, recoloured=found.recoloured)
    return TileVerdict(verdict="copy", kind=kind, how=how, **facts)


def name_transformation(match: Match, *, recoloured: bool) -> tuple[Kind, str]:
    """Kind of a copy and what was done to the training tile to get it, in words."""
    matrix = np.array(match.matrix).reshape(2, 2)
    scale = _scale(match)
    mirrored = bool(np.linalg.det(matrix) < 0)
    rotation = matrix @ np.diag([1.0, -1.0]) if mirrored else matrix
    angle = math.degrees(math.atan2(rotation[0, 1], rotation[0, 0]))
    middle = np.linalg.solve(matrix, -np.array(match.shift)) / SIDE
    words = []
    turned = mirrored or abs(angle) > _TURNED
    if abs(angle) > _TURNED:
        words.append(f"rotated by {angle % 360:.0f}°")
    if mirrored:
        words.append("mirrored")
    enlarged = scale < 1 - _SCALED
    if enlarged:
        words.append(f"a part enlarged {1 / scale:.2f} times")
    part = enlarged or match.overlap < _WHOLE
    if part and not enlarged:
        words.append(_where(middle[0], middle[1]))
    if recoloured:
        words.append("other colours")
    kind: Kind = "part" if part else "turned" if turned else "re-encoded"
    if kind == "re-encoded" and recoloured:
        kind = "restained"
    return kind, ", ".join(words) or "recompressed, resized or blurred"


def _where(down: float, right: float) -> str:
    if max(abs(down), abs(right)) < _STAYED:
        return "a part of it, in its place"
    across = f"{100 * abs(right):.0f} % {'right' if right > 0 else 'left'}"
    along = f"{100 * abs(down):.0f} % {'down' if down > 0 else 'up'}"
    return f"shifted by {across}, {along}"


def share_of(count: int, of: int) -> Share:
    """A share with its exact 95 % interval (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    if of == 0:
        return Share(count=0, of=0, share=None, low=None, high=None)
    interval = binomtest(count, of).proportion_ci(0.95, method="exact")
    return Share(count=count, of=of, share=count / of, low=interval.low, high=interval.high)


def count_kinds(verdicts: Sequence[TileVerdict]) -> Mapping[str, int]:
    """Kind of copy -> tiles, the most frequent first."""
    kinds = [verdict.kind for verdict in verdicts if verdict.verdict == "copy"]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds), key=lambda k: -kinds.count(k))}
