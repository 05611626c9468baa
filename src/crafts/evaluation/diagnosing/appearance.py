"""What a tile looks like in five numbers: sharpness, block edges and colour in optical density.

They are read from the pixels alone. An encoder of 128 pixels sees neither a mild blur nor a
compression; these do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from crafts.core.errors import DataError

Array = NDArray[np.float64]

COLUMNS = ("sharpness", "blockiness", "red", "green", "blue")
"""Columns of :func:`appearance`."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
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
    grey = tile.astype(np.float32) @ _LUMA
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
