"""The arms: what each classifier is trained on, at one share of the training patients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.controls import Controls
from crafts.downstream.opening import Opened, Side
from crafts.sets.splits import Rows

Features = NDArray[np.float32]
Kind = Literal["real", "control", "synthetic"]
REAL, COLOUR, TWICE = "real", "real, colour histogram only", "real, twice"
AUGMENTED, NOISE = "real + classic augmentation", "real + noise of its colours"
SHUFFLED = "labels shuffled"


@dataclass(frozen=True)
class Training:
    """What one arm trains on.

    Attributes:
        arm: its name.
        kind: real, control or synthetic.
        folder: of the generated tiles; "" for none.
        features: [M, D].
        labels: [M], numbers of classes.
        real, synthetic: how many of the M are which.
    """

    arm: str
    kind: Kind
    folder: str
    features: Features
    labels: NDArray[np.int64]
    real: int
    synthetic: int = 0


def draw_patients(opened: Opened, fraction: float, *, seed: int) -> Rows:
    """Places in ``opened.train`` of the tiles of some patients, so many that no class is missing.

    Patients come in one random order for all shares of a seed, so that a smaller draw lies in a
    larger one; where the first of them lack a class, the next that have it are added.

    Args:
        opened: the sets.
        fraction: of the training patients.
        seed: of the order.
    """
    groups = opened.real.tiles.groups[opened.train]
    labels = opened.numbers(opened.real)[opened.train]
    order = np.random.default_rng(seed_from("benchmark", "patients", seed)).permutation(
        np.unique(groups)
    )
    number = max(1, math.floor(fraction * len(order) + 0.5))
    chosen = list(order[:number])
    for name in order[number:]:
        have = set(labels[np.isin(groups, chosen)].tolist())
        if len(have) == len(opened.classes):
            break
        if set(labels[groups == name].tolist()) - have:
            chosen.append(name)
    return np.flatnonzero(np.isin(groups, chosen))


def iter_arms(
    config: BenchmarkConfig, opened: Opened, controls: Controls, low: Rows, *, seed: int
) -> Iterator[Training]:
    """All arms on one draw of patients; every one of them stands beside ``real``.

    Args:
        config: ratios and limits.
        opened: the sets.
        controls: made from the real tiles.
        low: places in ``opened.train``.
        seed: of the draws of tiles.
    """
    features = opened.real.features[opened.train][low]
    labels = opened.numbers(opened.real)[opened.train][low]
    number = len(low)
    rng = np.random.default_rng(seed_from("benchmark", "arms", seed))

    def beside(arm: str, more: Features, own: NDArray[np.int64], made: int = 0) -> Training:
        both = np.concatenate([features, more]), np.concatenate([labels, own])
        return Training(arm, "control", "", *both, real=number, synthetic=made)

    yield Training(REAL, "real", "", features, labels, number)
    yield beside(AUGMENTED, controls.augmented[low], labels)
    yield beside(TWICE, features, labels)
    few = rng.permutation(len(controls.noise))[:number]
    guesses = rng.integers(0, len(opened.classes), len(few))
    yield beside(NOISE, controls.noise[few], guesses, len(few))
    colour = controls.colour[opened.train][low]
    yield Training(COLOUR, "control", "", colour, labels, number)
    if controls.coded is not None:
        arm = "real, through the codec"
        yield Training(arm, "control", "", controls.coded[low], labels, number)
    for side in opened.generated:
        yield from _synthetic_arms(config, opened, side, features, labels, rng=rng)


def _synthetic_arms(
    config: BenchmarkConfig,
    opened: Opened,
    side: Side,
    features: Features,
    labels: NDArray[np.int64],
    *,
    rng: np.random.Generator,
) -> Iterator[Training]:
    """Real with some ratios of a folder of generated tiles, these alone, and these mislabelled."""
    known = opened.numbers(side)
    order = rng.permutation(np.flatnonzero(known >= 0))
    rows = np.empty(0, dtype=np.int64)
    for ratio in config.ratios:
        wanted = min(max(1, round(ratio * len(labels))), config.max_synthetic)
        rows = take_alike(known[order], labels, wanted)
        made, own = side.features[order][rows], known[order][rows]
        both = np.concatenate([features, made]), np.concatenate([labels, own])
        arm = f"real + generated, {ratio:g} x"
        yield Training(arm, "synthetic", side.name, *both, len(labels), len(rows))
    made, own = side.features[order][rows], known[order][rows]
    if len(set(own.tolist())) > 1:
        yield Training("generated alone", "synthetic", side.name, made, own, 0, len(rows))
    wrong = np.asarray(rng.permutation(own))  # what is left of a gain did not come from labels
    both = np.concatenate([features, made]), np.concatenate([labels, wrong])
    arm = f"real + generated, {config.ratios[-1]:g} x, {SHUFFLED}"
    yield Training(arm, "control", side.name, *both, len(labels), len(rows))


def take_alike(known: NDArray[np.int64], labels: NDArray[np.int64], wanted: int) -> Rows:
    """The first rows of each class, in the class mix of the real tiles as far as there are any.

    Args:
        known: [M], class of each generated tile, in random order.
        labels: [N], classes of the real tiles.
        wanted: rows.
    """
    taken = []
    for name, number in zip(*np.unique(labels, return_counts=True), strict=True):
        taken.append(np.flatnonzero(known == name)[: max(1, round(wanted * number / len(labels)))])
    return np.concatenate(taken)
