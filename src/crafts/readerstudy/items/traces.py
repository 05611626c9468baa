"""Does anything beside the tissue tell the classes apart? Measured on what would be served.

An 8 x 8 grid of JPEG leaves steps at its borders. How much a column or a row stands out against
its neighbours, by its place modulo 8, says little of what a tile shows and much of how it was
compressed and cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.statistics.estimates import Estimate, t_interval
from crafts.readerstudy.statistics.ustatistics import mean_of, success_kernel

LEAST = 20
"""Items of a class below which nothing is said."""


def grid_traces(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much steps stand out at each place of an 8 x 8 grid, [24].

    Args:
        pixels: uint8 [H, W, 3].

    Returns:
        For columns and rows of brightness, and for columns of colour, eight logarithms of the
        mean step against the mean of all places.
    """
    values = pixels.astype(np.float64)
    grey = values @ (0.299, 0.587, 0.114)
    colour = values[..., 2] - grey
    return np.concatenate([_steps(grey), _steps(grey.T), _steps(colour)])


def tell_apart(
    features: NDArray[np.float64], synthetic: NDArray[np.bool_], *, seed: int = 0
) -> Estimate | None:
    """Area under the ROC curve of a classifier that never saw the item, with its 95 % interval.

    Args:
        features: [N, D].
        synthetic: [N].
        seed: of the folds.

    Returns:
        None with fewer than 20 items of a class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(synthetic.sum(), (~synthetic).sum()) < LEAST:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed % 2**32)
    chance = cross_val_predict(model, features, synthetic, cv=folds, method="decision_function")
    kernel = success_kernel(chance[None], synthetic)[0]
    # one classifier, many items: the variance of DeLong, DeLong and Clarke-Pearson (1988)
    parts = (kernel.mean(axis=axis) for axis in (0, 1))
    variance = sum(float(part.var(ddof=1)) / len(part) for part in parts)
    return t_interval(mean_of(kernel), variance, np.inf)


def _steps(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second differences across column borders by their place modulo 8, as logarithms."""
    gaps = np.abs(np.diff(plane, n=3, axis=1)).mean(axis=0)
    means = np.array([gaps[place::8].mean() for place in range(8)]) + 1e-9
    return np.log(means / means.mean())
