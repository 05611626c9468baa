"""Classifiers on features: a linear probe and nearest neighbours, and how they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]

_ITERATIONS = 200
_STRENGTH = 10.0  # C of scikit-learn, for features of length one or so


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


@dataclass(frozen=True)
class Answers:
    """What a classifier says of the test tiles.

    Attributes:
        answer: [N], number of a class.
        confidence: [N], the probability that it gives to it.
    """

    answer: NDArray[np.int64]
    confidence: NDArray[np.float64]


Ask = Callable[[NDArray[Any]], Answers]
"""Scaled features [N, D] -> what a classifier says of them."""


def fit_probe(features: NDArray[Any], labels: NDArray[np.int64], *, total: float) -> Ask:
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
    return partial(_best, model.fit(features, labels, sample_weight=weights))


def fit_neighbours(features: NDArray[Any], labels: NDArray[np.int64], *, k: int) -> Ask:
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
    return partial(_best, model.fit(features, labels))


def _best(model: Any, tested: NDArray[Any]) -> Answers:
    shares = np.asarray(model.predict_proba(tested))
    best = shares.argmax(axis=1)
    return Answers(np.asarray(model.classes_)[best], shares[np.arange(len(best)), best])
