"""Readers and cases by analysis of variance: Obuchowski and Rockette, with Hillis' degrees.

The reader's figures are taken as outcomes of a design readers x treatments whose errors are
correlated, since all read the same cases; the covariances come from leaving out one case at a time
(Obuchowski and Rockette, Communications in Statistics - Simulation and Computation 24:285, 1995;
degrees of freedom of Hillis, Statistics in Medicine 26:596, 2007). It needs a crossed design.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from crafts.core.errors import DataError
from crafts.readerstudy.statistics.estimates import Estimate
from crafts.readerstudy.statistics.ustatistics import moments

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """What the intervals rest on; one treatment or more.

    Attributes:
        figures: [T, R], of each treatment and reader.
        error: mean variance of a figure for fixed readers.
        cov1: mean covariance of one reader in two treatments.
        cov2: of two readers in one treatment.
        cov3: of two readers in two treatments.
    """

    figures: Array
    error: float
    cov1: float
    cov2: float
    cov3: float


Covariances = Literal["jackknife", "unbiased"]
"""Over cases left out one at a time, as OR-DBM MRMC does; or of U-statistics, as iMRMC does."""


def components(kernels: Sequence[Array], covariances: Covariances = "jackknife") -> Components:
    """Figures of all readers, and their covariances for fixed readers.

    Args:
        kernels: of each treatment [R, real, synthetic], as of
            :func:`crafts.readerstudy.statistics.ustatistics.success_kernel`; all read.
        covariances: how they are estimated.

    Raises:
        DataError: fewer than two readers, or an answer is missing.
    """
    stacked = np.stack(kernels)
    num_treatments, num_readers = stacked.shape[:2]
    if num_readers < 2 or np.isnan(stacked).any():
        raise DataError(
            "Obuchowski-Rockette",
            came=f"{num_readers} readers, {int(np.isnan(stacked).sum())} pairs of answers missing",
            allowed="at least two readers who answered every item",
            do="Use the U-statistic, which takes any design.",
        )
    figures = stacked.mean(axis=(2, 3))
    if covariances == "jackknife":
        left_out = _leave_one_out(stacked).reshape(num_treatments * num_readers, -1)
        covariance = np.cov(left_out, bias=True) * (left_out.shape[1] - 1)
    else:
        rows = stacked.reshape(-1, *stacked.shape[2:])
        covariance = np.array([[moments(a, b).variance for b in rows] for a in rows])
    treatment = np.repeat(np.arange(num_treatments), num_readers)
    reader = np.tile(np.arange(num_readers), num_treatments)
    same_t = treatment[:, None] == treatment
    same_r = reader[:, None] == reader

    def mean(where: NDArray[np.bool_]) -> float:
        return float(covariance[where].mean()) if where.any() else 0.0

    return Components(
        figures,
        mean(same_t & same_r),
        mean(~same_t & same_r),
        mean(same_t & ~same_r),
        mean(~same_t & ~same_r),
    )


def estimate(found: Components, *, level: float = 0.95) -> Estimate:
    """The mean of one treatment over readers and cases.

    Args:
        found: of one treatment.
        level: between 0 and 1.
    """
    num_readers = found.figures.shape[1]
    square = float(found.figures[0].var(ddof=1))
    total = square + max(num_readers * found.cov2, 0.0)
    df = total**2 / square**2 * (num_readers - 1) if square else math.inf
    return _interval(float(found.figures.mean()), total / num_readers, df, level)


def difference(found: Components, *, level: float = 0.95) -> Estimate:
    """The difference of two treatments, read by the same readers on the same cases.

    Args:
        found: of two treatments.
        level: between 0 and 1.
    """
    num_readers = found.figures.shape[1]
    gaps = found.figures[0] - found.figures[1]
    square = float(gaps.var(ddof=1)) / 2  # of treatment x reader, for two treatments
    total = square + max(num_readers * (found.cov2 - found.cov3), 0.0)
    df = total**2 / square**2 * (num_readers - 1) if square else math.inf
    return _interval(float(gaps.mean()), 2 / num_readers * total, df, level)


def _leave_one_out(kernels: Array) -> Array:
    """Figures without each case in turn, [T, R, real + synthetic]."""
    _, _, num_real, num_made = kernels.shape
    total = kernels.sum(axis=(2, 3))[..., None]
    without_real = (total - kernels.sum(axis=3)) / ((num_real - 1) * num_made)
    without_made = (total - kernels.sum(axis=2)) / (num_real * (num_made - 1))
    return np.concatenate([without_real, without_made], axis=2)


def _interval(value: float, variance: float, df: float, level: float) -> Estimate:
    half = float(stdtrit(df, (1 + level) / 2)) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, math.sqrt(variance), df, level)
