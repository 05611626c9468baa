"""What generated tiles show beside real ones, and what real halves show beside each other.

Every number is taken twice in the same way: generated tiles against real ones, and one half of the
real groups against the other, several times. What the halves show is what chance, patients and
stains do alone; :mod:`crafts.evaluation.diagnosis.causes` judges the first beside the second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.diagnosis.sides import (
    Observed,
    Side,
    class_directions,
    class_weights,
    compare_classes,
    complete,
    mean_appearance,
    pull_of_own_text,
    rank_examples,
    scores_without_own,
    shares,
)
from crafts.imaging.stains import stain_amounts
from crafts.measures.distances import kernel_distance
from crafts.measures.glands import GLAND
from crafts.measures.intervals import widen_for_few
from crafts.measures.neighbors import prdc
from crafts.measures.rows import Array
from crafts.sets.splits import Names, Rows, halve, pick

LEAST_GROUPS = {"agreement": 5, "following": 5}
"""Real groups of a class below which its number is left out: a few patients differ too much."""

_LOOKS_GROUPS = 10  # for all others

_NEIGHBORS = 5
_SAME = 0.05  # of the distance between real neighbours: the same picture, perhaps saved again


@dataclass(frozen=True)
class Contrast:
    """One number of the generated tiles beside the same number of real halves.

    Attributes:
        value: generated against real.
        centre: mean over real halves, one against the other.
        noise: standard deviation over real halves, brought to the whole (a half has half the
            groups, hence √2 the noise) and widened for few groups; 0 without halves.
    """

    value: float
    centre: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """All numbers from which causes are named.

    Attributes:
        overall: name -> number, classes weighted alike on both sides; see :func:`compute_evidence`.
        classes: class -> name -> number, of classes with
            :data:`~crafts.evaluation.diagnosis.sides.LEAST` tiles on both sides.
        shown: class asked for -> class shown instead -> share of its tiles above that of real ones.
        by_number: name -> rows of the generated tiles, the most telling first.
        num_real: tiles.
        num_generated: tiles.
        labels: class asked for of each generated tile [N], "" where unknown.
        halves: pairs of real halves that were measured; 0: no number has anything beside it.
    """

    overall: Mapping[str, Contrast]
    classes: Mapping[str, Mapping[str, Contrast]]
    shown: Mapping[str, Mapping[str, float]]
    by_number: Mapping[str, Rows]
    num_real: int
    num_generated: int
    labels: Names
    halves: int = 0

    def without(self, names: Collection[str]) -> Evidence:
        """The same without some numbers."""
        return replace(
            self,
            overall={name: one for name, one in self.overall.items() if name not in names},
            classes={
                key: {name: one for name, one in numbers.items() if name not in names}
                for key, numbers in self.classes.items()
            },
        )

    def examples(self, name: str, scope: str, num: int) -> tuple[int, ...]:
        """Rows of the generated tiles that show a number best, of one class unless it is ""."""
        rows = self.by_number.get(name, np.empty(0, np.int64))
        return tuple(int(row) for row in rows if scope in ("", self.labels[row]))[:num]


def compute_evidence(
    real: Observed, generated: Observed, *, stains: Array, halvings: int = 10, seed: int = 0
) -> Evidence:
    """Measure generated tiles beside real ones, and real halves beside each other.

    The numbers, as far as the two sides allow, are
    ``sharpness`` and ``blockiness``: difference of the means (generated less real, logarithms);
    ``eosin`` and ``hematoxylin``: logarithm of the ratio of the mean amounts;
    ``hue``: change of the optical density at right angles to both stains, over the real density;
    ``glands``: difference of the shares of tiles that show a gland (generated less real), mean over
    classes;
    ``duplicates``: share of generated tiles that lie next to another one closer than a twentieth
    of what real neighbours of two groups do;
    ``variety``: difference of the mean logarithms of the distance to the third neighbour in the
    own set, at equal numbers, mean over classes;
    ``coverage``: share of real neighbourhoods that hold a generated tile (k = 5);
    ``distance``: kernel distance of unit rows times the root of their width;
    ``agreement``: by how much the share of tiles that lie nearest to the mean of their own class
    falls below that of real tiles;
    ``following``: how much nearer tiles lie to their own prompts than to those of others, over the
    same for real tiles and captions, less 1: 0 like real tiles, -1 for prompts that are ignored.

    Args:
        real: tiles nobody trained on, of several groups.
        generated: tiles to be judged.
        stains: unit rows [2, 3] of hematoxylin and eosin in the real tiles.
        halvings: of the real groups.
        seed: of halvings and subsamples.

    Raises:
        DataError: fewer than 16 tiles on a side, or parts of a side differ in length.
    """
    held, made = complete(real, "real"), complete(generated, "generated")
    overall, classes, shown = _numbers(held, made, stains, seed)
    found: list[tuple[dict[str, float], _Classes]] = []
    for number in range(halvings):
        one, two = (pick(held, rows) for rows in halve(held.groups, held.labels, seed + number))
        if min(len(one.rows), len(two.rows)) > 2 * _NEIGHBORS:
            found += [
                _numbers(first, second, stains, seed, halves=True)[:2]
                for first, second in ((one, two), (two, one))
            ]
    return Evidence(
        overall=_beside(
            overall, [values for values, _ in found], _freedom(held.groups, max(len(classes), 1))
        ),
        classes={
            name: _beside(
                _trusted(values, held.groups[held.labels == name]),
                [parts[name] for _, parts in found if name in parts],
                _freedom(held.groups[held.labels == name], 1),
            )
            for name, values in classes.items()
        },
        shown=shown,
        by_number=rank_examples(held, made, stains),
        num_real=len(real),
        num_generated=len(generated),
        labels=made.labels,
        halves=len(found),
    )


_Classes = dict[str, dict[str, float]]


def _numbers(
    real: Side, generated: Side, stains: Array, seed: int, *, halves: bool = False
) -> tuple[dict[str, float], _Classes, _Classes]:
    """Numbers over all, class by class, and which classes are shown instead of others."""
    weights = class_weights(real, generated)
    classes: _Classes = {name: {} for name in weights if name}
    pairs = [(real.labels == name, generated.labels == name) for name in classes]
    overall = _sets(real, generated, pairs, seed)
    if real.appearance is not None and generated.appearance is not None:
        looks = {
            name: _looks(mean_appearance(real, name), mean_appearance(generated, name), stains)
            for name in weights
        }
        overall |= _common(looks, weights, halves=halves)
        for name in classes:
            classes[name] |= looks[name]
    if real.glands is not None and generated.glands is not None:
        lost = {name: _glands(generated, name) - _glands(real, name) for name in weights}
        overall["glands"] = sum(weights[name] * value for name, value in lost.items())
        for name in classes:
            classes[name]["glands"] = lost[name]
    shown: _Classes = {}
    if len(classes) > 1:
        drops, shown = _agreement(real, generated, sorted(classes))
        overall["agreement"] = float(np.mean(list(drops.values())))
        for name, drop in drops.items():
            classes[name]["agreement"] = drop
    if real.texts is not None and generated.texts is not None:
        near, far = (
            pull_of_own_text(real.rows, real.texts),
            pull_of_own_text(generated.rows, generated.texts),
        )
        overall["following"] = _ratio(far, near)
        for name, (a, b) in zip(classes, pairs, strict=True):
            classes[name]["following"] = _ratio(far[b], near[a])
    return overall, classes, shown


def _glands(side: Side, name: str) -> float:
    """Share of the tiles of one class that show a gland, "" for all tiles."""
    assert side.glands is not None
    scores = side.glands[side.labels == name] if name else side.glands
    return float((scores >= GLAND).mean())


def _agreement(real: Side, generated: Side, names: list[str]) -> tuple[dict[str, float], _Classes]:
    before = scores_without_own(real.rows, real.labels, real.groups, names)
    after = generated.rows @ class_directions(real.rows, real.labels, names).T
    return compare_classes(
        shares(before, real.labels, names), shares(after, generated.labels, names), names
    )


def _ratio(above: Array, below: Array) -> float:
    """Mean over mean, less 1; no number where real tiles do not follow their captions either."""
    return float(above.mean() / below.mean()) - 1 if below.mean() > 0 else float("nan")


def _looks(real: Array, generated: Array, stains: Array) -> dict[str, float]:
    """Sharpness, blockiness and stains from the mean appearance [5] of both sides."""
    before, after = real[2:], generated[2:]
    total = float(np.linalg.norm(before))
    # a set without a stain has no ratio: a fiftieth of the density counts as none
    was, now = (stain_amounts(one, stains)[:2].clip(min=total / 50) for one in (before, after))
    hematoxylin, eosin = np.log(now / was)
    return {
        "sharpness": float(generated[0] - real[0]),
        # below 0 the grid is smoother than the rest, as blocks off the grid leave it: no blocks
        "blockiness": float(max(generated[1], 0.0) - max(real[1], 0.0)),
        "hematoxylin": float(hematoxylin),
        "eosin": float(eosin),
        "hue": float(stain_amounts(after - before, stains)[2] / total),
    }


def _common(
    looks: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], *, halves: bool
) -> dict[str, float]:
    """What all classes share: the mean or the median over classes, whichever says less.

    One class that shows another moves the mean but not the median; classes that are exchanged move
    the median but not the mean; what spoils all tiles moves both. Real halves give the mean: the
    lesser of two would make their noise look small.
    """
    found = {}
    for name in next(iter(looks.values())):
        values = {key: one[name] for key, one in looks.items()}
        mean = sum(weights[key] * value for key, value in values.items())
        middle = float(np.median(list(values.values())))
        less = min(mean, middle, key=abs) if mean * middle > 0 else 0.0
        found[name] = mean if halves else less
    return found


def _sets(
    real: Side,
    generated: Side,
    pairs: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    seed: int,
) -> dict[str, float]:
    """Duplicates, variety, coverage and distance of the features; ``pairs`` of masks of classes."""
    one, two = real.rows, generated.rows
    first, second = _equal(one, two, seed)
    varieties = [_variety(one[a], two[b], seed) for a, b in pairs] or [_variety(one, two, seed)]
    scale = np.sqrt(one.shape[1])  # so that the kernel has no scale of its own
    return {
        "duplicates": float((_nearest(two) < _SAME * _neighborhood(one, real.groups)).mean()),
        "variety": float(np.mean(varieties)),
        "coverage": prdc(first, second, k=_NEIGHBORS)["coverage"],
        "distance": kernel_distance(
            scale * one, scale * two, num_subsets=1, subset_size=len(first), seed=seed
        )[0],
    }


def _variety(real: Array, generated: Array, seed: int) -> float:
    """How far apart near neighbours lie: mean logarithm of the distance to the third nearest.

    In one class a Vendi score hardly moves, because all its tiles point one way; this does.
    """
    first, second = (_nearest(rows, 3).clip(min=1e-3) for rows in _equal(real, generated, seed))
    return float(np.log(second).mean() - np.log(first).mean())


def _equal(real: Array, generated: Array, seed: int) -> tuple[Array, Array]:
    """As many rows of either side."""
    size, rng = min(len(real), len(generated)), np.random.default_rng(seed)
    one, two = (rows[np.sort(rng.permutation(len(rows))[:size])] for rows in (real, generated))
    return one, two


def _nearest(rows: Array, k: int = 1) -> Array:
    """Distance of each unit row to its k-th nearest neighbour in the set [N]."""
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -2)
    return np.sqrt((2 - 2 * np.partition(cosine, -k, axis=1)[:, -k]).clip(min=0))


def _neighborhood(rows: Array, groups: Names) -> float:
    """Median distance of a unit row to the nearest of another group; 0 within one group."""
    cosine = np.where(groups[:, None] == groups[None], -np.inf, rows @ rows.T)
    best = cosine.max(axis=1)
    return (
        float(np.median(np.sqrt((2 - 2 * best[np.isfinite(best)]).clip(min=0))))
        if (np.isfinite(best).any())
        else 0.0
    )


def _trusted(values: dict[str, float], groups: Names) -> dict[str, float]:
    """Numbers of one class for which it has enough real groups."""
    num = len(np.unique(groups))
    return {name: v for name, v in values.items() if num >= LEAST_GROUPS.get(name, _LOOKS_GROUPS)}


def _freedom(groups: Names, classes: int) -> int:
    """Degrees of freedom of a deviation between the groups of some classes."""
    return max(len(np.unique(groups)) - classes, 1)


def _beside(
    values: dict[str, float], halves: list[dict[str, float]], freedom: int
) -> dict[str, Contrast]:
    wider = widen_for_few(freedom, 3)  # three deviations of few groups mean less than of many
    found = {}
    for name, value in values.items():
        if not np.isfinite(value):
            continue
        known = [half[name] for half in halves if np.isfinite(half.get(name, np.nan))]
        centre, noise = (np.mean(known), np.std(known) / np.sqrt(2)) if known else (0.0, 0.0)
        found[name] = Contrast(value, float(centre), wider * float(noise))
    return found
