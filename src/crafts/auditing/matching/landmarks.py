"""What stays of a tile when it is turned, recompressed or stained anew: structure and landmarks.

A structure map is grey, free of slow changes of light and brought to one local contrast. Landmarks
are its strongest spots, each with a small patch around it that is turned into one of its eight
positions by a rule that depends on the patch alone, so that turned copies give equal descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, uniform_filter

SIDE = 128
"""Pixels along the shorter side of a structure map."""

SCALES = (1.0, 0.84, 0.71, 0.6, 0.5)
"""Sizes at which a suspect is described, so that an enlarged part finds its source."""

COARSE = 32
"""Squares along each side of a tile when it is looked at as a whole."""

Map = NDArray[np.float32]

_FINE, _COARSE, _CONTRAST = 0.7, 17, 25  # a deviation and two windows, in pixels of a map
_FAINT = 4.0  # grey levels: contrast below it is noise of the camera or the file format
_SPOT = 1.5
_GRID = np.arange(-3, 4) * 3  # the patch: 7 x 7 samples, 3 px apart
_MARGIN = 10
_RANGE = 40.0  # a map is kept in 8 bits: values of ±3.2 deviations


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one tile.

    Attributes:
        descriptors: float32 [K, 49], unit length.
        places: float32 [K, 2], (row, column) from the centre, in pixels of the map at scale 1.
        turns: int64 [K], which of the eight symmetries brought the patch into its position.
        scales: int64 [K], index into :data:`SCALES`.
    """

    descriptors: NDArray[np.float32]
    places: NDArray[np.float32]
    turns: NDArray[np.int64]
    scales: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of landmarks."""
        return len(self.turns)


@dataclass(frozen=True)
class TileStructure:
    """What is kept of one tile.

    Attributes:
        landmarks: of the tile.
        map: structure map in 8 bits, int8 [h, w].
        structure: share of its area that has any structure.
    """

    landmarks: Landmarks
    map: NDArray[np.int8]
    structure: float


def describe(pixels: NDArray[np.uint8], *, scales: tuple[float, ...] = (1.0,)) -> TileStructure:
    """All that the search needs of a tile, about 30 KB.

    Args:
        pixels: uint8 [H, W, 3].
        scales: sizes at which to look for landmarks: 1 for training tiles, :data:`SCALES` for
            suspects.
    """
    grey = grey_image(pixels)
    values, structure = structure_map(np.asarray(grey, dtype=np.float32))
    packed = np.rint(values * _RANGE).astype(np.int8)
    return TileStructure(find_landmarks(grey, values, scales=scales), packed, structure)


def coarse_map(packed: NDArray[np.int8]) -> Map:
    """A structure map in few squares [COARSE, COARSE], of mean 0 and length 1 (0 if empty)."""
    small = Image.fromarray(packed.astype(np.float32)).resize(
        (COARSE, COARSE), Image.Resampling.BOX
    )
    values = np.asarray(small) - np.asarray(small).mean()
    length = np.linalg.norm(values)
    return np.asarray(values / length if length > 0 else values, dtype=np.float32)


def grey_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Grey tile whose shorter side has :data:`SIDE` pixels; ``pixels`` uint8 [H, W, 3]."""
    image = Image.fromarray(pixels).convert("L")
    factor = SIDE / min(image.size)
    size = (max(SIDE, round(image.width * factor)), max(SIDE, round(image.height * factor)))
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)


def structure_map(grey: NDArray[np.float32]) -> tuple[Map, float]:
    """Structure without colour, light and local contrast.

    Args:
        grey: [h, w], 0 to 255.

    Returns:
        The map float32 [h, w], about unit variance where there is structure, within ±3; and the
        share of its pixels that have any structure, 0 to 1.
    """
    detail = gaussian_filter(grey, _FINE) - uniform_filter(grey, _COARSE)
    contrast = np.sqrt(uniform_filter(detail * detail, _CONTRAST).clip(0))
    return np.clip(detail / (contrast + _FAINT), -3, 3), float((contrast > _FAINT).mean())


