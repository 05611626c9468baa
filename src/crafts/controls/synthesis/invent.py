"""Invent nuclei: how many, how large, of which class and where, as fitted to real masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crafts.controls.layouts import (
    LEVELS,
    MEGAPIXEL,
    ClassStatistics,
    LayoutStatistics,
)
from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.core.errors import ConfigError

Floats = NDArray[np.float64]

_MAX_SIDE = 4096
_CANDIDATES, _TRIES, _ROUNDS = 24, 6, 4  # places looked at for a nucleus; of them tried; how often
_BESIDE = 0.5  # at most: share of nuclei that are placed next to one of their class
_WAVES = (2, 3, 4)  # of the outline, per turn
_WAVE = 0.04  # their height, share of the radius


@dataclass
class Canvas:
    """Nuclei placed so far, with a margin around the field for those that its border cuts.

    Attributes:
        ids: int32 [H, W], margin included.
        centers: y and x of the nuclei.
        classes: their class numbers.
        angles: of their long axes.
        scores: normal scores of their areas within their class.
    """

    ids: NDArray[np.int32]
    centers: list[tuple[float, float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def place(self, shape: NDArray[np.bool_], center: tuple[float, float]) -> bool:
        """Put a shape with its middle at ``center`` if all of it is free; the border may cut it."""
        top = round(center[0] - shape.shape[0] / 2)
        left = round(center[1] - shape.shape[1] / 2)
        shape = shape[max(-top, 0) :, max(-left, 0) :]
        top, left = max(top, 0), max(left, 0)
        spot = self.ids[top : top + shape.shape[0], left : left + shape.shape[1]]
        shape = shape[: spot.shape[0], : spot.shape[1]]
        if not shape.any() or spot[shape].any():
            return False
        spot[shape] = len(self.centers) + 1
        self.centers.append(center)
        return True


@dataclass(frozen=True, eq=False)
class _Where:
    """Where nuclei of a class go.

    Attributes:
        centers: of clusters [K, 2], None: anywhere.
        affinity: weight of a place by the class of its nearest nucleus.
        beside: share of nuclei that are placed next to one of their class.
    """

    centers: Floats | None
    affinity: Floats
    beside: float


_ANYWHERE = _Where(None, np.ones(len(CLASSES)), 0.0)


def sample_layout(
    statistics: LayoutStatistics,
    *,
    size: tuple[int, int],
    seed: int,
    mpp: float | None = None,
) -> NucleiMask:
    """Invent a layout of nuclei.

    One of the fitted fields says how many nuclei of each class there are; area and elongation come
    from the quantiles of the class; places from its Thomas process, and among free places those
    are likelier whose nearest nucleus is of a class that lies there in reality. Outlines are
    smooth and closed and do not overlap; they may touch.

    Args:
        statistics: of the tissue.
        size: height and width in pixels.
        seed: the same seed gives the same mask.
        mpp: of the mask; None takes that of the statistics.

    Returns:
        The mask; where tissue is too dense, ``skipped`` says how many nuclei found no place.

    Raises:
        ConfigError: a size out of range, or ``mpp`` where that of the statistics is unknown.
    """
    scale = _scale(statistics, size, mpp)
    draws = np.random.default_rng(seed)
    largest = max(one.areas[-1] * one.elongations[-1] for one in statistics.classes.values())
    margin = int(np.ceil(np.sqrt(largest / np.pi) * scale * 1.2)) + 2
    canvas = Canvas(np.zeros((size[0] + 2 * margin, size[1] + 2 * margin), np.int32))
    wanted = _draw_classes(statistics, canvas.ids.size / scale**2, draws)
    places = {}
    for name, one in statistics.classes.items():
        mixed = statistics.expected_neighbors(name)
        places[name] = _Where(
            _draw_centers(one, canvas.ids.shape, scale, draws),
            _affinity(one.neighbours, mixed),
            _beside(one.neighbours.get(name, 0.0), mixed[name]),
        )
    lost = 0
    for name in wanted:
        kind = (CLASSES.index(name), statistics.classes[name])
        lost += not _add(canvas, kind, places[name], scale=scale, draws=draws)
    inner = np.s_[margin : margin + size[0], margin : margin + size[1]]
    return _finish(canvas, inner, statistics, scale, lost)


def draw_outline(
    area: float, elongation: float, angle: float, *, draws: np.random.Generator
) -> NDArray[np.bool_]:
    """A smooth closed outline, filled [h, w]: an ellipse with low waves on its rim.

    Args:
        area: in pixels; at least one pixel is set.
        elongation: long over short axis.
        angle: of the long axis in radians, from the x axis towards y.
        draws: for the waves.
    """
    long, short = np.sqrt(area * elongation / np.pi), np.sqrt(area / elongation / np.pi)
    heights = _WAVE * draws.standard_normal(len(_WAVES)).clip(-2, 2)
    phases = draws.uniform(0, 2 * np.pi, len(_WAVES))
    half = int(np.ceil(long * (1 + np.abs(heights).sum()))) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    turn = np.arctan2(across / short, along / long)
    rim = 1 + sum(
        height * np.cos(waves * turn + phase)
        for waves, height, phase in zip(_WAVES, heights, phases, strict=True)
    )
    # waves add to the area: 1 + half the sum of their squared heights
    rim = rim / np.sqrt(1 + (heights**2).sum() / 2)
    inside = np.hypot(along / long, across / short) <= rim
    inside[half, half] = True
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return np.asarray(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def quantile(levels: tuple[float, ...], score: float) -> float:
    """The value at a normal score, linear in its logarithm between the quantiles of ``LEVELS``."""
    from scipy.special import ndtr

    return float(np.exp(np.interp(ndtr(score), LEVELS, np.log(levels))))


def _add(
    canvas: Canvas,
    kind: tuple[int, ClassStatistics],
    where: _Where,
    *,
    scale: float,
    draws: np.random.Generator,
) -> bool:
    """Place one nucleus; False where no place was free."""
    number, one = kind
    fresh, slim = draws.standard_normal(2)
    score: float | None = None
    for attempt in range(_ROUNDS):
        anywhere = attempt == _ROUNDS - 1
        places = _candidates(
            canvas, kind, _ANYWHERE if anywhere else where, scale=scale, draws=draws
        )
        order, nearest = _rank(canvas, places, where.affinity, draws)
        for place in order[:_TRIES]:
            other = None if nearest is None else int(nearest[place])
            if score is None:  # kept from now on: else what is small would find a place first
                score = _like(canvas, kind, other, float(fresh))
            angle = _turn(canvas, one, other, draws)
            shape = _outline(one, score, float(slim), angle=angle, scale=scale, draws=draws)
            if canvas.place(shape, (float(places[place, 0]), float(places[place, 1]))):
                canvas.classes.append(number)
                canvas.angles.append(angle)
                canvas.scores.append(score)
                return True
    return False


def _outline(
    one: ClassStatistics,
    score: float,
    slim: float,
    *,
    angle: float,
    scale: float,
    draws: np.random.Generator,
) -> NDArray[np.bool_]:
    slimness = one.slimness * score + np.sqrt(1 - one.slimness**2) * slim
    area = quantile(one.areas, score) * scale**2
    return draw_outline(area, quantile(one.elongations, slimness), angle, draws=draws)


def _candidates(
    canvas: Canvas,
    kind: tuple[int, ClassStatistics],
    where: _Where,
    *,
    scale: float,
    draws: np.random.Generator,
) -> Floats:
    """Free places [K, 2]: beside nuclei of the class, around cluster centres, or anywhere."""
    number, one = kind
    shape = np.array(canvas.ids.shape)
    own = np.flatnonzero(np.array(canvas.classes, int) == number)
    if one.nearest is not None and len(own) and draws.uniform() < where.beside:
        around = np.array(canvas.centers)[draws.choice(own, _CANDIDATES)]
        distances = np.interp(draws.uniform(size=_CANDIDATES), LEVELS, one.nearest) * scale
        turns = draws.uniform(0, 2 * np.pi, _CANDIDATES)
        places = around + distances[:, None] * np.stack([np.sin(turns), np.cos(turns)], axis=1)
    elif where.centers is None or one.cluster is None:
        places = draws.uniform(size=(_CANDIDATES, 2)) * shape
    else:
        around = where.centers[draws.integers(len(where.centers), size=_CANDIDATES)]
        spread = one.cluster.radius * scale * draws.standard_normal((_CANDIDATES, 2))
        places = (around + spread) % shape
    places = places[((places >= 0) & (places < shape)).all(axis=1)]
    pixels = places.astype(int)
    return np.asarray(places[canvas.ids[pixels[:, 0], pixels[:, 1]] == 0])


def _rank(
    canvas: Canvas, places: Floats, affinity: Floats, draws: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Order of the places, likelier ones first, and the nearest nucleus of each."""
    if not canvas.centers:
        return np.arange(len(places)), None
    gaps = places[:, None] - np.array(canvas.centers)[None]
    nearest = (gaps**2).sum(axis=2).argmin(axis=1)
    weights = affinity[np.array(canvas.classes)[nearest]]
    # sorting by u^(1/w) draws without replacement with weights w
    return np.argsort(-(draws.uniform(size=len(places)) ** (1 / weights))), nearest


