"""What a tile looks like in numbers that are read from its pixels alone.

Five are for the diagnosis (sharpness, block edges, colour in optical density), five for the gate
(blur, flatness, saturation, colours that no H&E has). An encoder of 128 pixels sees neither a mild
blur nor a compression; these do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from crafts.core.errors import DataError
from crafts.imaging.stains import find_tissue, optical_density, stain_amounts, textbook_stains

Array = NDArray[np.float64]

COLUMNS = ("sharpness", "blockiness", "red", "green", "blue")
"""Columns of :func:`appearance`."""

_LUMA = np.array([0.299, 0.587, 0.114])
_GRID = 8  # pixels: the blocks of JPEG, and the cells of a latent of factor 8
_SMALLEST = 3 * _GRID


def appearance(tiles: Iterable[Any]) -> Array:
    """Sharpness, blockiness and mean optical density of each tile; one tile in memory at a time.

    Args:
        tiles: uint8 [H, W, 3], all of one physical scale: sharpness is a matter of pixels.

    Returns:
        [N, 5] with :data:`COLUMNS`. Sharpness: natural logarithm of the energy finer than a
        Gaussian of 1 pixel over the energy between Gaussians of 2 and 4 pixels; contrast cancels
        out. Blockiness: logarithm of the mean step in grey across the borders of the 8-pixel grid
        over the mean step elsewhere; 0 without a grid. Red, green, blue: optical density, base 10,
        of the mean colour (the mean of densities would fall under blur, which moves no light).

    Raises:
        DataError: no tiles, or one that is no uint8 [H, W, 3] of at least 24 pixels a side.
    """
    rows = [_row(_checked(tile, index)) for index, tile in enumerate(tiles)]
    if not rows:
        raise DataError(
            "appearance: tiles",
            came="no tiles",
            allowed="at least one",
            do="Check the folder of images.",
        )
    return np.asarray(rows)


def _row(tile: NDArray[np.uint8]) -> tuple[float, ...]:
    grey = tile.astype(np.float32) @ _LUMA.astype(np.float32)
    red, green, blue = -np.log10((tile.mean(axis=(0, 1)) + 1) / 256)
    return _sharpness(grey), _blockiness(grey), float(red), float(green), float(blue)


def _sharpness(grey: NDArray[np.float32]) -> float:
    fine = (grey - gaussian_filter(grey, 1.0)).var()
    middle = (gaussian_filter(grey, 2.0) - gaussian_filter(grey, 4.0)).var()
    # the rounding to whole grey levels alone gives 1/12: a flat tile is not infinitely sharp
    return float(np.log((fine + 1 / 12) / (middle + 1 / 12)))


def _blockiness(grey: NDArray[np.float32]) -> float:
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis) for axis in (0, 1)]
    border = np.concatenate([step[_GRID - 1 :: _GRID] for step in steps]).mean()
    inside = np.concatenate([np.delete(step, np.s_[_GRID - 1 :: _GRID]) for step in steps]).mean()
    return float(np.log((border + 1 / 12) / (inside + 1 / 12)))


def _checked(tile: Any, index: int) -> NDArray[np.uint8]:
    array = np.asarray(tile)
    if (
        array.dtype != np.uint8
        or array.ndim != 3
        or array.shape[2] != 3
        or min(array.shape[:2]) < _SMALLEST
    ):
        raise DataError(
            f"tile {index}",
            came=f"{array.dtype} {list(array.shape)}",
            allowed=f"uint8 [H, W, 3] of at least {_SMALLEST} pixels a side",
            do="Convert images to 8-bit RGB tiles.",
        )
    return array


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
