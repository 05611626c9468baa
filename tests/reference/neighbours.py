"""Precision, recall, density and coverage as published, one pair of points at a time in float64.

Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, equations 5 and 7; strict <, and
the k-th neighbour does not count the point itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def distance(x: Any, y: Any) -> float:
    return float(np.sqrt(((x - y) ** 2).sum()))


def naive_prdc(real: Any, generated: Any, k: int) -> dict[str, float]:
    def radii(points: Any) -> list[float]:
        return [
            sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    real_radii, generated_radii = radii(real), radii(generated)
    inside = [
        [distance(r, g) < radius for g in generated]
        for r, radius in zip(real, real_radii, strict=True)
    ]
    reached = [
        [distance(r, g) < radius for r in real]
        for g, radius in zip(generated, generated_radii, strict=True)
    ]
    return {
        "precision": sum(any(column) for column in zip(*inside, strict=True)) / len(generated),
        "recall": sum(any(column) for column in zip(*reached, strict=True)) / len(real),
        "density": sum(map(sum, inside)) / (k * len(generated)),
        "coverage": sum(any(row) for row in inside) / len(real),
    }