def _like(
    canvas: Canvas, kind: tuple[int, ClassStatistics], other: int | None, fresh: float
) -> float:
    """Score of the area, as far as nuclei of the class are like their neighbours."""
    number, one = kind
    if other is None or canvas.classes[other] != number:
        return fresh
    # nuclei that come later lie between the two: the root makes up for what that loses
    likeness = np.sign(one.likeness) * np.sqrt(abs(one.likeness))
    return float(likeness * canvas.scores[other] + np.sqrt(1 - likeness**2) * fresh)


def _turn(
    canvas: Canvas, one: ClassStatistics, other: int | None, draws: np.random.Generator
) -> float:
    """Angle, as far as the class lies parallel to its neighbours."""
    if other is None or one.alignment <= 0:
        return float(draws.uniform(0, np.pi))
    # mean cos of a wrapped normal: exp(-sigma^2 / 2)
    sigma = np.sqrt(-2 * np.log(min(one.alignment, 0.99)))
    return float(canvas.angles[other] + sigma * draws.standard_normal() / 2)


def _draw_classes(
    statistics: LayoutStatistics, pixels: float, draws: np.random.Generator
) -> list[str]:
    """Class of each nucleus, in random order."""
    row = statistics.compositions[draws.integers(len(statistics.compositions))]
    wanted: list[str] = []
    for name, density in sorted(row.items()):
        expected = density * pixels / MEGAPIXEL
        wanted += [name] * int(np.floor(expected + draws.uniform()))
    draws.shuffle(wanted)
    return wanted


