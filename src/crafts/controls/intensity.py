"""Intensities to [0, 1] between two percentiles, with a record of what they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError

PERCENTILES = (1.0, 99.8)


@dataclass(frozen=True)
class ChannelRange:
    """How a channel was brought to [0, 1]; provenance repeats it.

    Attributes:
        name: of the channel.
        low: intensity that became 0.
        high: intensity that became 1.
        percentiles: at which they were measured; 0 and 100 for the least and the greatest.
    """

    name: str
    low: float
    high: float
    percentiles: tuple[float, float] = PERCENTILES


def measure_range(
    values: NDArray[np.generic],
    name: str,
    *,
    percentiles: tuple[float, float] = PERCENTILES,
    least_span: float = 0.0,
) -> ChannelRange:
    """Percentiles of a channel; where they are equal, its least and greatest value.

    Args:
        values: of any shape.
        name: of the channel.
        percentiles: lower and upper, 0 to 100.
        least_span: ``high`` lies at least this much above ``low``: noise is not stretched.

    Raises:
        ConfigError: percentiles out of order or range.
        DataError: empty, not numbers, NaN or infinite, or constant while ``least_span`` is 0.
    """
    first, last = percentiles
    if not 0 <= first < last <= 100:
        raise ConfigError(
            f"{name}: percentiles",
            came=f"{percentiles}",
            allowed="two rising numbers of 0 to 100",
            do="Use (1, 99.8).",
        )
    check_intensities(values, name)
    low, high = (float(value) for value in np.percentile(values.astype(np.float64), (first, last)))
    if high <= low and least_span <= 0:  # sparse signal: a few bright nuclei on black
        low, high, first, last = float(values.min()), float(values.max()), 0.0, 100.0
    if high <= low and least_span <= 0:
        raise DataError(
            name,
            came=f"a constant channel ({low:g} everywhere)",
            allowed="a channel with signal",
            do="Choose another channel, or check the exposure.",
        )
    return ChannelRange(name, low, max(high, low + least_span), (first, last))


def apply_range(values: NDArray[np.generic], scale: ChannelRange) -> NDArray[np.float32]:
    """Map ``low`` to 0 and ``high`` to 1 and cut what lies beyond, float32."""
    spread = np.asarray(values, np.float64) - scale.low
    return np.clip(spread / (scale.high - scale.low), 0, 1).astype(np.float32)


def check_intensities(values: NDArray[np.generic], name: str) -> None:
    """Refuse what has no intensities.

    Raises:
        DataError: empty, of a type without order, or with NaN or infinite values.
    """
    if values.size == 0:
        raise DataError(name, came="no pixels", allowed="an image", do="Check the file.")
    if values.dtype.kind not in "uif":
        raise DataError(
            name,
            came=f"values of type {values.dtype}",
            allowed="integers or real numbers",
            do="Save intensities.",
        )
    if values.dtype.kind == "f" and (wrong := int((~np.isfinite(values)).sum())):
        raise DataError(
            name,
            came=f"{wrong} pixels NaN or infinite",
            allowed="finite intensities",
            do="Fill or cut these pixels.",
        )
