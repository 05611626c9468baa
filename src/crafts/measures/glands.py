"""Glands by their plan: a pale lumen with a ring of nuclei around it. No network, no scale.

Everything is measured in shares of the tile, so that fields of any size and unknown microns per
pixel do. A tile is brought to 128 px on its shorter side; nuclei are where much red light is taken
(hematoxylin takes it, eosin hardly); lumens are pale parts that lie inside of the tile. Around each
lumen the band in which nuclei lie most densely is its ring, and a weighted sum of seven facts on
both says how much that looks like a gland.

The weights were fitted by logistic regression on half of the patients of colon, prostate and other
tissues, and the threshold set there; ``bench/glands.py`` makes both and prints what
the other half gives, which docs/results/glands.md holds (AUC 0.87). It is a coarse measure for sets
of tiles, not for one: it finds a half of the tiles with glands, misses most of carcinoma, and takes
some alveoli, vessels and fat cells for glands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from crafts.imaging.grey import Images, check_images
from crafts.imaging.stains import optical_density

Array = NDArray[np.float64]

GLAND = 0.0
"""Score from which on a tile shows a gland."""

_NONE = -10.0  # score of a tile without any lumen
_SIDE = 128  # pixels of the shorter side
_LEVELS = ((0.35, 1.0), (0.6, 1.0), (0.6, 2.5))  # paleness between glass and tissue; smoothing, px
_PALEST, _TISSUE = 1, 60  # percentiles of the density that stand for glass and for tissue
_LEAST_DENSITY = 0.3  # above it nothing is pale, whatever the tile
_NUCLEUS = 0.12  # least density of red light in a nucleus
_OPENING = 2  # pixels; clefts narrower than twice this are no lumens
_AREAS = 40, 0.35  # pixels of the smallest lumen, share of the tile of the largest
_OPEN = 0.5  # share of the outline (of a circle of its area) at which a lumen leaves the tile
_BANDS = 14  # of one pixel around a lumen
_RING = 3  # bands of the ring
_INNERMOST = 9  # first bands at which a ring may begin
_ROOM = 6  # pixels that a ring must have
_REACH = 4  # bands from the beginning of the ring that belong to its wall


class Lumens(NamedTuple):
    """Lumens of one tile [L].

    Attributes:
        scores: above :data:`GLAND` for those of glands.
        areas: share of the tile's area.
        levels: at which it was found; a lumen may come once at each.
        facts: [L, 7], see :data:`FACTS`.
    """

    scores: Array
    areas: Array
    levels: NDArray[np.int64]
    facts: Array


FACTS = ("area", "above", "peak", "ring", "before", "contrast", "inside")
"""Columns of ``Lumens.facts``: logarithm of the share of the tile's area; density of nuclei in the
ring above that of the whole tile; the same itself; bands between lumen and ring; density of nuclei
there; density of the wall above that of the lumen, over the deviation of the tile; red density of
the lumen over that of nuclei."""

WEIGHTS = np.array([0.77, 5.4, 4.2, 0.29, -5.03, 1.18, -4.25])
"""Of the facts, in log odds."""

BIAS = -4.23
"""Puts the threshold at 0, where 7 of 100 tiles without glands show one (first half)."""


@dataclass(frozen=True)
class Glands:
    """What tiles [N] show of glands.

    Attributes:
        scores: of the lumen that looks most like that of a gland, in log odds less the threshold;
            at least :data:`GLAND` where a tile shows a gland, -10 without any lumen.
        lumens: how many lumens of glands.
        shares: of the tile's area that they take.
    """

    scores: Array
    lumens: NDArray[np.int64]
    shares: Array


def measure_glands(images: Images) -> Glands:
    """Look for glands in tiles of any size, stain and scale.

    Args:
        images: uint8 [N, H, W, 3]. A pure function of each tile's pixels; about 20 ms a tile.

    Returns:
        Scores, numbers and areas of lumens, [N] each. A tile shows a gland where
        ``scores >= GLAND``.

    Raises:
        DataError: no uint8 [N, H, W, 3].
    """
    return join_glands([_of_tile(find_lumens(tile)) for tile in check_images(images)])


def join_glands(parts: Sequence[Glands]) -> Glands:
    """Several sets of tiles, one after the other."""
    empty = Glands(np.empty(0), np.empty(0, np.int64), np.empty(0))
    every = [empty, *parts]
    return Glands(
        np.concatenate([one.scores for one in every]),
        np.concatenate([one.lumens for one in every]),
        np.concatenate([one.shares for one in every]),
    )


def find_lumens(tile: NDArray[np.uint8]) -> Lumens:
    """Pale parts of one tile, each with what lies around it.

    They are looked for at three levels of paleness and smoothness: glands hold air, pale mucin, or
    a secretion with walls of cells in it.

    Args:
        tile: uint8 [H, W, 3].
    """
    density = optical_density(_resized(tile))
    red = ndimage.gaussian_filter(density[..., 0].astype(float), 0.7)
    threshold = max(_otsu(red), _NUCLEUS)
    mean = density.mean(axis=-1, dtype=float)
    facts, levels = [np.empty((0, len(FACTS)))], [np.empty(0, np.int64)]
    for number, (level, smoothing) in enumerate(_LEVELS):
        if (labels := _pale_parts(mean, level, smoothing)).any():
            facts.append(_facts(labels, mean, red / threshold))
            levels.append(np.full(len(facts[-1]), number))
    every = np.concatenate(facts)
    scores = every @ WEIGHTS + BIAS
    return Lumens(scores, np.exp(every[:, 0]), np.concatenate(levels), every)


def _of_tile(found: Lumens) -> Glands:
    """The best score, and the glands of the level that shows most of them."""
    glands = found.scores >= GLAND
    counts = np.bincount(found.levels[glands], minlength=len(_LEVELS))
    shown = glands & (found.levels == counts.argmax())
    return Glands(
        np.array([float(found.scores.max(initial=_NONE))]),
        np.array([int(shown.sum())]),
        np.array([float(found.areas[shown].sum())]),
    )


def _resized(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The tile with a shorter side of 128 px."""
    height, width = tile.shape[:2]
    factor = _SIDE / min(height, width)
    size = max(_SIDE, round(width * factor)), max(_SIDE, round(height * factor))
    kind = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(tile).resize(size, kind))


