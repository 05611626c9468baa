"""Task: which class a tile shows, by a linear probe and by nearest neighbours on features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.downstream.arms import Arm
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Ask, Exam, look_at, open_exams
from crafts.downstream.finetuning import finetune
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Features, Pool
from crafts.downstream.statistics import balanced_weights, calibration_error
from crafts.sets.splits import Rows

_ITERATIONS = 200
_STRENGTH = 10.0  # C of scikit-learn, for features of length one or so

Shares = Callable[[NDArray[Any]], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Scaled features [N, D] -> numbers of the classes [K] and the probability of each [N, K]."""


@dataclass(frozen=True)
class Scaling:
    """Mean and spread by which all features of an encoder are brought to one scale.

    Taken from all real training tiles, without their labels, and so the same in every arm.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @staticmethod
    def of(features: Features) -> Scaling:
        """That of some features [N, D]; what does not vary stays as it is."""
        spread = features.std(axis=0, dtype=np.float64)
        return Scaling(features.mean(axis=0, dtype=np.float64), np.where(spread > 1e-8, spread, 1))

    def __call__(self, features: Features) -> NDArray[np.float64]:
        """Features [N, D] with mean 0 and spread 1, by the root of their width."""
        scaled = (features - self.mean) / self.spread
        return np.asarray(scaled / np.sqrt(features.shape[1]))


class Classification:
    """Classifiers on frozen features, and if wanted a small network trained from pixels."""

    primary = "accuracy"

    def __init__(self, config: BenchmarkConfig, train: Rows) -> None:
        """Settings, and the rows of all real training tiles."""
        self.config, self.train_rows = config, train
        network = {"resnet": "Small ResNet, trained from pixels"} if config.finetune else {}
        self.methods: Mapping[str, str] = {
            **{"probe": "Linear probe", "knn": "Nearest neighbours"},
            **network,
        }
        self.pixels = config.pixels if config.finetune else 0

    def exams(self, opened: Opened, pool: Pool) -> list[Exam]:
        """Each test tile once; classes count alike."""
        return exams_of_tiles(opened, pool)

    def arms(self, given: Iterator[Arm]) -> Iterator[Arm]:
        """All of them."""
        return given

    def train(self, pool: Pool, arm: Arm, *, own: Rows, seed: int) -> Mapping[str, Ask]:
        """Probe and neighbours, and the network where there are pixels to see."""
        scale = Scaling.of(look_at(pool, pool.parts["real"][self.train_rows], arm.look))
        seen = scale(look_at(pool, arm.seen, arm.look))
        found = fit_both(
            self.config, seen, pool.labels[arm.told], kept=pool.labels[own], total=len(own)
        )

        def ask(shares: Shares, exam: Exam) -> Answers:
            return mark(shares(scale(look_at(pool, exam.seen, arm.look))), pool.labels[exam.seen])

        asks: dict[str, Ask] = {name: partial(ask, shares) for name, shares in found.items()}
        if self.config.finetune and arm.look == "tile":
            asks["resnet"] = finetune(self.config, pool, arm, seed=seed)
        return asks


def exams_of_tiles(opened: Opened, pool: Pool) -> list[Exam]:
    """Each tile once; classes count alike."""
    found = []
    for on, side, rows in open_exams(opened, pool):
        seen = pool.of(side)[rows]
        found.append(Exam(on, side, rows, seen, balanced_weights(pool.labels[seen])))
    return found


def fit_both(
    config: BenchmarkConfig,
    seen: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    kept: NDArray[np.int64],
    total: float,
) -> dict[str, Shares]:
    """Linear probe and nearest neighbours; of these at most as many as the rarest class has.

    Args:
        config: number of neighbours.
        seen: [M, D], scaled features.
        labels: [M].
        kept: [N], labels of the real tiles of the draw.
        total: weight of all tiles together.
    """
    rarest = int(np.unique(kept, return_counts=True)[1].min())
    k = max(1, min(config.neighbours, rarest))  # more would outvote the rarest class
    return {
        "probe": fit_probe(seen, labels, total=total),
        "knn": fit_neighbours(seen, labels, k=k),
    }


def mark(said: tuple[NDArray[np.int64], NDArray[np.float64]], truth: NDArray[np.int64]) -> Answers:
    """Whether the likeliest class of each tile is its own, and how well it knew."""
    classes, shares = said
    best = shares.argmax(axis=1)
    right = classes[best] == truth
    sure = shares[np.arange(len(best)), best]
    return Answers(right.astype(np.float64), {"ece": calibration_error(sure, right)})


def fit_probe(features: NDArray[Any], labels: NDArray[np.int64], *, total: float) -> Shares:
    """Logistic regression on features.

    All arms have the same total weight, that of the real tiles, and the same limit of steps: more
    tiles are neither more training nor less regularisation. A set given twice changes nothing.

    Args:
        features: [M, D], scaled.
        labels: [M], at least two classes.
        total: weight of all tiles together, the number of real tiles of the draw.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
    weights = np.full(len(labels), total / len(labels))
    return partial(_shares, model.fit(features, labels, sample_weight=weights))


def fit_neighbours(features: NDArray[Any], labels: NDArray[np.int64], *, k: int) -> Shares:
    """The majority among the nearest tiles by angle, nearer ones weighing more.

    Args:
        features: [M, D], scaled.
        labels: [M].
        k: neighbours, at most M.
    """
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(
        min(k, len(labels)), weights="distance", metric="cosine", algorithm="brute"
    )
    return partial(_shares, model.fit(features, labels))


def _shares(model: Any, tested: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.asarray(model.classes_), np.asarray(model.predict_proba(tested))
