"""Hematoxylin and eosin out of colour: one deconvolution for every page, map and score.

Stains add up in optical density. Which directions they have there depends on the laboratory, so a
comparison of sets measures them once on its real tiles (:func:`stain_vectors`) and takes these for
every set and every number on its page. Where nothing is compared (a caption's estimate, a control
map, thresholds that are stored) the textbook directions serve, which are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError

Array = NDArray[np.float64]

HEMATOXYLIN_EOSIN = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105))
"""Optical density in R, G, B of the two stains, not of unit length (Ruifrok and Johnston 2001)."""

HEMATOXYLIN_EOSIN_REST = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""The same, rounded, with a third stain in place of a rest at right angles to both (Ruifrok and
Johnston 2001): what control maps and the jitter of stains were trained with, and so keep."""

_TISSUE = 0.15  # optical density (base 10) below which Macenko et al. take a pixel for glass
_TISSUE_MEAN = 0.05  # the same for the mean of the channels, where no pale tissue may be lost
_LEAST_TISSUE = 0.01
_PIXELS = 200_000  # enough for two directions in three dimensions
_PIXELS_A_TILE = 4000
_DENSITIES = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)


def optical_density(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density, base 10, of uint8 [..., 3]; black counts as 1/256 of the light."""
    return np.asarray(_DENSITIES[tile])


def find_tissue(tile: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels [H, W] of a tile that are no glass; all where less than 1 % are.

    Args:
        tile: uint8 [H, W, 3]. Pixels count where the mean density of red, green and blue is above
            0.05.
    """
    tissue = optical_density(tile).mean(axis=-1) > _TISSUE_MEAN
    return np.asarray(tissue if tissue.mean() >= _LEAST_TISSUE else np.ones_like(tissue))


def textbook_stains() -> Array:
    """Unit rows [2, 3] of hematoxylin and eosin (Ruifrok and Johnston 2001)."""
    return _unit(np.array(HEMATOXYLIN_EOSIN))


def stain_vectors(tiles: Iterable[Any], *, seed: int = 0) -> Array:
    """Directions of hematoxylin and eosin in optical density (Macenko et al. 2009).

    The two outermost directions (1st and 99th percentile of the angle) in the plane of the two
    largest principal components of all tissue pixels.

    Args:
        tiles: uint8 [H, W, 3]; some dozens are enough.
        seed: of the choice of pixels.

    Returns:
        [2, 3] unit rows: hematoxylin (which takes more red light) first, then eosin. Where fewer
        than 100 pixels are tissue, those of :func:`textbook_stains`.

    Raises:
        DataError: a tile is no uint8 [H, W, 3].
    """
    rng = np.random.default_rng(seed)
    parts = [_tissue_pixels(_checked(tile, index), rng) for index, tile in enumerate(tiles)]
    pixels = np.concatenate(parts) if parts else np.empty((0, 3))
    if len(pixels) < 100:
        return textbook_stains()
    pixels = pixels[rng.permutation(len(pixels))[:_PIXELS]]
    _, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
    plane = vectors[:, 1:]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)  # towards more density
    angles = np.arctan2(*(pixels @ plane).T[::-1])
    ends = np.percentile(angles, (1, 99))
    found = _unit(np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T)
    return found[np.argsort(-found[:, 0])]


def stain_amounts(density: Any, stains: Any) -> Array:
    """Hematoxylin, eosin and what neither explains, from optical density.

    Args:
        density: [..., 3].
        stains: unit rows [2, 3] of :func:`stain_vectors` or :func:`textbook_stains`.

    Returns:
        [..., 3]; the third along the direction at right angles to both stains.
    """
    rows = np.asarray(stains, dtype=np.float64)
    return np.asarray(density) @ np.linalg.inv(np.vstack([rows, _unit(np.cross(*rows)[None])]))


def _tissue_pixels(tile: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    density = optical_density(tile).reshape(-1, 3)
    density = density[rng.integers(len(density), size=_PIXELS_A_TILE)]
    return np.asarray(density[(density > _TISSUE).any(axis=1)])


def _unit(rows: Any) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _checked(tile: Any, index: int) -> NDArray[np.uint8]:
    array = np.asarray(tile)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(
            f"tile {index}",
            came=f"{array.dtype} {list(array.shape)}",
            allowed="uint8 [H, W, 3], not empty",
            do="Convert images to 8-bit RGB tiles.",
        )
    return array