def _draw_centers(
    one: ClassStatistics, shape: tuple[int, ...], scale: float, draws: np.random.Generator
) -> Floats | None:
    if one.cluster is None:
        return None
    expected = one.cluster.density * shape[0] * shape[1] / scale**2 / MEGAPIXEL
    return draws.uniform(size=(max(int(draws.poisson(expected)), 1), 2)) * shape


def _beside(seen: float, share: float) -> float:
    """The more, the oftener the nearest nucleus is of the same class beyond chance."""
    return _BESIDE if share > 0.99 else _BESIDE * max(seen - share, 0.0) / (1 - share)


def _affinity(neighbours: Mapping[str, float], mixed: Mapping[str, float]) -> Floats:
    """Weight of a place by the class of its nearest nucleus: seen over expected by chance."""
    weights = np.full(len(CLASSES), 1e-2)
    for name, share in mixed.items():
        seen = neighbours.get(name, 0.0)
        weights[CLASSES.index(name)] = max(seen / max(share, 1e-6), 1e-2)
    return weights


def _finish(
    canvas: Canvas,
    inner: tuple[slice, slice],
    statistics: LayoutStatistics,
    scale: float,
    lost: int,
) -> NucleiMask:
    ids = canvas.ids[inner]
    classes = np.array([0, *canvas.classes], np.uint8)[ids]
    numbers, compact = np.unique(ids, return_inverse=True)
    instances = compact.reshape(ids.shape) + (0 if numbers[0] == 0 else 1)
    mpp = None if statistics.mpp is None else statistics.mpp / scale
    skipped = {"found no place": lost} if lost else {}
    return NucleiMask(
        classes, instances.astype(np.int32), mpp, f"layout of {statistics.tissue}", (), skipped
    )


def _scale(statistics: LayoutStatistics, size: tuple[int, int], mpp: float | None) -> float:
    if len(size) != 2 or not all(16 <= side <= _MAX_SIDE for side in size):
        raise ConfigError(
            "size",
            came=str(size),
            allowed=f"height and width of 16 to {_MAX_SIDE} px",
            do="Choose another size.",
        )
    if mpp is None:
        return 1.0
    if statistics.mpp is None or not 0.05 <= mpp <= 20:
        raise ConfigError(
            "mpp",
            came=f"{mpp} for statistics at {statistics.mpp or 'unknown'} microns per pixel",
            allowed="0.05 to 20, with statistics of known resolution",
            do="Leave out mpp, or fit masks with their resolution.",
        )
    return statistics.mpp / mpp
