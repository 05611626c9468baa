"""The rows of ``metrics.json``: which sets are compared, with equal numbers, again and again.

Every row takes its reference from one half of the held-out groups (or from the training set), so
that generated tiles, the other half of the held-out groups (the floor) and the nearest training
tiles (the baseline) are measured against the very same tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.core.runtime import seed_from
from crafts.evaluation.results import Comparison, Generation, Measured
from crafts.measures.distances import (
    cmmd,
    frechet_distance,
    frechet_infinity,
    frechet_is_meaningful,
    kernel_distance,
    normalised_frechet_distance,
)
from crafts.measures.neighbors import prdc_at
from crafts.measures.rows import Array, Generated, Real, check_pair
from crafts.measures.variety import vendi_score
from crafts.sets.described import CLASS_FIELD, Described, Sets, values_of
from crafts.sets.draws import Draw, Sides, draw, quotas
from crafts.sets.source import SetName
from crafts.sets.splits import Rows

Features = NDArray[np.float32]
RowKey = Literal["heldout", "floor", "nearest", "train", "heldout_train"]
LEAST = 10
"""Images on each side below which a class or a slice has no row."""

TITLES: Mapping[RowKey, str] = {
    "heldout": "generated vs held-out tiles",
    "floor": "real vs real: other held-out groups",
    "nearest": "nearest training tiles vs held-out tiles",
    "train": "generated vs training tiles",
    "heldout_train": "held-out vs training tiles",
}


@dataclass(frozen=True)
class Repetitions:
    """What is drawn how often.

    Attributes:
        sides: rows that may be drawn in each repetition.
        matched: whether all sides get the class mix of the generated tiles.
        kind: what a repetition is; "none" for a single one.
        most: largest number of images on a side.
        seed: of all draws.
        names: of the repetitions where they are generations.
        say: takes a line of progress.
    """

    sides: Sides
    matched: bool
    kind: Literal["generations", "halvings", "none"]
    most: int
    seed: int
    names: Sequence[str] = ()
    say: Callable[[str], None] = field(default=lambda line: None)

    @property
    def repetitions(self) -> int:
        """How often sets are drawn."""
        return len(self.sides.generated)


@dataclass(frozen=True)
class Compared:
    """Rows of one scope.

    Attributes:
        rows: in the order of :data:`TITLES`.
        n: images on each side.
        numbers: class -> images on each side.
        each: for each repetition, the measures of the row ``heldout``.
    """

    rows: list[Comparison]
    n: int
    numbers: Mapping[str, int]
    each: list[dict[str, Measured]]


def compare(sets: Sets, plan: Repetitions, *, scope: str = "all", name: str = "") -> Compared:
    """All rows of one scope.

    Args:
        sets: the sets.
        plan: the draws; narrowed to the scope already.
        scope: "all", "class" or a field.
        name: the class or value.

    Raises:
        DataError: no equal number of at least :data:`LEAST` images can be drawn on every side.
    """
    matched = plan.matched and scope != "class"
    classes = {side: one.classes for side, one in sets.named().items()} if matched else None
    if classes is None:
        numbers = {"": min(plan.sides.most(), plan.most)}
    else:
        numbers = {key: n for key, n in quotas(plan.sides, classes, plan.most).items() if n}
    total = sum(numbers.values())
    if total < LEAST:
        raise _too_few_images(sets, plan, numbers, name)
    found: dict[RowKey, list[dict[str, Measured]]] = {}
    groups = []
    for repetition in range(plan.repetitions):
        drawn = draw(plan.sides, repetition, numbers, classes, seed=plan.seed)
        groups.append(_count_groups(sets.heldout, drawn.reference))
        for key, (reference, compared) in _pairs(sets, drawn).items():
            seed = seed_from("measures", plan.seed, repetition)
            found.setdefault(key, []).append(compute_measures(reference, compared, seed=seed))
        if scope == "all":
            plan.say(f"draw {repetition + 1} of {plan.repetitions}, {total} images on each side")
    rows = [
        Comparison(
            key=key,
            title=TITLES[key],
            scope=scope,
            name=name,
            n=total,
            groups=round(float(np.mean(groups))) if sets.heldout.named_groups else 0,
            measures=mean_and_spread(each, plan.kind),
        )
        for key, each in found.items()
    ]
    return Compared(rows, total, numbers, found["heldout"])


def compare_scopes(sets: Sets, plan: Repetitions) -> tuple[list[Comparison], dict[str, str]]:
    """Rows for each class and each value of a slice, and why some of them have none."""
    rows: list[Comparison] = []
    left: dict[str, str] = {}
    named = sets.named()
    plan.say("classes and slices")
    slices = [name for name in sets.generated.fields if name != CLASS_FIELD]
    for scope, column in [("class", CLASS_FIELD), *((name, name) for name in slices)]:
        values = values_of(list(named.values()), column)
        if scope != "class" and len(values) < 2:
            continue  # one value: that is the row over all
        for value in values:
            part = _narrowed(
                plan, {side: one.fields[column] == value for side, one in named.items()}
            )
            if part.most() < LEAST:
                left[f"{scope}: {value}"] = _too_few(part)
                continue
            try:
                rows += compare(sets, replace(plan, sides=part), scope=scope, name=value).rows
            except DataError as error:
                left[f"{scope}: {value}"] = error.came
    return rows, left


def missing_classes(sets: Sets, plan: Repetitions, numbers: Mapping[str, int]) -> dict[str, str]:
    """Classes of generated tiles that stand in no row over all, with the reason."""
    found: dict[str, str] = {}
    if not plan.matched:
        return found
    classes = {side: one.classes for side, one in sets.named().items()}
    for name in sorted(set(classes["generated"].tolist()) - {""} - set(numbers)):
        part = _narrowed(plan, {side: values == name for side, values in classes.items()})
        found[name] = _too_few(part)
    unknown = int((classes["generated"] == "").sum())
    if unknown:
        found[""] = f"{unknown} generated tiles whose class is not known"
    return found


def generations_of(plan: Repetitions, found: Compared) -> list[Generation]:
    """The measures of every generation; none where repetitions are no generations."""
    if plan.kind != "generations":
        return []
    return [
        Generation(name=name, n=found.n, measures=one)
        for name, one in zip(plan.names, found.each, strict=True)
    ]


def _pairs(sets: Sets, drawn: Draw) -> dict[RowKey, tuple[Features, Features]]:
    """Comparison -> (reference, compared)."""
    generated = sets.generated.set.features[drawn.generated]
    held, reference = sets.heldout.set.features, sets.heldout.set.features[drawn.reference]
    found: dict[RowKey, tuple[Features, Features]] = {
        "heldout": (reference, generated),
        "floor": (reference, held[drawn.floor]),
    }
    if sets.train is not None:
        bank = sets.train.set.features
        found["nearest"] = (reference, bank[sets.nearest[drawn.generated]])
        found["train"] = (bank[drawn.train], generated)
        found["heldout_train"] = (bank[drawn.train], held[drawn.floor])
    return found


def _too_few_images(
    sets: Sets, plan: Repetitions, numbers: Mapping[str, int], name: str
) -> DataError:
    """The refusal, with what every class lacks."""
    missing = missing_classes(sets, plan, numbers).items()
    short = "; ".join(f"{key or 'without class'}: {why}" for key, why in missing)
    return DataError(
        f"evaluate: {name or 'sets'}",
        came=f"{sum(numbers.values())} images that every side has, of equal number and class"
        + (f" ({short})" if short else ""),
        allowed=f"at least {LEAST} generated, {LEAST} in each half of the held-out groups "
        "and as many for training",
        do="Give more images, or more held-out patients.",
    )


def _narrowed(plan: Repetitions, masks: Mapping[SetName, NDArray[np.bool_]]) -> Sides:
    return plan.sides.narrowed(masks["generated"], masks["heldout"], masks.get("train"))


def _count_groups(side: Described, rows: Rows) -> int:
    return len(np.unique(side.groups[rows]))


def _too_few(sides: Sides) -> str:
    """What is missing, in words."""
    made = min(len(rows) for rows in sides.generated)
    halves = [min(len(pair[k]) for pair in sides.halves) for k in (0, 1)]
    seen = "" if sides.train is None else f", {len(sides.train)} for training"
    return (
        f"{made} generated, {halves[0]} and {halves[1]} in the halves of the held-out groups{seen}"
    )


NEIGHBORS = (3, 5)
"""The k of precision, recall, density and coverage."""

BY_FEATURES = (
    *("kernel_distance", "cmmd"),
    *(f"{name}_k{k}" for k in NEIGHBORS for name in ("precision", "recall", "density", "coverage")),
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
        **_neighbors(first, second),
        "vendi": Measured(value=vendi_score(second)),
        "vendi_reference": Measured(value=vendi_score(first)),
    }


def mean_and_spread(
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


def _neighbors(first: Array, second: Array) -> dict[str, Measured]:
    by_k = prdc_at(Real(first), Generated(second), ks=NEIGHBORS)
    return {
        f"{name}_k{k}": Measured(value=value)
        for k, values in by_k.items()
        for name, value in values.items()
    }
