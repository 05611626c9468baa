"""The two sides of a diagnosis, generated and real: complete, by class, and tile by tile.

Classes are told by the nearest class mean of real tiles, own groups left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.imaging.stains import stain_amounts
from crafts.measures.appearance import COLUMNS
from crafts.measures.rows import Array, check_features, unit_rows
from crafts.sets.splits import Names, Rows

LEAST = 8
"""Tiles of a class on each side below which the class is left out."""
_NEIGHBORS = 5


@dataclass(frozen=True)
class Observed:
    """Tiles of one side, row for row.

    All pairs of a side are compared: pass a sample of a few thousand rows, which says as much as a
    million.

    Attributes:
        features: of the encoder [N, D]; no row zero.
        appearance: [N, 5] of :func:`crafts.measures.appearance.appearance`; None
            leaves blur, stains and compression unjudged.
        labels: class of each tile [N], of generated ones the class asked for, "" where unknown.
        groups: patient of each tile [N]; for generated tiles None, and for real ones without
            groups each its own.
        texts: features of each tile's own caption or prompt [N, D], or None.
        glands: scores of :func:`crafts.measures.glands.measure_glands` [N]; None leaves glands
            unjudged.
    """

    features: NDArray[Any]
    appearance: Array | None = None
    labels: Names | None = None
    groups: Names | None = None
    texts: NDArray[Any] | None = None
    glands: Array | None = None

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.features)


@dataclass(frozen=True)
class Side:
    """An :class:`Observed` that is checked and complete; rows and texts have length one."""

    rows: Array
    labels: Names
    groups: Names
    appearance: Array | None
    glands: Array | None
    texts: Array | None


def complete(side: Observed, name: str) -> Side:
    """Checked, with labels and groups filled in.

    Args:
        side: as it came.
        name: ``real`` or ``generated``, for messages.

    Raises:
        DataError: fewer than 16 rows, parts of other lengths, a row that is zero or not finite.
    """
    features = check_features(side.features, name, min_rows=16)
    num = len(features)
    for part, value in vars(side).items():
        if value is not None and len(value) != num:
            raise DataError(
                f"compute_evidence: {part} of {name}",
                came=f"{len(value)} rows",
                allowed=f"{num}, one for each tile",
                do="Pass all parts row for row.",
            )
    texts = None if side.texts is None else check_features(side.texts, f"texts of {name}")
    return Side(
        rows=unit_rows(features, name),
        labels=np.full(num, "") if side.labels is None else np.asarray(side.labels, dtype=str),
        groups=np.arange(num).astype(str) if side.groups is None else np.asarray(side.groups),
        appearance=side.appearance,
        glands=side.glands,
        texts=None if texts is None else unit_rows(texts, f"texts of {name}"),
    )


def class_weights(real: Side, generated: Side) -> dict[str, float]:
    """Weight of each class that both sides have enough of; all tiles as one class otherwise."""
    numbers = {
        str(name): min(int((real.labels == name).sum()), int((generated.labels == name).sum()))
        for name in np.unique(generated.labels)
        if name
    }
    numbers = {name: number for name, number in numbers.items() if number >= LEAST}
    if not numbers:
        return {"": 1.0}
    return {name: number / sum(numbers.values()) for name, number in numbers.items()}


def mean_appearance(side: Side, name: str) -> Array:
    """Mean appearance [5] of one class, "" for all tiles."""
    assert side.appearance is not None
    rows = side.appearance[side.labels == name] if name else side.appearance
    return np.asarray(rows.mean(axis=0))


def pull_of_own_text(images: Array, texts: Array) -> Array:
    """Cosine of each unit row with its own text less the mean over all texts [N]."""
    return np.asarray((images * texts).sum(axis=1) - images @ texts.mean(axis=0))


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


def rank_examples(real: Side, generated: Side, stains: Array) -> dict[str, Rows]:
    """Order the generated rows by how well they show each number.

    Args:
        real: the reference.
        generated: to be shown.
        stains: unit rows [2, 3] of hematoxylin and eosin.

    Returns:
        Name of the number -> rows, the most telling first.
    """
    one, two = real.rows, generated.rows
    cosine = two @ two.T
    np.fill_diagonal(cosine, -1)
    close = np.sort(cosine, axis=1)[:, -_NEIGHBORS:]
    scores = {
        "duplicates": -close[:, -1],
        "variety": -close.mean(axis=1),
        "distance": (two @ one.T).max(axis=1),
    }
    names = sorted(name for name in class_weights(real, generated) if name)
    if real.appearance is not None and generated.appearance is not None:
        scores |= _odd_looks(real, generated, names, stains)
    if generated.glands is not None:
        scores["glands"] = generated.glands
    if len(names) > 1:
        shown = two @ class_directions(one, real.labels, names).T
        asked = generated.labels[:, None] == np.array(names)
        own = np.where(asked, shown, -np.inf).max(axis=1)
        scores["agreement"] = np.where(asked.any(axis=1), own, np.inf) - shown.max(axis=1)
    if generated.texts is not None:
        scores["following"] = pull_of_own_text(two, generated.texts)
    return {name: np.argsort(values, kind="stable") for name, values in scores.items()}


def _odd_looks(real: Side, generated: Side, names: list[str], stains: Array) -> dict[str, Array]:
    """How each generated tile differs from the mean real tile of its class; lowest is oddest."""
    assert real.appearance is not None and generated.appearance is not None
    away = generated.appearance - mean_appearance(real, "")
    for name in names:
        rows = generated.labels == name
        away[rows] = generated.appearance[rows] - mean_appearance(real, name)
    amounts = stain_amounts(away[:, 2:], stains)
    return {
        "sharpness": away[:, COLUMNS.index("sharpness")],
        "blockiness": -away[:, COLUMNS.index("blockiness")],
        "hematoxylin": -np.abs(amounts[:, 0]),
        "eosin": amounts[:, 1],
        "hue": -np.abs(amounts[:, 2]),
    }
