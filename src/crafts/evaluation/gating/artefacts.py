"""Numbers that betray a spoilt tile: blur, flatness, saturation, colours that no H&E has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.imaging.stains import find_tissue, optical_density, stain_amounts, textbook_stains

ARTEFACTS = ("blur", "noise", "flat", "white", "black", "off_stain")
"""What a tile may be refused for; each looks at one number of :func:`measure_artefacts`."""

SIDES: Mapping[str, tuple[str, int]] = {
    "blur": ("sharpness", -1),
    "noise": ("sharpness", 1),
    "flat": ("contrast", -1),
    "white": ("white", 1),
    "black": ("black", 1),
    "off_stain": ("off_stain", 1),
}
"""Artefact -> the number it looks at, and -1 for too low or 1 for too high."""

_LUMA = np.array([0.299, 0.587, 0.114])
_WHITE, _BLACK = 235, 20


def measure_artefacts(tile: NDArray[np.uint8], size: int) -> dict[str, float]:
    """Numbers of one tile, at one size so that they compare.

    Args:
        tile: uint8 [H, W, 3].
        size: side in pixels to which the tile is brought (bicubic) if it has another.

    Returns:
        ``sharpness``: log10 of the variance of the Laplacian of the luma, which grows with detail;
        ``contrast``: standard deviation of the luma, 0 to 127.5; ``white``, ``black``: share of
        pixels whose darkest channel is above 235, or whose lightest is below 20; ``off_stain``:
        share of the density that haematoxylin and eosin cannot make (the residual, and negative
        amounts of either), 0 to 1.
    """
    if tile.shape[:2] != (size, size):
        resized = Image.fromarray(tile).resize((size, size), Image.Resampling.BICUBIC)
        tile = np.asarray(resized)
    luma = tile.astype(np.float64) @ _LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    stains = stain_densities(tile)
    other = abs(stains[2]) - np.minimum(stains[:2], 0).sum()
    return {
        "sharpness": float(np.log10(laplacian.var() + 1e-3)),
        "contrast": float(luma.std()),
        "white": float((tile.min(axis=2) > _WHITE).mean()),
        "black": float((tile.max(axis=2) < _BLACK).mean()),
        "off_stain": float(other / max(np.abs(stains).sum(), 1e-6)),
    }


def stain_densities(tile: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean optical density of haematoxylin, eosin and the residual in the tissue of one tile.

    Along the textbook directions, whatever the set: thresholds of the gate are stored with an
    encoder and used on tiles of other laboratories.

    Args:
        tile: uint8 [H, W, 3].

    Returns:
        [3].
    """
    density = optical_density(tile)[find_tissue(tile)]
    return stain_amounts(density.mean(axis=0, dtype=np.float64), textbook_stains())
