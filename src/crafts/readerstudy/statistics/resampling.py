"""Readers and cases drawn again: a check of the U-statistic by other means."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.statistics.estimates import Estimate, t_quantile
from crafts.readerstudy.statistics.ustatistics import mean_of

Array = NDArray[np.float64]
FEW_READERS = 5
"""Readers below which percentiles of few draws are too narrow, and Student's t is used."""


def bootstrap(
    kernel: Array, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Estimate:
    """A mean over readers and cases with the interval of drawing both again.

    Percentiles of the draws; with fewer than five readers the standard deviation of the draws
    times Student's t of (readers - 1).

    Args:
        kernel: [R, real, synthetic], NaN where nothing was read.
        level: between 0 and 1.
        num_resamples: draws with replacement.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    read = (~np.isnan(kernel)).astype(np.float64)
    values = np.nan_to_num(kernel)
    drawn = np.empty(num_resamples)
    for k in range(num_resamples):
        readers, real, made = (
            rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64) for n in kernel.shape
        )
        sums = [np.tensordot(readers, part, 1) @ made @ real for part in (values, read)]
        drawn[k] = sums[0] / sums[1] if sums[1] else math.nan
    value = mean_of(kernel)
    deviation = float(np.nanstd(drawn, ddof=1))
    if len(kernel) < FEW_READERS:
        half = deviation * t_quantile(level, max(len(kernel) - 1, 1))
        return Estimate(value, value - half, value + half, deviation, len(kernel) - 1, level)
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), deviation, level=level)
