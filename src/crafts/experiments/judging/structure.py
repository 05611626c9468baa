"""Whether the structure of a picture tells its class: a judge that colour cannot lead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crafts.measures.structure import balanced_accuracy, grey_match

_GREY = (170.0, 45.0)  # mean and deviation of grey tiles; nothing of the class is in them
_PENALTY = 100.0  # of the weights: few tiles a class, more features than that
_ROUNDS = 500


class GreyClassifier:
    """Logistic regression from features of grey tiles to classes, fitted on real training tiles.

    Args:
        features: of grey tiles [N, D], see :func:`to_grey`.
        labels: class of each; at least two classes.
    """

    def __init__(self, features: NDArray[np.float64], labels: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        network = LogisticRegression(
            C=1 / _PENALTY, class_weight="balanced", max_iter=_ROUNDS, random_state=0
        )
        self._fitted = make_pipeline(StandardScaler(), network).fit(features, list(labels))

    def accuracy(self, features: NDArray[np.float64], labels: Sequence[str]) -> float:
        """Images taken for their own class, mean of the classes, in percent.

        Args:
            features: of grey images [N, D].
            labels: what each was asked to show.
        """
        names = sorted({*labels, *map(str, self._fitted.classes_)})
        guess = [names.index(name) for name in self._fitted.predict(features)]
        truth = [names.index(name) for name in labels]
        return 100 * balanced_accuracy(np.array(truth), np.array(guess))


def to_grey(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Grey images of one mean and contrast, in three equal channels.

    Args:
        images: uint8 [S, S, 3], all of one size.

    Returns:
        uint8 [S, S, 3] each.
    """
    grey = np.clip(grey_match(np.stack(list(images)), *_GREY), 0, 255).round().astype(np.uint8)
    return [np.repeat(image[..., None], 3, axis=2) for image in grey]
