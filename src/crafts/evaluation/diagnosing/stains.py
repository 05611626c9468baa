"""Stain report: how much haematoxylin and eosin the tiles of each set hold.

The amounts are those that the diagnosis judges: of the mean colour of a tile, along the directions
that both stains have in the held-out tiles. So the report and the diagnosis cannot say two things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.results import StainCluster, StainRow
from crafts.sets.source import SetName
from crafts.sets.splits import Names, halve

_CENTRAL = (0.01, 0.99)
_LEAST = 10
_CLUSTERS = 3

CLUSTER_FIELD = "stain_cluster"
"""Field of a tile that holds its cluster; a slice like ``site``."""

Densities = NDArray[np.float64]


@dataclass(frozen=True)
class Stained:
    """Densities of a sample of one set.

    Attributes:
        densities: [N, 3] haematoxylin, eosin and what neither explains.
        classes: [N].
        groups: [N].
    """

    densities: Densities
    classes: Names
    groups: Names


def stain_rows(found: Mapping[SetName, Stained]) -> list[StainRow]:
    """Rows for each set over all, then for each class of it with at least 10 tiles.

    ``outside`` counts tiles beyond the central 98 % of the held-out tiles in haematoxylin or eosin;
    ``outside_expected`` is that share of one half of the held-out groups beyond the other half.

    Args:
        found: sets; ``heldout`` gives the range.
    """
    held = found["heldout"]
    low, high = _range(held.densities)
    expected = _expected(held)
    rows = []
    for name, one in found.items():
        parts: Sequence[str] = ["", *sorted(set(one.classes.tolist()) - {""})]
        for part in parts:
            densities = one.densities[one.classes == part] if part else one.densities
            if part and len(densities) < _LEAST:
                continue
            mean, spread = densities.mean(axis=0), densities.std(axis=0)
            rows.append(
                StainRow(
                    set=name, name=part, n=len(densities),
                    haematoxylin=mean[0], haematoxylin_sd=spread[0],
                    eosin=mean[1], eosin_sd=spread[1],
                    outside=_outside(densities, low, high),
                    outside_expected=None if part else expected,
                )
            )  # fmt: skip
    return rows


def cluster_stains(
    found: Mapping[SetName, Densities],
) -> tuple[list[StainCluster], dict[SetName, Names]]:
    """Three clusters of held-out tiles by haematoxylin and eosin, and that of every tile.

    k-means on densities divided by their deviation, seeded; clusters in the order of density. Other
    sets take no part: their tiles belong to the nearest centre.

    Args:
        found: densities [N, 3] of each set; ``heldout`` makes the clusters.

    Returns:
        The clusters and their names of every tile [N]; nothing below 60 held-out tiles or where
        they all look the same.
    """
    from sklearn.cluster import KMeans

    held = found["heldout"][:, :2]
    scale = held.std(axis=0)
    if len(held) < 2 * _LEAST * _CLUSTERS or not (scale > 0).all():
        return [], {}
    fitted = KMeans(_CLUSTERS, n_init=10, random_state=0).fit(held / scale)
    order = np.argsort(fitted.cluster_centers_.sum(axis=1))
    centres = fitted.cluster_centers_[order] * scale
    names = np.array([f"{k} (H {one:.2f}, E {two:.2f})" for k, (one, two) in enumerate(centres, 1)])
    place = np.argsort(order)
    numbers = {
        name: place[fitted.predict(one[:, :2] / scale)] if len(one) else np.empty(0, dtype=np.int64)
        for name, one in found.items()
    }
    clusters = [
        StainCluster(
            name=str(name), haematoxylin=float(one), eosin=float(two),
            shares={key: float((mine == k).mean()) for key, mine in numbers.items() if len(mine)},
        )
        for k, (name, (one, two)) in enumerate(zip(names, centres, strict=True))
    ]  # fmt: skip
    return clusters, {key: names[mine] for key, mine in numbers.items()}


def _range(densities: Densities) -> tuple[Densities, Densities]:
    low, high = np.quantile(densities[:, :2], _CENTRAL, axis=0)
    return low, high


def _outside(densities: Densities, low: Densities, high: Densities) -> float:
    two = densities[:, :2]
    return float(((two < low) | (two > high)).any(axis=1).mean())


def _expected(held: Stained) -> float | None:
    halves = halve(held.groups, held.classes, 0)
    if min(map(len, halves)) < _LEAST:
        return None
    ranges = [_range(held.densities[rows]) for rows in halves]
    shares = [_outside(held.densities[halves[k]], *ranges[1 - k]) for k in (0, 1)]
    return float(np.mean(shares))
