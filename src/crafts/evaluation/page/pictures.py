"""Tiles on the page of an evaluation: montages, pairs and the map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crafts.core.page import CLASS_ROLES, INK, Pair, Picture, chart, number
from crafts.evaluation import results as found
from crafts.report.facts import OpenTile
from crafts.report.figures import tile_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PICTURES = 216
"""Tiles in all montages together; with many classes each shows fewer."""

PER_ROW = 6
"""Tiles in a row."""

_NUM_PAIRS = 12


@dataclass(frozen=True)
class Montage:
    """Tiles of one class: at most ``count`` to a group, pairs of a label and pictures."""

    name: str
    count: int
    groups: tuple[tuple[str, tuple[Picture, ...]], ...]


def build_montages(picks: Sequence[found.ClassPicks], open_tile: OpenTile) -> list[Montage]:
    """Real tiles of each class above its best, median and worst generated ones."""
    shown = [pick for pick in picks if pick.best or pick.median or pick.worst or pick.real]
    if not shown:
        return []
    count = next(n for n in (PER_ROW, 3, 2) if n == 2 or 4 * n * len(shown) <= MAX_PICTURES)
    edge = 176 if 4 * count * len(shown) <= 120 else 144
    montages = []
    for pick in shown:
        groups = [("Real, held-out", _real_pictures(pick, count, edge, open_tile))]
        for label, chosen in (
            ("Generated, best aligned", pick.best),
            ("Generated, median", pick.median),
            ("Generated, worst aligned", pick.worst),
        ):
            groups.append((label, _pick_pictures(chosen[:count], edge, open_tile)))
        montages.append(Montage(pick.name, count, tuple((k, v) for k, v in groups if v)))
    return [montage for montage in montages if montage.groups]


def _real_pictures(
    pick: found.ClassPicks, count: int, edge: int, open_tile: OpenTile
) -> tuple[Picture, ...]:
    opened = (open_tile("heldout", name) for name in pick.real[:count])
    alt = f"Real tile, {pick.name}" if pick.name else "Real tile"
    return tuple(tile_picture(px, alt, edge=edge) for px in opened if px is not None)


def _pick_pictures(
    picks: Sequence[found.Pick], edge: int, open_tile: OpenTile
) -> tuple[Picture, ...]:
    pictures = []
    for pick in picks:
        pixels = open_tile("generated", pick.name)
        if pixels is not None:
            score = number(pick.alignment, unit="%") if pick.alignment is not None else ""
            alt = f"Generated tile for: {pick.text or 'no prompt'}"
            picture = tile_picture(pixels, alt, score, pick.text, edge=edge, synthetic=True)
            pictures.append(picture)
    return tuple(pictures)


def build_pairs(nearest: Sequence[found.NearestPair], open_tile: OpenTile) -> list[Pair]:
    """Generated tiles beside the training tile nearest to each, nearest pairs first."""
    pairs = []
    for pair in nearest[:_NUM_PAIRS]:
        left, right = open_tile("generated", pair.generated), open_tile("train", pair.train)
        if left is None or right is None:
            continue
        prompt = f"Prompt: {pair.text}" if pair.text else ""
        made = tile_picture(left, "Generated tile", "generated", pair.generated, synthetic=True)
        seen = tile_picture(right, "Training tile", "training", pair.train)
        pairs.append(Pair(made, seen, f"cosine {pair.cosine:.3f}", prompt))
    return pairs


def map_classes(points: Sequence[found.Point]) -> list[tuple[str, str, int]]:
    """Role of the colour, class and number of points: the most frequent classes, then the rest."""
    counts = Counter(point.label for point in points).most_common()
    named = [(name, count) for name, count in counts if name]
    shown = named[: len(CLASS_ROLES)]
    rest = len(points) - sum(count for _, count in shown)
    legend = [(CLASS_ROLES[i], name, count) for i, (name, count) in enumerate(shown)]
    return legend + ([("rest", "other or no class", rest)] if rest else [])


def draw_map(points: Sequence[found.Point]) -> str:
    """The t-SNE map: colour tells the class, a dot a real tile, a cross a generated one."""
    roles = {name: role for role, name, _ in map_classes(points)}
    area = min(36.0, max(8.0, 16_000 / len(points)))  # square points: smaller marks for many tiles

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for real, marker, size in ((True, "o", 0.6 * area), (False, "x", area)):
            for role in dict.fromkeys([*roles.values(), "rest"]):
                chosen = [
                    (point.x, point.y)
                    for point in points
                    if (point.set != "generated") == real and roles.get(point.label, "rest") == role
                ]
                if chosen:
                    x, y = np.array(chosen).T
                    width = 0 if real else 1.1
                    colour = INK[role]
                    axes.scatter(x, y, s=size, c=colour, marker=marker, linewidths=width)
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)

    generated = sum(point.set == "generated" for point in points)
    alt = (
        f"t-SNE map of {generated} generated tiles (crosses) and {len(points) - generated} real "
        "tiles (dots), coloured by class."
    )
    return chart(draw, alt=alt, width=640, height=540, name="map")
