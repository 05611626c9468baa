"""Rows against a file of reference statistics, in place of a folder of held-out tiles.

The file says what its mean and covariance can say, and what the features kept beside them can. No
half of the held-out groups is there to be compared with the other: such rows have no floor, unless
training tiles take its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.core.runtime import seed_from
from crafts.evaluation.compare import (
    BY_FEATURES,
    LEAST,
    TITLES,
    Compared,
    Features,
    Repetitions,
    RowKey,
    compute_measures,
    mean_and_spread,
)
from crafts.evaluation.results import Comparison, Measured
from crafts.measures.distances import (
    frechet_from_moments,
    frechet_infinity,
    frechet_is_meaningful,
    moments,
)
from crafts.measures.rows import Generated, Real
from crafts.measures.statistics import ReferenceStatistics, supports_frechet
from crafts.measures.variety import vendi_score
from crafts.sets.described import Sets
from crafts.sets.splits import Rows

NOT_COMPARED = {
    "class: all": "statistics hold the tiles of all classes together",
    "slice: all": "statistics hold the tiles of all sites and stains together",
}
"""Scopes that have no row against statistics, with the reason."""

_SAME_EITHER_WAY = ("frechet_distance", "kernel_distance", "cmmd")


def compare_with_statistics(
    sets: Sets, statistics: ReferenceStatistics, plan: Repetitions
) -> Compared:
    """Rows over all, with equal numbers on the side that is compared.

    Args:
        sets: generated and perhaps training tiles; the held-out set is empty.
        statistics: of held-out tiles, by the same encoder.
        plan: the draws.

    Raises:
        DataError: fewer than :data:`LEAST` images on a side.
    """
    number = min(plan.sides.most(), plan.most)
    if number < LEAST:
        raise DataError(
            "evaluate: sets",
            came=f"{number} images on a side",
            allowed=f"at least {LEAST} generated, and as many for training",
            do="Give more images.",
        )
    found: dict[RowKey, list[dict[str, Measured]]] = {}
    for repetition, rows in enumerate(plan.sides.generated):
        seed = seed_from("measures", plan.seed, repetition)
        rng = np.random.default_rng(seed)
        taken = rng.permutation(rows)[:number]
        drawn = None if plan.sides.train is None else rng.permutation(plan.sides.train)[:number]
        for key, measures in _measure(sets, statistics, taken, drawn, seed=seed).items():
            found.setdefault(key, []).append(measures)
        plan.say(f"draw {repetition + 1} of {plan.repetitions}, {number} images on each side")
    made = [
        Comparison(key=key, title=_title(key), n=number, measures=mean_and_spread(each, plan.kind))
        for key, each in found.items()
    ]
    return Compared(made, number, {"": number}, found["heldout"])


def measures_against(
    statistics: ReferenceStatistics, compared: NDArray[np.float32], *, seed: int
) -> dict[str, Measured]:
    """Every measure of tiles against statistics; those that cannot be had say why.

    Args:
        statistics: the reference. Features that it keeps are compared with as many tiles.
        compared: features [N, D] of the tiles to be judged, by the same encoder.
        seed: of measures that draw subsets.

    Raises:
        DataError: widths differ, or values are not finite.
    """
    kept = statistics.sample if statistics.sample is not None else compared[:0]
    number = min(len(kept), len(compared))
    rng = np.random.default_rng(seed_from("kept features", seed))
    both = [rows[rng.permutation(len(rows))[:number]] for rows in (kept, compared)]
    if number >= LEAST:
        found = compute_measures(both[0], both[1], seed=seed)
    else:
        why = f"the statistics keep {len(kept)} features; at least {LEAST} are needed"
        found = {name: Measured(why=why) for name in BY_FEATURES}
        found["vendi"] = Measured(value=vendi_score(compared))
    return found | _frechet(statistics, compared, seed)


def _frechet(
    statistics: ReferenceStatistics, compared: NDArray[np.float32], seed: int
) -> dict[str, Measured]:
    number, width = compared.shape
    few = f"{number} images, fewer than {{}} times the width of the features ({width})"
    alone = "statistics hold mean and covariance of features that are not of length one"
    found = {
        "frechet_distance": Measured(why=few.format(2)),
        "frechet_normalised": Measured(why=alone),
        "frechet_infinity": Measured(why=few.format(4)),
    }
    if not supports_frechet(statistics):
        why = f"statistics of {statistics.num_images} images, fewer than twice the width ({width})"
        return found | {
            name: Measured(why=why) for name in ("frechet_distance", "frechet_infinity")
        }
    if frechet_is_meaningful(number, width):
        value = frechet_from_moments(statistics.moments, moments(compared))
        found["frechet_distance"] = Measured(value=value)
    if number >= 4 * width:
        value = frechet_infinity(Real(statistics.moments), Generated(compared), seed=seed)
        found["frechet_infinity"] = Measured(value=value)
    return found


def _measure(
    sets: Sets,
    statistics: ReferenceStatistics,
    taken: Rows,
    drawn: Rows | None,
    *,
    seed: int,
) -> dict[RowKey, dict[str, Measured]]:
    """The measures of each row: ``taken`` generated rows, ``drawn`` training rows."""
    generated: Features = sets.generated.set.features[taken]
    found: dict[RowKey, dict[str, Measured]] = {
        "heldout": measures_against(statistics, generated, seed=seed)
    }
    if sets.train is None or drawn is None:
        return found
    bank: Features = sets.train.set.features
    real = measures_against(statistics, bank[drawn], seed=seed)
    found["nearest"] = measures_against(statistics, bank[sets.nearest[taken]], seed=seed)
    found["train"] = compute_measures(bank[drawn], generated, seed=seed)
    # measured from the side of the training tiles: what does not depend on the direction
    found["heldout_train"] = {name: real[name] for name in _SAME_EITHER_WAY}
    return found


def _title(key: RowKey) -> str:
    if key == "heldout_train":
        return "real vs real: statistics of held-out tiles vs training tiles"
    return TITLES[key].replace("held-out tiles", "statistics of held-out tiles")
