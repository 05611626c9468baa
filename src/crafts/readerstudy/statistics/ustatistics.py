"""Variance of a mean over readers and cases, both drawn from a population: U-statistics.

A figure is the mean of a kernel over readers and cases: of ``[real < synthetic]`` for the area
under the ROC curve, of ``correct`` for an accuracy. Two terms of that mean are independent unless
they share a reader or a case. So the variance is a sum over what two terms share, each part
estimated without bias from the pairs that share exactly that, in any design: crossed, split-plot,
or with answers missing (Gallas, Bandos, Samuelson and Wagner, Communications in Statistics -
Theory and Methods 38:2586, 2009; the same figures as FDA's iMRMC).

Kernels are arrays with one axis for readers and one or two for cases, NaN where nothing was read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.statistics.estimates import Estimate, t_interval

Array = NDArray[np.float64]
Axes = tuple[int, ...]

FEW_READERS = 5
"""Readers below which an interval takes the degrees of freedom of the readers alone."""


@dataclass(frozen=True)
class Moments:
    """What two kernels tell of the covariance of their means; of one kernel with itself, variance.

    Attributes:
        exact: axes -> mean product of two terms that share these axes and no other.
        coefficients: axes -> share of such pairs among all; that of the empty set less 1.
        at_least: axes -> mean product of two terms that share at least these.
        overlap: axes -> share of pairs that share at least these.
    """

    exact: dict[Axes, float]
    coefficients: dict[Axes, float]
    at_least: dict[Axes, float]
    overlap: dict[Axes, float]

    @property
    def variance(self) -> float:
        """Unbiased; it may be negative in small studies."""
        return sum(self.coefficients[axes] * self.exact[axes] for axes in self.exact)

    @property
    def plug_in(self) -> float:
        """Biased upwards and never negative in a crossed design ("MLE" in iMRMC)."""
        return sum(self.coefficients[axes] * self.at_least[axes] for axes in self.at_least)

    @property
    def truncated(self) -> float:
        """Variance in which a component below zero counts as zero, as in Obuchowski-Rockette.

        A component belongs to a set of axes: what two terms that share them have in common beyond
        what fewer shared axes explain. In small studies and with answers missing the unbiased sum
        is often too small; this one is a little too large.
        """
        parts = (
            share * max(self._common(axes), 0.0) for axes, share in self.overlap.items() if axes
        )
        return sum(parts)

    def _common(self, axes: Axes) -> float:
        return sum(
            (-1) ** (len(axes) - len(fewer)) * value
            for fewer, value in self.exact.items()
            if set(fewer) <= set(axes)
        )

    def component(self, axis: int) -> float:
        """Biased variance component of one axis; 0 where the two kernels share nothing of it."""
        return self.at_least[axis,] - self.at_least[()] if self.overlap[axis,] else 0.0

    def freedom(self, axis: int) -> float:
        """Effective number of readers or cases of one axis, less 1."""
        return float(round(1 / self.overlap[axis,] - 1)) if self.overlap[axis,] else math.inf


def moments(first: Array, second: Array | None = None) -> Moments:
    """The moments of one kernel, or of two.

    Args:
        first: [R, N] or [R, N, M], NaN where nothing was read.
        second: of the same shape, for the covariance of two means; ``first`` by default.
    """
    second = first if second is None else second
    read, also_read = ((~np.isnan(kernel)).astype(np.float64) for kernel in (first, second))
    values, others = np.nan_to_num(first), np.nan_to_num(second)
    subsets = [
        axes for size in range(first.ndim + 1) for axes in combinations(range(first.ndim), size)
    ]
    products = {axes: _pair_sum(values, others, axes) for axes in subsets}
    pairs = {axes: _pair_sum(read, also_read, axes) for axes in subsets}
    total = pairs[()]
    exact_products, exact_pairs = _exactly(products), _exactly(pairs)
    return Moments(
        {axes: _ratio(exact_products[axes], exact_pairs[axes]) for axes in subsets},
        {axes: _ratio(exact_pairs[axes], total) - (axes == ()) for axes in subsets},
        {axes: _ratio(products[axes], pairs[axes]) for axes in subsets},
        {axes: _ratio(pairs[axes], total) for axes in subsets},
    )


def mean_of(kernel: Array) -> float:
    """The mean of a kernel over all that was read."""
    return float(np.nanmean(kernel)) if not np.isnan(kernel).all() else math.nan


def estimate(kernel: Array, *, level: float = 0.95, plug_in: bool = False) -> Estimate:
    """A mean over readers and cases with the interval of the one-shot U-statistic.

    Args:
        kernel: [R, N] or [R, N, M], NaN where nothing was read.
        level: between 0 and 1.
        plug_in: take the variance that is biased upwards instead of the unbiased one.
    """
    found = moments(kernel)
    variance = found.plug_in if plug_in else found.variance
    axes = range(kernel.ndim)
    parts = [(found.component(axis), found.freedom(axis)) for axis in axes]
    return t_interval(mean_of(kernel), variance, _satterthwaite(variance, parts), level)


def over_readers(kernel: Array, *, level: float = 0.95) -> Estimate:
    """The interval that a report shows: for other readers of other cases.

    It takes the variance without negative components. With two to four readers Student's t has the
    degrees of freedom of the readers alone; one reader says nothing of others, and there is no
    interval.

    Args:
        kernel: [R, N] or [R, N, M], NaN where nothing was read.
        level: between 0 and 1.
    """
    kernel = kernel[~np.isnan(kernel).all(axis=tuple(range(1, kernel.ndim)))]
    if len(kernel) < 2:
        return t_interval(mean_of(kernel), math.nan, math.nan, level)
    found = moments(kernel)
    variance = found.truncated
    parts = [(found.component(axis), found.freedom(axis)) for axis in range(kernel.ndim)]
    few = len(kernel) < FEW_READERS
    df = len(kernel) - 1.0 if few else _satterthwaite(variance, parts)
    return t_interval(mean_of(kernel), variance, df, level)


def difference(
    first: Array, second: Array, *, level: float = 0.95, plug_in: bool = False
) -> Estimate:
    """The difference of two means that share readers, cases, both or neither.

    Args:
        first: [R, N] or [R, N, M], NaN where nothing was read.
        second: of the same shape, readers and cases in the same places.
        level: between 0 and 1.
        plug_in: as in :func:`estimate`.
    """
    one, two, both = moments(first), moments(second), moments(first, second)
    kinds = [part.plug_in if plug_in else part.variance for part in (one, two, both)]
    variance = kinds[0] + kinds[1] - 2 * kinds[2]
    parts: list[tuple[float, float]] = []
    for axis in range(first.ndim):
        own = [(part.component(axis), part.freedom(axis)) for part in (one, two)]
        joint = own[0][0] + own[1][0] - 2 * both.component(axis)
        paired = [(joint, min(own[0][1], own[1][1]))]
        parts += paired if both.overlap[axis,] else own  # nothing shared: independent components
    value = mean_of(first) - mean_of(second)
    return t_interval(value, variance, _satterthwaite(variance, parts), level)


def success_kernel(scores: Array, synthetic: NDArray[np.bool_]) -> Array:
    """The kernel of the area under the ROC curve, [R, real, synthetic].

    Args:
        scores: [R, N], higher means more surely synthetic; NaN where nothing was read.
        synthetic: [N].

    Returns:
        1 where the synthetic item scores higher than the real one, 0.5 for a tie, else 0.
    """
    gap = scores[:, None, synthetic] - scores[:, ~synthetic][:, :, None]
    return np.where(np.isnan(gap), np.nan, (np.sign(gap) + 1) / 2)


def sum_kernel(values: Array, synthetic: NDArray[np.bool_], weights: tuple[float, float]) -> Array:
    """The kernel of ``a * (mean over real) + b * (mean over synthetic)``, [R, real, synthetic].

    With weights (½, ½) of ``correct`` it is balanced accuracy, with (-1, 1) a difference.

    Args:
        values: [R, N], NaN where nothing was read.
        synthetic: [N].
        weights: of real and synthetic items.
    """
    real, made = values[:, ~synthetic], values[:, synthetic]
    return weights[0] * real[:, :, None] + weights[1] * made[:, None, :]


def _pair_sum(first: Array, second: Array, shared: Axes) -> float:
    """Sum of products of all pairs of terms that agree on the shared axes."""
    others = tuple(axis for axis in range(first.ndim) if axis not in shared)
    if others:
        first, second = first.sum(axis=others), second.sum(axis=others)
    return float((first * second).sum())


def _exactly(sums: dict[Axes, float]) -> dict[Axes, float]:
    """Sums over pairs that share at least some axes -> those that share no more than them."""
    return {
        axes: sum(
            (-1) ** (len(more) - len(axes)) * value
            for more, value in sums.items()
            if set(axes) <= set(more)
        )
        for axes in sums
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _satterthwaite(variance: float, parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a variance from those of its components, at least the smallest."""
    if not variance >= 0:
        return math.nan
    least = min(freedom for _, freedom in parts)
    if least < 1:
        return math.nan
    spread = sum(component**2 / freedom**3 for component, freedom in parts)
    return max(variance**2 / spread, least) if spread else least
