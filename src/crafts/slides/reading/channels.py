"""Which channels of a fluorescence slide become red, green and blue, and how they fit 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.slides.config import FIRST_CHANNELS
from crafts.slides.reading.resolution import SlideReadError

if TYPE_CHECKING:
    from crafts.slides.reading.reader import Slide

_PERCENTILES = 0.1, 99.9  # of a channel of more than 8 bits


def choose_channels(slide: Slide, wanted: tuple[int, int, int]) -> list[int]:
    """The channels that become red, green and blue of a fluorescence slide; -1 for black.

    Args:
        slide: with channels.
        wanted: from the configuration; of the default those that the slide has are taken.

    Raises:
        SlideReadError: the slide does not have one that was asked for.
    """
    count = len(slide.channels)
    if wanted == FIRST_CHANNELS:
        return [channel if channel < count else -1 for channel in FIRST_CHANNELS]
    if not 0 <= max(wanted) < count:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(slide.channels))
        raise SlideReadError(
            str(slide.path),
            came=f"channels {list(wanted)} of a slide that has {count} ({names})",
            allowed=f"channels 0 to {count - 1}, -1 for black",
            do="Set channels to what the slide has, or leave it out.",
        )
    return list(wanted)


def measure_range(slide: Slide) -> list[tuple[float, float]] | None:
    """Black and white point of each channel that has more than 8 bits, from the smallest level.

    None where 8 bits are kept as they are. What is not finite does not count.

    Raises:
        SlideReadError: a channel without one finite value.
    """
    width, height = slide.sizes[-1]
    side = 2048
    left, top = max(0, (width - side) // 2), max(0, (height - side) // 2)
    scale = slide.sizes[0][0] / width
    pixels = slide.read(
        round(left * scale),
        round(top * scale),
        len(slide.sizes) - 1,
        width=min(side, width),
        height=min(side, height),
    ).pixels
    if pixels.dtype == np.uint8:
        return None
    ranges = []
    for name, channel in zip(slide.channels, pixels.reshape(-1, pixels.shape[2]).T, strict=True):
        values = channel[np.isfinite(channel)]
        if not len(values):
            raise SlideReadError(
                str(slide.path),
                came=f"channel {name!r} without a finite value",
                allowed="numbers",
                do="Save the channel again.",
            )
        low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
        least = 1.0 if values.dtype.kind in "ui" else 1e-6 * max(1.0, abs(low))
        ranges.append((low, max(high, low + least)))
    return ranges


def color_channels(
    pixels: NDArray[Any], mapping: list[tuple[float, float]] | None, channels: Sequence[int]
) -> NDArray[np.uint8]:
    """Three channels as red, green and blue, black for -1; 8 bits stay as they are.

    Args:
        pixels: [H, W, C].
        mapping: of :func:`measure_range`.
        channels: of :func:`choose_channels`.

    Returns:
        RGB [H, W, 3].
    """
    colors = np.zeros((*pixels.shape[:2], 3), np.uint8)
    for target, channel in enumerate(channels):
        if channel >= 0:
            plane = pixels[..., channel]
            if mapping is not None:
                low, high = mapping[channel]
                plane = np.clip((plane.astype(np.float64) - low) / (high - low) * 255, 0, 255)
            colors[..., target] = plane
    return colors