def find_landmarks(
    grey: Image.Image, values: Map, *, number: int = 64, scales: tuple[float, ...] = (1.0,)
) -> Landmarks:
    """The strongest spots of a tile.

    Args:
        grey: of :func:`grey_image`.
        values: its structure map.
        number: landmarks at scale 1; fewer, by area, at smaller scales.
        scales: sizes at which to look, each one of :data:`SCALES`.
    """
    parts = []
    for scale in scales:
        if scale != 1.0:
            size = (round(grey.width * scale), round(grey.height * scale))
            small = grey.resize(size, Image.Resampling.BOX)
            values = structure_map(np.asarray(small, dtype=np.float32))[0]
        parts.append(_describe(values, max(8, round(number * scale**2)), scale))
    return Landmarks(
        np.concatenate([part.descriptors for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.turns for part in parts]),
        np.concatenate([part.scales for part in parts]),
    )


def _describe(values: Map, number: int, scale: float) -> Landmarks:
    smooth = gaussian_filter(values, _SPOT)
    spots = _spots(smooth, number)
    centre = (np.array(smooth.shape, dtype=np.float32) - 1) / 2
    rows = spots[:, 0, None, None] + _GRID[None, :, None]
    columns = spots[:, 1, None, None] + _GRID[None, None, :]
    patches = smooth[rows, columns]
    patches, turns = upright(patches)
    flat = patches.reshape(-1, len(_GRID) ** 2)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6
    places = ((spots - centre) / scale).astype(np.float32)
    return Landmarks(
        flat.astype(np.float32), places, turns, np.full(len(turns), SCALES.index(scale))
    )


def _spots(smooth: Map, number: int) -> NDArray[np.int64]:
    """Strongest local extremes [K, 2] of either sign, away from the border."""
    strength = np.abs(smooth)
    peaks = (strength == maximum_filter(strength, size=5)) & (strength > 0.2)
    inner = np.zeros_like(peaks)
    inner[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True
    rows, columns = np.nonzero(peaks & inner)
    best = np.argsort(-strength[rows, columns], kind="stable")[:number]
    return np.stack([rows[best], columns[best]], axis=1)


def upright(patches: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Turn patches [K, n, n] so that their weight lies in one octant, whatever it was before.

    Returns:
        The turned patches, and which symmetry did it: bit 0 rows reversed, bit 1 columns reversed,
        bit 2 then transposed; see :func:`turn_matrix`.
    """
    axis = np.arange(patches.shape[1], dtype=np.float32) - (patches.shape[1] - 1) / 2
    down = np.einsum("kij,i->k", patches, axis)
    right = np.einsum("kij,j->k", patches, axis)
    flip_rows, flip_columns = down < 0, right < 0
    transpose = np.abs(down) > np.abs(right)
    out = patches.copy()
    out[flip_rows] = out[flip_rows, ::-1]
    out[flip_columns] = out[flip_columns, :, ::-1]
    out[transpose] = out[transpose].transpose(0, 2, 1)
    return out, flip_rows + 2 * flip_columns + 4 * transpose.astype(np.int64)


def turn_matrix(turn: int) -> NDArray[np.float64]:
    """The symmetry as a matrix on (row, column) from the centre."""
    matrix = np.diag([-1.0 if turn & 1 else 1.0, -1.0 if turn & 2 else 1.0])
    return matrix[::-1] if turn & 4 else matrix


def align(
    values: Map,
    shape: tuple[int, ...],
    *,
    matrix: NDArray[np.float64],
    shift: NDArray[np.float64],
    step: int = 1,
) -> tuple[Map, NDArray[np.bool_]]:
    """A map seen from another tile.

    Args:
        values: the map to be looked up.
        shape: of the other map.
        matrix: [2, 2], and ...
        shift: [2]: place in ``values`` = matrix @ place + shift, both from their centres.
        step: look at every so many pixels only.

    Returns:
        The map on the other's pixels, and where it has content.
    """
    rows = np.arange(0, shape[0], step)[:, None] - (shape[0] - 1) / 2
    columns = np.arange(0, shape[1], step)[None, :] - (shape[1] - 1) / 2
    height, width = values.shape
    y = matrix[0, 0] * rows + matrix[0, 1] * columns + shift[0] + (height - 1) / 2
    x = matrix[1, 0] * rows + matrix[1, 1] * columns + shift[1] + (width - 1) / 2
    inside = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < width - 0.5)
    return map_coordinates(values, [y, x], order=1, mode="nearest"), inside
