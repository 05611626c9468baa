"""Stain report: how much haematoxylin and eosin the tiles of each set hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.comparing.draws import Names, halve
from crafts.evaluation.diagnosing.appearance import optical_density, stain_amounts
from crafts.evaluation.results import StainRow

# haematoxylin and eosin in optical density (Ruifrok and Johnston 2001): the same for every set
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_TISSUE_DENSITY = 0.05
_LEAST_TISSUE = 0.01
_CENTRAL = (0.01, 0.99)
_LEAST = 10

Densities = NDArray[np.float64]
SetName = Literal["generated", "heldout", "train"]


@dataclass(frozen=True)
class Stained:
    """Densities of a sample of one set.

    Attributes:
        densities: [N, 3] as :func:`stain_densities` gives them.
        classes: [N].
        groups: [N].
    """

    densities: Densities
    classes: Names
    groups: Names


def stain_densities(tile: NDArray[np.uint8]) -> Densities:
    """Mean optical density of haematoxylin, eosin and the residual in one tile.

    Pixels count where the mean density of red, green and blue is above 0.05; a tile with less than
    1 % of such pixels is taken whole.

    Args:
        tile: uint8 [H, W, 3].

    Returns:
        [3].
    """
    density = optical_density(tile.reshape(-1, 3))
    tissue = density.mean(axis=1) > _TISSUE_DENSITY
    pixels = density[tissue] if tissue.mean() >= _LEAST_TISSUE else density
    return stain_amounts(pixels.mean(axis=0, dtype=np.float64), _STAINS)


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
