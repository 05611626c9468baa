"""Figures of pages: a measure as a line with its floor, values of two sets, tiles with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.page import INK, Picture, chart, data_uri, number

if TYPE_CHECKING:  # drawn late: most pages of a test have no chart
    from matplotlib.figure import Figure

EDGE = 224
"""Pixels of the longer side of a tile in a pair."""


@dataclass(frozen=True)
class Dot:
    """A value on the line of a :class:`Strip`.

    Attributes:
        label: what it is of.
        text: its value as shown.
        place: in percent of the line.
        kind: role of :data:`INK`; "real" is the floor and is drawn as a dashed line.
        low, high: ends of its spread, in percent of the line.
    """

    label: str
    text: str
    place: float
    kind: str
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """One measure as a line with marks on it, the floor among them."""

    name: str
    note: str
    start: str
    end: str
    marks: tuple[Dot, ...]


def build_strip(
    name: str,
    values: Mapping[str, tuple[str, float, float]],
    *,
    note: str = "",
    top: float | None = None,
) -> Strip:
    """Place values on a line that begins at 0, or at the lowest value where that is below 0.

    Args:
        name: of the measure.
        values: role of :data:`INK` -> label, value and spread, all finite.
        note: unit or direction.
        top: end of the line; the largest value by default.
    """
    ends = [value + spread for _, value, spread in values.values()]
    low = min(0.0, *(value - spread for _, value, spread in values.values()))
    high = max([*ends, *([top] if top is not None else [])])
    scale = 100 / ((high - low) or 1.0)

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, (value - low) * scale)), 2)

    marks = tuple(
        Dot(
            label,
            number(value) + (f" ± {number(spread)}" if spread else ""),
            place(value),
            kind,
            place(value - spread),
            place(value + spread),
        )
        for kind, (label, value, spread) in values.items()
    )
    return Strip(name, note, number(low) if low else "0", number(high), marks)


def draw_histogram(
    sets: Mapping[str, Sequence[float]], title: str, threshold: float, *, name: str
) -> str:
    """Shares of tiles by value, one outline a set, the threshold as a dashed line.

    Args:
        sets: role ("real", "generated") -> values.
        title: of the axis.
        threshold: where tiles are marked.
        name: differs between the charts of a page.
    """
    everything = np.concatenate([np.asarray(values) for values in sets.values()])
    low, high = min(everything.min(), threshold), max(everything.max(), threshold)
    edges = np.linspace(low, high + (1e-6 if high == low else 0.0), 41)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for role, values in sets.items():
            heights = np.histogram(values, edges)[0] * 100 / len(values)
            real = role == "real"
            axes.stairs(heights, edges, color=INK[role], fill=real, alpha=0.3 if real else 1.0)
        axes.axvline(threshold, color=INK["bad"], linestyle=(0, (4, 3)), linewidth=1.3)
        # single tiles at the far end are what the chart is about; a linear axis would hide them
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.set(xlabel=title, ylabel="tiles, %", ylim=(0, 120))
        axes.minorticks_off()

    named = {"real": "held-out", "generated": "generated"}
    counts = ", ".join(f"{len(values):,} {named[role]} tiles" for role, values in sets.items())
    alt = f"Histogram of {title.lower()} for {counts}; threshold at {number(threshold)}."
    return chart(draw, alt=alt, width=440, height=270, name=name)


def tile_picture(
    tile: NDArray[np.uint8] | Image.Image,
    alt: str,
    caption: str = "",
    note: str = "",
    *,
    edge: int = EDGE,
    synthetic: bool = False,
) -> Picture:
    """A tile as a picture on the page.

    Args:
        tile: uint8 [H, W, 3], or a picture.
        alt: what it shows, in words.
        caption: below it.
        note: behind the caption.
        edge: pixels of its longer side.
        synthetic: it is generated, which the picture then says itself.
    """
    return Picture(data_uri(tile, edge=edge, synthetic=synthetic), alt, caption, note)
