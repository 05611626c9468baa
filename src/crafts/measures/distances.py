"""Distances between two sets of features: Fréchet (FID, FD∞) and kernel (KID, CMMD)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from crafts.core.errors import ConfigError, DataError
from crafts.measures.rows import (
    Array,
    Features,
    Generated,
    Real,
    check_features,
    check_pair,
    require_one_width,
    unit_rows,
    unmark,
)

_BLOCK = 1024
_PAIRS_UP_TO = 5_000  # rows of a set: beyond, CMMD takes the power series instead of all pairs


class Moments(NamedTuple):
    """Mean [D] and unbiased covariance [D, D] of a set, all that the Fréchet distance needs."""

    mean: Array
    covariance: Array


def frechet_distance(real: Features, generated: Features) -> float:
    """Fréchet distance of the two Gaussians fitted to the sets (Heusel et al. 2017, eq. 6).

    ``|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½)`` in float64. The trace of the root is the sum of the
    singular values of ``R1ᵀ R2`` with ``S = R Rᵀ``: no matrix root, hence no imaginary part and
    nothing added to singular covariances (N < D). The estimate is biased upwards by about C / N;
    see :func:`frechet_is_meaningful` and :func:`frechet_infinity`.

    Args:
        real: features [N, D].
        generated: features [M, D].

    Raises:
        DataError: a set is not [rows, D] with at least two rows, widths differ, or values are
            not finite.
        ConfigError: sets marked as real and generated were swapped.
    """
    first, second = check_pair(real, generated)
    return _frechet(first.mean(axis=0), _root(first), second.mean(axis=0), _root(second))


def normalised_frechet_distance(real: Features, generated: Features) -> float:
    """Fréchet distance of the sets with each row divided by its length; at most 4.

    The scale of the features no longer matters, so that values of different encoders stand on one
    scale: the means lie within the unit ball and each trace is at most n / (n - 1) (1 - |m|²),
    from which the bound follows for all sizes.

    Args:
        real: features [N, D], no row zero.
        generated: features [M, D], no row zero.

    Raises:
        DataError: as :func:`frechet_distance`, or a row is zero.
        ConfigError: as :func:`frechet_distance`.
    """
    first, second = check_pair(real, generated)
    return frechet_distance(unit_rows(first, "real"), unit_rows(second, "generated"))


def frechet_is_meaningful(num: int, width: int) -> bool:
    """Whether a Fréchet distance of ``num`` rows may be reported: at least twice the width.

    Below that the covariance is mostly noise and the bias exceeds real effects; the kernel
    distance has no bias and takes its place.
    """
    return num >= 2 * width


def moments(features: Features) -> Moments:
    """Mean and unbiased covariance of features [N, D].

    Raises:
        DataError: not [rows, D] with at least two rows, or values are not finite.
    """
    rows = check_features(features, "features")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / (len(rows) - 1))


def frechet_from_moments(real: Moments, generated: Moments) -> float:
    """Fréchet distance of two Gaussians given by mean [D] and covariance [D, D].

    Args:
        real: of the reference, for example the arrays ``mu`` and ``sigma`` of a statistics file.
        generated: of the set that is judged.

    Raises:
        DataError: shapes do not fit, values are not finite, or a covariance is not symmetric with
            eigenvalues of at least zero (within rounding of its largest).
        ConfigError: as :func:`frechet_distance`.
    """
    first, second = _check_moments(real, "real"), _check_moments(generated, "generated")
    require_one_width(len(first.mean), len(second.mean))
    roots = _root_of(first.covariance, "real"), _root_of(second.covariance, "generated")
    return _frechet(first.mean, roots[0], second.mean, roots[1])


def frechet_infinity(
    real: Features, generated: Features, *, num_points: int = 15, seed: int = 0
) -> float:
    """FD∞: the Fréchet distance extrapolated to infinitely many generated images.

    Chong and Forsyth 2020: ``num_points`` sizes n, evenly spaced from max(2 D, M / 10) to M; for
    each, n generated rows drawn without replacement, against all real rows; a least squares line
    through the distances over 1 / n, read at 0. The bias of the N real rows remains (keep N large,
    and equal between models); noise may bring a value slightly below zero.

    Args:
        real: features [N, D], or their :class:`Moments`.
        generated: features [M, D], M of at least 4 D, so that sizes differ enough for a line.
        num_points: sizes.
        seed: of the draws.

    Raises:
        DataError: as :func:`frechet_distance`, or M is below 4 D.
        ConfigError: as :func:`frechet_distance`, or ``num_points`` < 3.
    """
    reference = unmark(real, "real")  # of two swapped sets the first is named
    second = check_features(generated, "generated")
    num, width = second.shape
    mean, root = _gaussian(reference, width)
    if num_points < 3:
        raise ConfigError(
            "frechet_infinity: num_points",
            came=str(num_points),
            allowed="at least 3",
            do="Pass a larger number.",
        )
    if num < 4 * width:
        raise DataError(
            "frechet_infinity: generated",
            came=f"{num} rows of width {width}",
            allowed=f"at least {4 * width} rows (4 times the width)",
            do="Generate more images, or report the kernel distance.",
        )
    rng = np.random.default_rng(seed)
    sizes = np.linspace(max(2 * width, num // 10), num, num_points).astype(int)
    draws = (second[rng.choice(num, size, replace=False)] for size in sizes)
    values = [_frechet(mean, root, rows.mean(axis=0), _root(rows)) for rows in draws]
    return float(np.polyfit(1 / sizes, values, 1)[1])


def kernel_distance(
    real: Features,
    generated: Features,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Kernel distance (KID, Bińkowski et al. 2018): unbiased MMD², kernel ``(xᵀy / D + 1)³``.

    Args:
        real: features [N, D].
        generated: features [M, D].
        num_subsets: subsets drawn, each without replacement.
        subset_size: rows of a subset; reduced to min(N, M) when the sets are smaller.
        seed: decides the subsets.

    Returns:
        Mean and (population) standard deviation over the subsets. The estimate has no bias and
        may therefore be slightly negative.

    Raises:
        DataError: as :func:`frechet_distance`.
        ConfigError: as :func:`frechet_distance`, ``num_subsets`` < 1 or ``subset_size`` < 2.
    """
    first, second = check_pair(real, generated)
    if num_subsets < 1 or subset_size < 2:
        raise ConfigError(
            "kernel_distance",
            came=f"num_subsets={num_subsets}, subset_size={subset_size}",
            allowed="num_subsets of at least 1 and subset_size of at least 2",
            do="Pass larger numbers.",
        )
    size = min(subset_size, len(first), len(second))
    rng = np.random.default_rng(seed)
    values = [
        unbiased_mmd(
            first[rng.choice(len(first), size, replace=False)],
            second[rng.choice(len(second), size, replace=False)],
        )
        for _ in range(num_subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def cmmd(
    real: Features, generated: Features, *, sigma: float = 10.0, scale: float = 1000.0
) -> float:
    """CMMD (Jayasumana et al. 2024): MMD² with a Gaussian kernel on rows of length one, scaled.

    The estimator is the biased one of the paper, which counts each row with itself: never
    negative, and below ``scale / sigma² (1/N + 1/M)`` on average between two sets of one
    population. Sets of up to 5,000 rows take all pairs. Larger ones take the kernel's power series
    about the common mean to the second order (Cotter et al. 2011), with each row's own term exact,
    in O(N D²); what is left out is below ``scale / sigma⁶`` (0.001 by default) at worst and below
    1e-5 of the value on ordinary features.

    Args:
        real: features [N, D], no row zero.
        generated: features [M, D], no row zero.
        sigma: width of the kernel ``exp(-|x - y|² / (2 sigma²))``.
        scale: factor of the result.

    Raises:
        DataError: as :func:`frechet_distance`, or a row is zero.
        ConfigError: as :func:`frechet_distance`, or ``sigma`` is not positive.
    """
    if not sigma > 0:
        raise ConfigError(
            "cmmd: sigma", came=f"{sigma:g}", allowed="above 0", do="Pass the kernel's width."
        )
    first, second = check_pair(real, generated)
    first, second = unit_rows(first, "real"), unit_rows(second, "generated")
    few = max(len(first), len(second)) <= _PAIRS_UP_TO
    return scale * (_mmd_by_pairs if few else _mmd_by_series)(first, second, sigma)


def _frechet(mean: Array, root: Array, other_mean: Array, other_root: Array) -> float:
    """The distance from means [D] and covariance roots [D, r] with S = R Rᵀ."""
    gap = mean - other_mean
    cross = np.linalg.svd(root.T @ other_root, compute_uv=False).sum()
    trace = (root**2).sum() + (other_root**2).sum()
    return float(gap @ gap + max(trace - 2 * cross, 0.0))


def _gaussian(real: Features, width: int) -> tuple[Array, Array]:
    """Mean [D] and covariance root [D, r] of features or moments of this width."""
    if isinstance(real, Moments):
        known = _check_moments(real, "real")
        mean, root = known.mean, _root_of(known.covariance, "real")
    else:
        rows = check_features(real, "real")
        mean, root = rows.mean(axis=0), _root(rows)
    require_one_width(len(mean), width)
    return mean, root


def _root(rows: Array) -> Array:
    """A matrix R [D, min(N, D)] with R Rᵀ the unbiased covariance of rows [N, D]."""
    if len(rows) <= rows.shape[1]:  # the centred rows are a root already
        return np.asarray((rows - rows.mean(axis=0)).T / np.sqrt(len(rows) - 1))
    return _root_of(moments(rows).covariance, "features")


def _root_of(covariance: Array, name: str) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -1e-6 * max(values[-1], 0.0) or values[-1] < 0:
        raise DataError(
            f"moments: {name}",
            came=f"a covariance with an eigenvalue of {values[0]:g}",
            allowed="eigenvalues of at least zero",
            do="Compute the statistics again in float64.",
        )
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def _check_moments(given: Moments | Real | Generated, name: str) -> Moments:
    parts = cast(Moments, unmark(given, name))  # moments may be marked like rows
    mean, covariance = (np.asarray(part, dtype=np.float64) for part in parts)
    shapes_fit = mean.ndim == 1 and mean.size > 0 and covariance.shape == (len(mean), len(mean))
    if not shapes_fit or not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        raise DataError(
            f"moments: {name}",
            came=f"a mean {list(mean.shape)} and a covariance {list(covariance.shape)}",
            allowed="finite numbers, [D] and [D, D]",
            do="Check the statistics file.",
        )
    if not np.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-8 * np.abs(covariance).max()):
        raise DataError(
            f"moments: {name}",
            came="a covariance that is not symmetric",
            allowed="a covariance",
            do="Check the statistics file.",
        )
    return Moments(mean, (covariance + covariance.T) / 2)


def unbiased_mmd(first: Array, second: Array) -> float:
    """MMD² of two sets [N, D] and [M, D] with :func:`cubic_kernel`, no row held against itself."""
    within = 0.0
    for block in (first, second):
        kernel = cubic_kernel(block, block)
        within += (kernel.sum() - np.trace(kernel)) / (len(block) * (len(block) - 1))
    return float(within - 2 * cubic_kernel(first, second).mean())


def cubic_kernel(first: Array, second: Array) -> Array:
    """``(xᵀy / D + 1)³`` of all pairs of rows [N, D] and [M, D], as the kernel distance has it."""
    base = first @ second.T
    base /= first.shape[1]
    base += 1
    return np.asarray(base * base * base)  # numpy's power is many times slower


def _mmd_by_pairs(first: Array, second: Array, sigma: float) -> float:
    """Biased MMD² of unit rows; the kernel less one, as all its values lie close to one."""

    def mean(one: Array, two: Array) -> float:
        total = sum(np.expm1((block @ two.T - 1) / sigma**2).sum() for block in _blocks(one))
        return float(total) / (len(one) * len(two))

    return max(mean(first, first) + mean(second, second) - 2 * mean(first, second), 0.0)


def _mmd_by_series(first: Array, second: Array, sigma: float) -> float:
    """Biased MMD² of unit rows as squared differences of means of the kernel's own features.

    About a centre c, ``k(x, y) = w(x) w(y) Σ_p (u·v / σ²)^p / p!`` with u = x - c, v = y - c and
    ``w(x) = exp(-|u|² / (2 σ²))``; orders 0 to 2 are means of w, w u and w u uᵀ.
    """
    centre = (first.mean(axis=0) + second.mean(axis=0)) / 2
    parts, own = [], 0.0
    for rows in (first, second):
        shifted = (rows - centre) / sigma
        power = (shifted**2).sum(axis=1)
        weight = np.exp(-power / 2)
        root = shifted * np.sqrt(weight / len(rows))[:, None]
        parts.append((weight.mean(), weight @ shifted / len(rows), root.T @ root))
        # a row with itself has kernel one: what the series leaves out there is known exactly
        own += float((1 - weight**2 * (1 + power + power**2 / 2)).sum()) / len(rows) ** 2
    gaps = [one - two for one, two in zip(*parts, strict=True)]
    return float(gaps[0] ** 2 + (gaps[1] ** 2).sum() + (gaps[2] ** 2).sum() / 2 + own)


def _blocks(rows: Array) -> Iterator[Array]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]
