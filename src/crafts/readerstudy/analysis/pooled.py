"""Figures for other readers of other items, and what checks them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.config import Endpoint
from crafts.readerstudy.readings import Matrix
from crafts.readerstudy.statistics import agreement, obuchowski, proportions
from crafts.readerstudy.statistics.estimates import Estimate
from crafts.readerstudy.statistics.resampling import bootstrap
from crafts.readerstudy.statistics.ustatistics import over_readers, success_kernel, sum_kernel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One claim of the report.

    Attributes:
        name: what it is.
        estimate: with its interval.
        method: how the interval was made.
        null: the value that would mean "no difference"; None where there is none.
    """

    name: str
    estimate: Estimate
    method: str
    null: float | None = None


MRMC = "U-statistic over readers and items"
ANOVA = "Obuchowski-Rockette, Hillis"
DRAWN = "bootstrap of readers and items"
ITEMS = "bootstrap of items, these readers"


@dataclass(frozen=True)
class Draws:
    """How bootstraps are made: level of the interval, number of draws, seed."""

    level: float
    resamples: int
    seed: int


def endpoint_kernel(matrix: Matrix, endpoint: Endpoint) -> Array:
    """The kernel of the primary figure, [R, real, synthetic]."""
    if endpoint == "area":
        return success_kernel(matrix.scores, matrix.synthetic)
    return sum_kernel(correct(matrix), matrix.synthetic, (0.5, 0.5))


def correct(matrix: Matrix) -> Array:
    """1 where the answer is right, 0 where wrong, NaN where there is none, [R, N]."""
    right = (matrix.answers == 1) == matrix.synthetic
    return np.where(np.isnan(matrix.answers), np.nan, right)


def realness_figures(matrix: Matrix, level: float) -> list[Figure]:
    """Area, balanced accuracy, sensitivity and specificity."""
    right, made = correct(matrix), matrix.synthetic
    kernels: list[tuple[str, Array, float | None]] = [
        ("Area under the ROC curve", success_kernel(matrix.scores, made), 0.5),
        ("Balanced accuracy", sum_kernel(right, made, (0.5, 0.5)), 0.5),
        ("Sensitivity (synthetic called synthetic)", right[:, made], None),
        ("Specificity (real called real)", right[:, ~made], None),
    ]
    return [
        Figure(name, over_readers(kernel, level=level).clipped(0, 1), MRMC, null)
        for name, kernel, null in kernels
    ]


def checks(matrix: Matrix, endpoint: Endpoint, draws: Draws) -> list[Figure]:
    """The primary figure by other methods, which should agree."""
    kernel = endpoint_kernel(matrix, endpoint)
    kernel = kernel[~np.isnan(kernel).all(axis=(1, 2))]
    found = []
    if len(kernel) >= 2 and not np.isnan(kernel).any():
        components = obuchowski.components([kernel])
        found.append(
            Figure("The same", obuchowski.estimate(components, level=draws.level), ANOVA, 0.5)
        )
    if len(kernel) >= 2:
        drawn = bootstrap(kernel, level=draws.level, num_resamples=draws.resamples, seed=draws.seed)
        found.append(Figure("The same", drawn, DRAWN, 0.5))
    return found


def rating_figures(matrix: Matrix, level: float) -> list[Figure]:
    """Mean ratings of both classes and their difference; empty without ratings."""
    if np.isnan(matrix.ratings).all():
        return []
    made = matrix.synthetic
    return [
        Figure(
            "Mean rating of synthetic items",
            over_readers(matrix.ratings[:, made], level=level),
            MRMC,
        ),
        Figure(
            "Mean rating of real items", over_readers(matrix.ratings[:, ~made], level=level), MRMC
        ),
        Figure(
            "Synthetic less real",
            over_readers(sum_kernel(matrix.ratings, made, (-1, 1)), level=level),
            MRMC,
            0.0,
        ),
    ]


def agreement_figures(matrix: Matrix, draws: Draws) -> list[Figure]:
    """Agreement of readers with each other; empty with one reader."""
    if len(matrix.readers) < 2:
        return []
    realness: list[tuple[str, Callable[[Array], float]]] = [
        ("Fleiss' kappa", agreement.fleiss_kappa),
        ("Krippendorff's alpha, nominal", lambda t: agreement.krippendorff_alpha(t, "nominal")),
    ]
    rating: list[tuple[str, Callable[[Array], float]]] = [
        ("Weighted kappa, mean of pairs", lambda t: agreement.mean_pair_kappa(t, "quadratic")),
        ("Krippendorff's alpha, ordinal", lambda t: agreement.krippendorff_alpha(t, "ordinal")),
    ]
    found = []
    for what, table, measures in (
        ("real or synthetic", matrix.answers, realness),
        ("rating", matrix.ratings, rating),
    ):
        for name, measure in measures if not np.isnan(table).all() else ():
            value = agreement.over_items(
                table,
                measure,
                level=draws.level,
                num_resamples=min(draws.resamples, 500),
                seed=draws.seed,
            )
            found.append(Figure(f"{name} ({what})", value, ITEMS, 0.0))
    return found


@dataclass(frozen=True)
class F1:
    """F1 of all answers together beside that of a rater who does not look.

    Attributes:
        synthetic, real: F1 with that class as the one that is looked for.
        one_answer: F1 of the looked-for class every time, at the same share of the class.
    """

    synthetic: float
    real: float
    one_answer: tuple[float, float]


def pooled_f1(matrix: Matrix) -> F1:
    """F1 of all readers' answers; it has no interval because it should carry no claim."""
    known = ~np.isnan(matrix.answers)
    truth = np.broadcast_to(matrix.synthetic, matrix.answers.shape)[known]
    found = proportions.count(matrix.answers[known], truth)
    both = proportions.f1(found)
    number = found.num_synthetic + found.num_real
    share = found.num_synthetic / number if number else math.nan
    ones = proportions.f1_of_one_answer(share), proportions.f1_of_one_answer(1 - share)
    return F1(*both, one_answer=ones)
