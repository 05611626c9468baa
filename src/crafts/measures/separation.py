"""Do classes stay apart in feature space?

Both figures are silhouettes with the cosine distance, on the features and on a t-SNE map of fixed
settings. On the features all rows count; a map is drawn of at most 5,000 rows, a stratified subset
that a seed decides, and every result says of how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crafts.core.errors import ConfigError, DataError
from crafts.measures.rows import Array, Features, check_features, unit_rows

Space = Literal["embedding", "tsne"]
Labels = Sequence[Any] | NDArray[Any]

MAP_ROWS = 5_000
"""Rows of a t-SNE map, at most."""

_PERPLEXITY = 30.0
_SHUFFLES = 20


@dataclass(frozen=True)
class Separation:
    """Silhouettes of a set and of its classes, in percent (-100 to 100).

    Attributes:
        overall: mean over all rows that were used.
        per_class: mean over the rows of each class, by the class's name.
        floor: mean of ``overall`` over 20 shufflings of the labels: what no separation looks like.
        num_rows: rows that were used.
        of_rows: rows that were given.
    """

    overall: float
    per_class: Mapping[str, float]
    floor: float
    num_rows: int
    of_rows: int


def separation(
    features: Features, labels: Labels, *, on: Space = "embedding", seed: int = 0
) -> float:
    """Mean silhouette coefficient with the cosine distance, in percent (-100 to 100).

    Args:
        features: [N, D].
        labels: N class labels, at least two classes and fewer than N.
        on: the features themselves, or a two-dimensional t-SNE map of them (:func:`tsne_map`) with
            at most 5,000 stratified rows. A map flatters and depends on N: report both.
        seed: of the t-SNE and of its rows; the embedding needs none.

    Raises:
        DataError: labels and rows differ in number, or the classes do not allow a silhouette.
        ConfigError: ``on`` is neither word.
    """
    points, classes, _ = _placed(features, labels, on, seed, MAP_ROWS)
    return float(silhouettes(points, classes).mean())


def separation_by_class(
    features: Features,
    labels: Labels,
    *,
    on: Space = "embedding",
    seed: int = 0,
    max_rows: int = MAP_ROWS,
) -> Separation:
    """:func:`separation`, of each class as well, with its floor and the rows it rests on.

    Args:
        features: as :func:`separation`.
        labels: as :func:`separation`.
        on: as :func:`separation`.
        seed: as :func:`separation`, and of the shufflings.
        max_rows: rows of a map, at most.

    Raises:
        DataError: as :func:`separation`.
        ConfigError: as :func:`separation`.
    """
    points, classes, total = _placed(features, labels, on, seed, max_rows)
    values = silhouettes(points, classes)
    return Separation(
        overall=float(values.mean()),
        per_class={str(one): float(values[classes == one].mean()) for one in np.unique(classes)},
        floor=shuffled_separation(points, classes, seed=seed),
        num_rows=len(points),
        of_rows=total,
    )


def shuffled_separation(points: ArrayLike, labels: Labels, *, seed: int = 0) -> float:
    """Mean silhouette in percent over 20 seeded shufflings of the labels: the floor.

    Args:
        points: features or a map [N, D].
        labels: as :func:`separation`.
        seed: of the shufflings.

    Raises:
        DataError: as :func:`separation`.
    """
    rng = np.random.default_rng(seed)
    return float(
        np.mean([silhouettes(points, rng.permutation(labels)).mean() for _ in range(_SHUFFLES)])
    )


def silhouettes(points: ArrayLike, labels: Labels) -> Array:
    """Silhouette coefficient [N] of each row with the cosine distance, in percent.

    Rousseeuw 1987: (b - a) / max(a, b), a the mean distance to the own class, b the smallest mean
    distance to another one; 0 in a class of one row. A mean cosine is a product with a mean row,
    which makes this exact in O(N K D), where all pairs would take O(N² D).

    Args:
        points: features or a map [N, D]. A row of zeros is at distance 1 of all others.
        labels: as :func:`separation`.

    Raises:
        DataError: as :func:`separation`.
    """
    rows = check_features(points, "features", min_rows=3)
    _, own, number = _classes(labels, len(rows))
    unit = unit_rows(rows)
    sums = np.stack([unit[own == one].sum(axis=0) for one in range(len(number))])
    cosine = unit @ sums.T  # [N, K], summed over each class
    at, same = np.arange(len(rows)), number[own]
    itself = (unit**2).sum(axis=1)
    within = 1 - (cosine[at, own] - itself) / np.maximum(same - 1, 1)
    other = 1 - cosine / number
    other[at, own] = np.inf
    nearest = other.min(axis=1)
    larger = np.maximum(within, nearest)
    defined = (same > 1) & (larger > 1e-12)  # rows that all point one way: rounding only
    values = np.divide(nearest - within, larger, out=np.zeros(len(rows)), where=defined)
    return np.asarray(100 * values)


def tsne_map(features: Features, *, seed: int = 0) -> NDArray[np.float32]:
    """Two-dimensional t-SNE map [N, 2] with fixed settings.

    scikit-learn's, started from principal components, perplexity 30 (a third of the set where that
    is less), Euclidean, 1,000 iterations, the library's own learning rate.

    Args:
        features: [N, D], N of at least 3.
        seed: of the map.

    Raises:
        DataError: not [rows, D], or values are not finite.
    """
    from sklearn.manifold import TSNE

    points = check_features(features, "features", min_rows=3)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    build = TSNE(2, perplexity=perplexity, init="pca", max_iter=1000, random_state=seed)
    return np.asarray(build.fit_transform(points))


def stratified_rows(labels: Labels, num: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Indices, sorted, of at most ``num`` rows with the classes in proportion, at least 2 of each.

    Args:
        labels: N class labels.
        num: rows wanted. All where there are no more; slightly more or fewer by rounding.
        seed: of the draw within each class.
    """
    classes = np.asarray(labels)
    if len(classes) <= num:
        return np.arange(len(classes))
    rng = np.random.default_rng(seed)
    chosen = []
    for name in np.unique(classes):
        members = np.flatnonzero(classes == name)
        share = max(2, round(num * len(members) / len(classes)))
        chosen.append(rng.choice(members, min(share, len(members)), replace=False))
    return np.sort(np.concatenate(chosen))


def _placed(
    features: Features, labels: Labels, on: Space, seed: int, max_rows: int
) -> tuple[Array, NDArray[Any], int]:
    """Points in the space that was asked for, their labels, and how many rows there were."""
    points = check_features(features, "features", min_rows=3)
    classes, _, _ = _classes(labels, len(points))
    if on == "embedding":
        return points, classes, len(points)
    if on != "tsne":
        raise ConfigError(
            "separation: on", came=repr(on), allowed="embedding or tsne", do="Correct the word."
        )
    rows = stratified_rows(classes, max_rows, seed=seed)
    return tsne_map(points[rows], seed=seed).astype(np.float64), classes[rows], len(points)


def _classes(
    labels: Labels, rows: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Labels [N], the class of each as a number [N], and rows of each class [K]."""
    classes = np.asarray(labels)
    if classes.shape != (rows,):
        raise DataError(
            "separation: labels",
            came=f"shape {list(classes.shape)}",
            allowed=f"[{rows}], one a row",
            do="Pass one label for each row of features.",
        )
    names, own, number = np.unique(classes, return_inverse=True, return_counts=True)
    if not 2 <= len(names) < rows:
        raise DataError(
            "separation: labels",
            came=f"{len(names)} classes in {rows} rows",
            allowed="at least two classes, and fewer than rows",
            do="Add images or classes.",
        )
    return classes, own, number
