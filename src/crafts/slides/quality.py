"""Gates on single tiles: blank, pen, blur, fold. Each refusal has a reason in words.

The defaults were set on 1,500 real tiles of sixteen sets and on tiles with pen marks: each gate
refuses less than 1 % of tiles without fault. No gate replaces a look at what it refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from crafts.slides.config import GateConfig

Floats = NDArray[np.float32]

_WHITE, _BLACK = 220, 30  # grey levels
_STAINED = 20  # a pixel counts for the sharpness above a saturation of one twentieth
_STRIDE = 4
_MIN_STAINED = 100  # pixels, below which nothing is said of it
_SOLID = 9  # pixels a side, of those that are looked at, that navy ink fills and no nucleus does
_FILLER = 128  # in every channel: what libjpeg puts where the data of a picture end early


def find_fault(pixels: NDArray[np.uint8], config: GateConfig) -> str | None:
    """The first gate that refuses a tile, in words with its number; None for a good tile.

    Colours are judged on every fourth pixel of every fourth row, the sharpness on all.

    Args:
        pixels: RGB [H, W, 3].
        config: limits.
    """
    colors = pixels[::_STRIDE, ::_STRIDE].astype(np.float32)
    red, green, blue = colors[..., 0], colors[..., 1], colors[..., 2]
    high, low = colors.max(-1), colors.min(-1)
    saturation = (high - low) / np.maximum(high, 1)
    spread = float(colors.std((0, 1)).max())
    ink = (green - red > 25) & ((green >= blue - 25) | (saturation > 0.6))
    shares = (
        ("blank (white)", low > _WHITE, config.blank),
        ("blank (black)", high < _BLACK, config.blank),
        ("pen (green or blue)", ink, config.pen),
        ("pen (navy)", _navy_ink(red, green, blue, saturation), config.pen),
        ("pen (red)", (red - green > 120) & (red - blue > 110), 2 * config.pen),
        ("fold", saturation - high / 255 > 0.3, config.fold),
    )
    if spread < config.flat:
        return f"blank (flat): spread {spread:.2f}, below {config.flat:g}"
    for name, where, limit in shares:
        if (share := float(where.mean())) > limit:
            return f"{name}: share {share:.3f}, above {limit:g}"
    sharpness = measure_sharpness(pixels) if config.blur else None
    if sharpness is not None and sharpness < config.blur:
        return f"blur: sharpness {sharpness:.2f}, below {config.blur:g}"
    return None


def _navy_ink(red: Floats, green: Floats, blue: Floats, saturation: Floats) -> NDArray[np.bool_]:
    """Where dark blue fills a whole neighbourhood; haematoxylin is redder, or in dots."""
    dark_blue = (saturation > 0.5) & (blue - np.maximum(red, green) > 30) & (green >= red - 10)
    return ndimage.uniform_filter(dark_blue.astype(np.float32), _SOLID) > 0.9


def has_filler(pixels: NDArray[np.uint8]) -> bool:
    """Whether a part of a picture is what a JPEG decoder puts where data are missing.

    libjpeg only warns of it, and OpenSlide passes no warning on. A part is 16 by 16 pixels, of
    which every fourth of every fourth row is looked at; no stained tile of 3,000 real ones has one.

    Args:
        pixels: RGB [H, W, 3].
    """
    gray = (pixels[::_STRIDE, ::_STRIDE] == _FILLER).all(-1)
    height, width = (side // 4 for side in gray.shape)
    parts = gray[: 4 * height, : 4 * width].reshape(height, 4, width, 4)
    return bool(parts.all((1, 3)).any())


def measure_sharpness(pixels: NDArray[np.uint8]) -> float | None:
    """Variance of the Laplacian of the brightness over stained pixels, without the outermost.

    Args:
        pixels: RGB [H, W, 3].

    Returns:
        In grey levels squared; None where hardly a pixel is stained.
    """
    gray = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.int16)
    inner = gray[1:-1, 1:-1]
    edges = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inner
    first, second, third = (pixels[1:-1, 1:-1, channel] for channel in range(3))
    high = np.maximum(np.maximum(first, second), third)
    low = np.minimum(np.minimum(first, second), third)
    values = edges[high - low > high // _STAINED]
    return float(values.var()) if len(values) >= _MIN_STAINED else None
