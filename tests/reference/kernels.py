"""CMMD and the Vendi score from all pairs of rows, as their papers write them, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def naive_cmmd(real: Any, generated: Any, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """Jayasumana et al. 2024, equation 5 with rows of length one, each counted with itself too."""

    def mean(first: Any, second: Any) -> float:
        total = math.fsum(
            math.exp(-float(((x - y) ** 2).sum()) / (2 * sigma**2)) for x in first for y in second
        )
        return total / (len(first) * len(second))

    one = [row / np.linalg.norm(row) for row in real]
    two = [row / np.linalg.norm(row) for row in generated]
    return scale * (mean(one, one) + mean(two, two) - 2 * mean(one, two))


def naive_vendi(features: Any) -> float:
    """Friedman and Dieng 2023, definition 3.1: the eigenvalues of the N x N matrix of cosines."""
    unit = [row / np.linalg.norm(row) for row in features]
    kernel = np.array([[float(x @ y) for y in unit] for x in unit])
    values = np.linalg.eigvalsh(kernel / len(unit))
    return math.exp(-sum(value * math.log(value) for value in values if value > 1e-15))
