"""All measures of one pair of sets, and their mean and spread over repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.results import Measured
from crafts.measures.distances import (
    cmmd,
    frechet_distance,
    frechet_infinity,
    frechet_is_meaningful,
    kernel_distance,
    normalised_frechet_distance,
)
from crafts.measures.neighbors import prdc_at, vendi_score
from crafts.measures.rows import Array, Generated, Real, check_pair

NEIGHBOURS = (3, 5)
"""The k of precision, recall, density and coverage."""

BY_FEATURES = (
    *("kernel_distance", "cmmd"),
    *(
        f"{name}_k{k}"
        for k in NEIGHBOURS
        for name in ("precision", "recall", "density", "coverage")
    ),
    *("vendi", "vendi_reference"),
)
"""Measures that need the features of single tiles."""


def compute_measures(
    reference: NDArray[np.float32], compared: NDArray[np.float32], *, seed: int
) -> dict[str, Measured]:
    """Every measure of two sets of equal size.

    Args:
        reference: features [N, D] of real tiles.
        compared: features [N, D] of the tiles to be judged.
        seed: of measures that draw subsets.

    Raises:
        DataError: as :func:`crafts.evaluation.frechet_distance`, or a row is zero.
    """
    first, second = check_pair(Real(reference), Generated(compared))
    distance, _ = kernel_distance(Real(first), Generated(second), seed=seed)
    return {
        **_frechet(first, second, seed),
        "kernel_distance": Measured(value=distance),
        "cmmd": Measured(value=cmmd(Real(first), Generated(second))),
        **_neighbours(first, second),
        "vendi": Measured(value=vendi_score(second)),
        "vendi_reference": Measured(value=vendi_score(first)),
    }


def summarise(
    repetitions: Sequence[dict[str, Measured]],
    kind: Literal["generations", "halvings", "none"],
) -> dict[str, Measured]:
    """Mean and (sample) standard deviation of each measure over repetitions.

    A measure that is missing once is missing: means over different repetitions do not compare.
    """
    found = {}
    for name in repetitions[0]:
        values = [one[name].value for one in repetitions]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            why = next(one[name].why for one in repetitions if one[name].value is None)
            found[name] = Measured(why=why)
            continue
        spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
        found[name] = Measured(
            value=float(np.mean(known)), spread=spread, kind="none" if spread is None else kind
        )
    return found


def _frechet(first: Array, second: Array, seed: int) -> dict[str, Measured]:
    """Fréchet distances; below 2 x D rows a covariance is mostly noise, and they are left out."""
    number, width = first.shape
    few = f"{number} images on each side, fewer than {{}} times the width of the features ({width})"
    found = {
        "frechet_distance": Measured(why=few.format("2")),
        "frechet_normalised": Measured(why=few.format("2")),
        "frechet_infinity": Measured(why=few.format("4")),
    }
    real, generated = Real(first), Generated(second)
    if frechet_is_meaningful(number, width):
        found["frechet_distance"] = Measured(value=frechet_distance(real, generated))
        found["frechet_normalised"] = Measured(value=normalised_frechet_distance(real, generated))
    if number >= 4 * width:
        value = frechet_infinity(real, generated, seed=seed)
        found["frechet_infinity"] = Measured(value=value)
    return found


def _neighbours(first: Array, second: Array) -> dict[str, Measured]:
    by_k = prdc_at(Real(first), Generated(second), ks=NEIGHBOURS)
    return {
        f"{name}_k{k}": Measured(value=value)
        for k, values in by_k.items()
        for name, value in values.items()
    }
