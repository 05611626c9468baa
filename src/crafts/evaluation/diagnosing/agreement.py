"""Do tiles look like their class? By the nearest class mean of real tiles, own groups left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crafts.measures.rows import Array
from crafts.sets.splits import Names


def class_directions(rows: Array, labels: Names, names: Sequence[str]) -> Array:
    """Unit direction of each class, seen from the mean of all classes.

    Args:
        rows: unit features [N, D].
        labels: [N].
        names: K classes, each with a row.

    Returns:
        [K, D].
    """
    return _directions(np.stack([rows[labels == name].mean(axis=0) for name in names]))


def scores_without_own(rows: Array, labels: Names, groups: Names, names: Sequence[str]) -> Array:
    """Scores of real tiles on directions that are taken without the tile's own group.

    Args:
        rows: unit features [N, D].
        labels: [N].
        groups: [N] patients.
        names: K classes. A class of a single group has no other tiles and keeps its own.

    Returns:
        [N, K], to be compared with ``rows @ class_directions(...).T`` of tiles of no group.
    """
    scores = np.zeros((len(rows), len(names)))
    for group in np.unique(groups):
        own = groups == group
        means = []
        for name in names:
            others = (labels == name) & ~own
            means.append(rows[others if others.any() else labels == name].mean(axis=0))
        scores[own] = rows[own] @ _directions(np.stack(means)).T
    return scores


def shares(scores: Array, labels: Names, names: Sequence[str]) -> Array:
    """Share of the tiles of each class (row) that look most like each class (column) [K, K].

    Args:
        scores: of each tile for each class, [N, K].
        labels: class of each tile, [N].
        names: the K classes; each has a tile.
    """
    guess = scores.argmax(axis=1)
    counts = [np.bincount(guess[labels == name], minlength=len(names)) for name in names]
    return np.stack([count / count.sum() for count in counts])


def compare_classes(
    real: Array, generated: Array, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """By how much fewer generated tiles show their class, and what they show more often.

    Args:
        real: [K, K] of :func:`shares`.
        generated: [K, K].
        names: K classes.

    Returns:
        Class -> real less generated share of tiles that look like it; class -> other class ->
        generated less real share.
    """
    more = generated - real
    drops = {name: float(-more[k, k]) for k, name in enumerate(names)}
    shown = {
        name: {other: float(more[k, j]) for j, other in enumerate(names) if j != k}
        for k, name in enumerate(names)
    }
    return drops, shown


def _directions(means: Array) -> Array:
    centred = means - means.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(min=1e-12))
