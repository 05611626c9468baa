"""Neighbours in the space of an encoder: authenticity and the neighbour ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.results import Threshold
from crafts.auditing.sets import Features
from crafts.measures.neighbors import Nearest, nearest

Array = NDArray[np.float64]
_TINY = 1e-6
QUANTILE, FEWEST = 0.999, 200


def authentic(to_train: Nearest, within_train: Nearest) -> NDArray[np.bool_]:
    """Authenticity of each generated tile (Alaa et al. 2022, section 3.3).

    A tile is a copy in this sense when it is nearer to its training neighbour than that neighbour
    is to any other training tile. Training tiles that overlap are near to each other and make the
    measure lenient; the figure of held-out tiles beside it shows by how much.

    Args:
        to_train: nearest training tile of each generated tile.
        within_train: nearest other training tile of each training tile.

    Returns:
        bool [N].
    """
    return to_train.distance > within_train.distance[to_train.index]


def neighbour_ratio(to_train: Nearest, to_heldout: Nearest) -> Array:
    """Distance to the nearest training tile over that to the nearest held-out tile [N].

    Small where a tile is much nearer to what the model saw than to what it did not; NaN where a
    tile has no held-out neighbour.
    """
    known = np.isfinite(to_heldout.distance)
    ratio = to_train.distance / np.maximum(np.where(known, to_heldout.distance, 1.0), _TINY)
    return np.where(known, ratio, np.nan)


@dataclass(frozen=True)
class Placed:
    """Where the tiles of one set stand among training and held-out tiles.

    Attributes:
        neighbours: nearest training tile of each row of the set's features.
        authentic: see :func:`authentic`, bool [N].
        ratio: see :func:`neighbour_ratio`, float64 [N]; None without held-out tiles.
    """

    neighbours: Nearest
    authentic: NDArray[np.bool_]
    ratio: Array | None


def place(
    generated: Features, train: Features, heldout: Features | None
) -> tuple[Placed, Placed | None]:
    """Place generated tiles, and held-out tiles in the same way as a measure of what is usual.

    A held-out tile has no neighbour among tiles of its own patient, where patients are named.

    Args:
        generated: features of the generated tiles.
        train: of the training tiles, at least two.
        heldout: of the held-out tiles, at least two, or None.
    """
    within = nearest(train.units, train.units, without_self=True)
    to_train = nearest(generated.units, train.units)
    if heldout is None:
        return Placed(to_train, authentic(to_train, within), None), None
    patients = heldout.patients()
    same = None if patients is None else (patients, patients)
    among = nearest(heldout.units, heldout.units, groups=same, without_self=True)
    of_heldout = nearest(heldout.units, train.units)
    return (
        Placed(
            to_train,
            authentic(to_train, within),
            neighbour_ratio(to_train, nearest(generated.units, heldout.units)),
        ),
        Placed(of_heldout, authentic(of_heldout, within), neighbour_ratio(of_heldout, among)),
    )


def ratio_limit(ratios: Array) -> Threshold | None:
    """Neighbour ratio below which a tile is near: the 0.1 % quantile of held-out tiles.

    Args:
        ratios: of held-out tiles that share no tissue with training tiles; fewer than 200 set no
            limit.
    """
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < FEWEST:
        return None
    limit = float(np.quantile(ratios, 1 - QUANTILE))
    return Threshold(value=limit, source="heldout", n=len(ratios), quantile=limit)
