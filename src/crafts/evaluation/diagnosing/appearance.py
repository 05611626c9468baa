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
_TISSUE = 0.15  # optical density (base 10) below which Macenko et al. take a pixel for glass
_PIXELS = 200_000  # enough for two directions in three dimensions
# Ruifrok and Johnston (2001): taken where the tiles do not show two stains
_HEMATOXYLIN_EOSIN = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])


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


def stain_vectors(tiles: Iterable[Any], *, seed: int = 0) -> Array:
    """Directions of hematoxylin and eosin in optical density (Macenko et al. 2009).

    The two outermost directions (1st and 99th percentile of the angle) in the plane of the two
    largest principal components of all tissue pixels.

    Args:
        tiles: uint8 [H, W, 3]; some dozens are enough.
        seed: of the choice of pixels.

    Returns:
        [2, 3] unit rows: hematoxylin (which takes more red light) first, then eosin. Where fewer
        than 100 pixels are tissue, the textbook directions of Ruifrok and Johnston (2001).

    Raises:
        DataError: as :func:`appearance`.
    """
    rng = np.random.default_rng(seed)
    parts = [_tissue_pixels(_checked(tile, index), rng) for index, tile in enumerate(tiles)]
    pixels = np.concatenate(parts) if parts else np.empty((0, 3))
    if len(pixels) < 100:
        return _unit(_HEMATOXYLIN_EOSIN)
    pixels = pixels[rng.permutation(len(pixels))[:_PIXELS]]
    _, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
    plane = vectors[:, 1:]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)  # towards more density
    angles = np.arctan2(*(pixels @ plane).T[::-1])
    ends = np.percentile(angles, (1, 99))
    found = _unit(np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T)
    return found[np.argsort(-found[:, 0])]


def optical_density(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density, base 10, of uint8 [..., 3]; black counts as 1/256 of the light."""
    return np.asarray(_DENSITIES[tile])


def stain_amounts(density: Any, stains: Any) -> Array:
    """Hematoxylin, eosin and what neither explains, from optical density.

    Args:
        density: [..., 3].
        stains: unit rows [2, 3] of :func:`stain_vectors`.

    Returns:
        [..., 3]; the third along the direction at right angles to both stains.
    """
    rows = np.asarray(stains, dtype=np.float64)
    return np.asarray(density) @ np.linalg.inv(np.vstack([rows, _unit(np.cross(*rows)[None])]))


_DENSITIES = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)


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


def _tissue_pixels(tile: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    density = optical_density(tile).reshape(-1, 3)
    density = density[rng.integers(len(density), size=4000)]
    return np.asarray(density[(density > _TISSUE).any(axis=1)])


def _unit(rows: Any) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


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
