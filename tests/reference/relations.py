"""The relations and losses of CRAFTS, one number at a time in float64, without a tensor library."""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = list[list[float]]


def centred(rows: Sequence[Sequence[float]]) -> Matrix:
    """Rows minus the mean row."""
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Cosine of two vectors, 0 where one has no length."""
    dot = math.fsum(a * b for a, b in zip(first, second, strict=True))
    length = math.sqrt(math.fsum(a * a for a in first)) * math.sqrt(
        math.fsum(b * b for b in second)
    )
    return dot / length if length else 0.0


def relation_matrix_loop(rows: Sequence[Sequence[float]], centre: bool) -> Matrix:
    """Cosine of each pair of rows."""
    rows = centred(rows) if centre else [list(row) for row in rows]
    return [[cosine(first, second) for second in rows] for first in rows]


def category_weights_loop(
    typicality: Sequence[float], temperature: float | None, centre: bool, known: Sequence[bool]
) -> Matrix:
    """Sigmoid of the sums, minus their mean over known pairs, divided by the temperature."""
    number = range(len(typicality))
    sums = [[typicality[i] + typicality[j] for j in number] for i in number]
    counted = [sums[i][j] for i in number for j in number if known[i] and known[j]]
    mean, scale = 0.0, 1.0 if temperature is None else temperature
    if centre and counted:
        mean = math.fsum(counted) / len(counted)
        if temperature is None:
            variance = math.fsum((value - mean) ** 2 for value in counted) / len(counted)
            scale = math.sqrt(variance) if math.sqrt(variance) > 1e-6 else 1.0
    weights = []
    for i in number:
        row = []
        for j in number:
            weight = 1 / (1 + math.exp(-(sums[i][j] - mean) / scale))
            row.append(weight if known[i] and known[j] else 0.0)
        weights.append(row)
    return weights


def divergence_loop(
    relations: Sequence[Sequence[float]],
    wanted: Sequence[Sequence[float]],
    *weights: Sequence[Sequence[float]],
) -> float:
    """``(1/B^2) sum_ij w_ij |M_ij - N_ij|^2`` with the product of all given weights."""
    terms = []
    for i, row in enumerate(relations):
        for j, value in enumerate(row):
            term = (value - wanted[i][j]) ** 2
            for weight in weights:
                term *= weight[i][j]
            terms.append(term)
    return math.fsum(terms) / len(terms)


def effective_pairs_loop(weights: Sequence[Sequence[float]]) -> float:
    """Kish's effective number over pairs i < j; columns beyond the rows are past samples."""
    pairs = [row[j] for i, row in enumerate(weights) for j in range(i + 1, len(row))]
    squares = math.fsum(w * w for w in pairs)
    return math.fsum(pairs) ** 2 / squares if squares else 0.0


def likeness_loop(
    features: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
    different: Sequence[Sequence[bool]],
    weights: Sequence[Sequence[float]],
) -> float:
    """One minus the ratio of the weighted squared distances over pairs of different prompts."""
    found = real = 0.0
    for i in range(len(features)):
        for j in range(i):
            if different[i][j]:
                for a, b in zip(features[i], features[j], strict=True):
                    found += weights[i][j] * (a - b) ** 2
                for a, b in zip(reference[i], reference[j], strict=True):
                    real += weights[i][j] * (a - b) ** 2
    return 1 - found / real
