"""The arms: what is trained on, at one share of the training patients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Pool
from crafts.sets.splits import Rows

Kind = Literal["real", "control", "synthetic"]
Look = Literal["tile", "colour", "nothing"]
REAL, COLOUR, TWICE = "real", "real, colour histogram only", "real, twice"
AUGMENTED, NOISE = "real + classic augmentation", "real + noise of its colours"
CODED, ALONE, SHUFFLED = "real, through the codec", "generated alone", "labels shuffled"
BLIND, MIXED = "real, question only", "real, images shuffled"


@dataclass(frozen=True)
class Arm:
    """What one arm trains on.

    Attributes:
        name: in tables.
        kind: real, control or synthetic.
        folder: of the generated tiles; "" for none.
        seen: [M], pictures, as numbers of the pool.
        told: [M], the pictures whose label, caption or answers are told of each.
        real, synthetic: how many of the M are which.
        look: what of a picture is seen, in training and in the test.
        second: [M], a second view of each picture, or None.
    """

    name: str
    kind: Kind
    folder: str
    seen: Rows
    told: Rows
    real: int
    synthetic: int = 0
    look: Look = "tile"
    second: Rows | None = None


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
    config: BenchmarkConfig, opened: Opened, pool: Pool, low: Rows, *, seed: int
) -> Iterator[Arm]:
    """The arms of every task on one draw of patients; all of them stand beside ``real``.

    Args:
        config: ratios and limits.
        opened: the sets.
        pool: its pictures.
        low: places in ``opened.train``.
        seed: of the draws of tiles.
    """
    own, number = pool.of(opened.real)[opened.train][low], len(low)
    rng = np.random.default_rng(seed_from("benchmark", "arms", seed))

    def beside(name: str, more: Rows, told: Rows, made: int = 0) -> Arm:
        both = np.concatenate([own, more]), np.concatenate([own, told])
        return Arm(name, "control", "", *both, number, made)

    yield Arm(REAL, "real", "", own, own, number)
    yield beside(AUGMENTED, pool.parts["augmented"][low], own)
    yield beside(TWICE, own, own)
    noise = rng.permutation(pool.parts["noise"])[:number]
    yield beside(NOISE, noise, rng.choice(own, len(noise)), len(noise))
    yield Arm(COLOUR, "control", "", own, own, number, look="colour")
    if "coded" in pool.parts:
        yield Arm(CODED, "control", "", pool.parts["coded"][low], own, number)
    for side in opened.generated:
        yield from _synthetic_arms(config, pool, side.name, own, rng=rng)


def _synthetic_arms(
    config: BenchmarkConfig, pool: Pool, folder: str, own: Rows, *, rng: np.random.Generator
) -> Iterator[Arm]:
    """Real with some ratios of a folder of generated tiles, these alone, and these mislabelled."""
    made = pool.parts[folder]
    order = rng.permutation(made[pool.labels[made] >= 0])
    taken = order[:0]
    for ratio in config.ratios:
        wanted = min(max(1, round(ratio * len(own))), config.max_synthetic)
        taken = order[take_alike(pool.labels[order], pool.labels[own], wanted)]
        both = np.concatenate([own, taken])
        name = f"real + generated, {ratio:g} x"
        yield Arm(name, "synthetic", folder, both, both, len(own), len(taken))
    if len(set(pool.labels[taken].tolist())) > 1:
        yield Arm(ALONE, "synthetic", folder, taken, taken, 0, len(taken))
    wrong = rng.permutation(taken)  # what is left of a gain did not come from labels
    told = np.concatenate([own, wrong])
    name = f"real + generated, {config.ratios[-1]:g} x, {SHUFFLED}"
    yield Arm(name, "control", folder, both, told, len(own), len(taken))


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
