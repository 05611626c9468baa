"""How points lie together: Ripley's K of several fields, and a Thomas process fitted to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crafts.core.config import Config

Floats = NDArray[np.float64]

_MEGAPIXEL = 1e6
_STEPS = 24
_FEWEST_PAIRS = 200


class Cluster(Config):
    """A Thomas process: centres lie anywhere, nuclei around them as in a normal distribution.

    Attributes:
        radius: standard deviation around a centre in pixels.
        density: centres per megapixel.
    """

    radius: float = Field(gt=0)
    density: float = Field(gt=0)


def ripley_k(
    points: Sequence[Floats], sizes: Sequence[tuple[int, int]], radii: Floats
) -> tuple[Floats, int]:
    """Ripley's K, pooled over fields, each with its own density, with translation correction.

    Fields of different density do not look clustered for that alone.

    Args:
        points: y and x of the points of each field [N, 2].
        sizes: height and width of each field.
        radii: [R], rising.

    Returns:
        K at the radii [R] in square pixels (pi r^2 for points that lie anywhere), and the number of
        ordered pairs up to the last radius.
    """
    found = np.zeros(len(radii))
    expected, pairs = 0.0, 0
    for places, (height, width) in zip(points, sizes, strict=True):
        if len(places) < 2:
            continue
        gaps = np.abs(places[:, None] - places[None])
        weights = height * width / (np.maximum(height - gaps[..., 0], 1e-9)
                                    * np.maximum(width - gaps[..., 1], 1e-9))  # fmt: skip
        distances = np.hypot(gaps[..., 0], gaps[..., 1])
        np.fill_diagonal(distances, np.inf)
        near = distances <= radii[-1]
        bins = np.searchsorted(radii, distances[near])
        found += np.cumsum(np.bincount(bins, weights[near], len(radii))[: len(radii)])
        pairs += int(near.sum())
        expected += len(places) * (len(places) - 1) / (height * width)
    return found / max(expected, 1e-12), pairs


def thomas_k(radii: Floats, radius: float, density: float) -> Floats:
    """K of a Thomas process [R]; ``radius`` in pixels, ``density`` in centres per pixel."""
    return np.asarray(np.pi * radii**2 + (1 - np.exp(-(radii**2) / (4 * radius**2))) / density)


def fit_cluster(
    points: Sequence[Floats], sizes: Sequence[tuple[int, int]], diameter: float
) -> Cluster | None:
    """Fit a Thomas process by least contrast, beyond the distance at which nuclei touch.

    Args:
        points: y and x of the nuclei of each field [N, 2].
        sizes: height and width of each field.
        diameter: of a nucleus in pixels; closer pairs tell of size, not of clustering.

    Returns:
        The process, or None where there are fewer than 200 pairs or no clustering.
    """
    from scipy.optimize import minimize

    low, high = 1.5 * diameter, max(min(min(size) for size in sizes) / 3, 3 * diameter)
    radii = np.linspace(low, high, _STEPS)
    found, pairs = ripley_k(points, sizes, radii)
    if pairs < _FEWEST_PAIRS:
        return None
    excess = found - found[0] - np.pi * (radii**2 - low**2)

    def contrast(logs: Floats) -> float:
        model = thomas_k(radii, *np.exp(logs)) - np.pi * radii**2
        return float(np.sum(((model - model[0] - excess)[1:] / radii[1:]) ** 2))

    bounds = [(np.log(diameter / 2), np.log(high)), (np.log(1e-7), np.log(1e-1))]
    starts = [(scale * high, 1 / (np.pi * high**2)) for scale in (0.15, 0.4, 0.8)]
    fits = [minimize(contrast, np.log(start), bounds=bounds, method="L-BFGS-B") for start in starts]
    radius, density = np.exp(min(fits, key=lambda fit: float(fit.fun)).x)
    # centres so many that their clouds overlap everywhere are no clusters
    if density * 4 * np.pi * radius**2 > 20:
        return None
    return Cluster(radius=float(radius), density=float(density * _MEGAPIXEL))