def _pale_parts(mean: Array, level: float, smoothing: float) -> NDArray[np.int64]:
    """Lumens of one level, numbered from 1 [H, W]."""
    smooth = ndimage.gaussian_filter(mean, smoothing)
    palest, tissue = np.percentile(ndimage.gaussian_filter(mean, 1.0), (_PALEST, _TISSUE))
    pale = smooth < min(palest + level * (tissue - palest), _LEAST_DENSITY)
    rows, columns = np.mgrid[-_OPENING : _OPENING + 1, -_OPENING : _OPENING + 1]
    labels, _ = ndimage.label(ndimage.binary_opening(pale, rows**2 + columns**2 <= _OPENING**2))
    areas = np.bincount(labels.ravel())
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    touching = np.bincount(border, minlength=len(areas))
    keep = (areas >= _AREAS[0]) & (areas <= _AREAS[1] * labels.size)
    keep &= touching <= _OPEN * 2 * np.sqrt(np.pi * areas)
    keep[0] = False
    return np.asarray((np.cumsum(keep) * keep)[labels])


def _facts(labels: NDArray[np.int64], mean: Array, red: Array) -> Array:
    """The facts [L, 7] of numbered lumens; ``red`` is 1 at the threshold of nuclei."""
    number, nuclei = int(labels.max()), red > 1
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    own = labels[tuple(nearest)] - 1
    band = np.minimum(np.ceil(distance).astype(int), _BANDS + 1)

    def sums(values: Any) -> Array:
        """Sums over the bands of each lumen [L, B]; band 0 is the lumen."""
        code = (own * (_BANDS + 2) + band).ravel()
        shape = number, _BANDS + 2
        flat = np.bincount(code, np.broadcast_to(values, own.shape).ravel(), shape[0] * shape[1])
        return np.asarray(flat.reshape(shape)[:, : _BANDS + 1], dtype=np.float64)

    pixels, dark, dense, blue = sums(1.0), sums(nuclei), sums(mean), sums(red)
    start, peak = _rings(pixels[:, 1:], dark[:, 1:])
    columns = np.arange(_BANDS)
    inner = columns < start[:, None]
    wall = columns < start[:, None] + _REACH
    areas = pixels[:, 0]
    before = _ratio((dark[:, 1:] * inner).sum(1), (pixels[:, 1:] * inner).sum(1))
    walls = _ratio((dense[:, 1:] * wall).sum(1), (pixels[:, 1:] * wall).sum(1))
    spread = max(float(ndimage.gaussian_filter(mean, 1.0).std()), 0.02)
    return np.stack(
        [
            np.log(areas / labels.size),
            peak - nuclei.mean(),
            peak,
            start,
            before,
            (walls - dense[:, 0] / areas) / spread,
            blue[:, 0] / areas,
        ],
        axis=1,
    )


def _rings(pixels: Array, dark: Array) -> tuple[NDArray[np.int64], Array]:
    """First band and density of nuclei of the densest ring of three bands, for each lumen."""
    room, filled = (
        np.lib.stride_tricks.sliding_window_view(values, _RING, axis=1).sum(axis=-1)
        for values in (pixels, dark)
    )
    density = np.where(room >= _ROOM, _ratio(filled, room), 0.0)[:, :_INNERMOST]
    start = density.argmax(axis=1)
    return start, density[np.arange(len(start)), start]


def _ratio(above: Any, below: Any) -> Array:
    return np.asarray(above / np.maximum(below, 1))


def _otsu(values: Array) -> float:
    """The threshold that parts values best in two (Otsu 1979), of 128 bins."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * middles) / counts.sum()
    between = (mean[-1] * weight - mean) ** 2 / np.maximum(weight * (1 - weight), 1e-9)
    return float(middles[between.argmax()])
