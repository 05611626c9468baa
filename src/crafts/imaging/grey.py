"""Grey tiles of one mean, one contrast and one amplitude spectrum: what is left is structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from crafts.core.errors import ConfigError, DataError

Images = NDArray[np.uint8]
_BANDS = 32  # rings of spatial frequency
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of ITU-R BT.601


def grey_match(
    images: Images, reference_mean: float = 0.0, reference_std: float = 1.0
) -> NDArray[np.float32]:
    """Grey tiles, each brought to one mean and one standard deviation.

    Args:
        images: uint8 [N, H, W, 3].
        reference_mean: mean of every returned tile.
        reference_std: standard deviation of every returned tile (a flat tile stays flat).

    Returns:
        float32 [N, H, W], not clipped (clipping would bring the contrast back).

    Raises:
        DataError: no uint8 [N, H, W, 3].
    """
    grey = check_images(images).astype(np.float32) @ _LUMA
    centred = grey - grey.mean(axis=(1, 2), keepdims=True)
    std = centred.std(axis=(1, 2), keepdims=True)
    scale = np.divide(reference_std, std, out=np.zeros_like(std), where=std > 1e-3)
    return np.asarray(centred * scale + reference_mean, dtype=np.float32)


def spectrum_match(grey: NDArray[np.float32], *, max_gain: float = 4.0) -> NDArray[np.float32]:
    """Bring grey tiles to one amplitude spectrum: sharpness and scale of a set then tell nothing.

    In rings of spatial frequency f the root mean square of the cosine transform (reflecting at the
    borders) becomes proportional to 1 / (f + 0.01 cycles per pixel), as far as a gain of
    ``max_gain`` allows: what is not in a tile, such as the fine detail of a blurred one, is not
    made up. Phases, which hold the shapes, stay.

    Args:
        grey: float [N, H, W].
        max_gain: bound of the gain of a ring, and of its inverse; above 1.

    Returns:
        float32 [N, H, W] of mean 0 and deviation 1 (a flat tile stays flat).

    Raises:
        ConfigError: ``max_gain`` below 1.
    """
    if max_gain < 1:
        raise ConfigError(
            "spectrum_match: max_gain", came=f"{max_gain:g}", allowed="1 or more", do="Raise it."
        )
    height, width = grey.shape[1:]
    radius = np.hypot(np.arange(height)[:, None] / height, np.arange(width) / width) / 2
    ring = np.minimum((radius * np.sqrt(2) * _BANDS).astype(int), _BANDS - 1)
    count = np.maximum(np.bincount(ring.ravel(), minlength=_BANDS), 1)
    centre = np.bincount(ring.ravel(), radius.ravel(), minlength=_BANDS) / count
    wanted = 1 / (centre + 0.01)
    out = np.zeros(grey.shape, dtype=np.float32)
    for index, tile in enumerate(grey):
        waves = dctn(tile.astype(np.float64), norm="ortho")
        waves[0, 0] = 0.0
        energy = np.bincount(ring.ravel(), (waves**2).ravel(), minlength=_BANDS)
        if energy.sum() < 1e-9:
            continue
        level = np.sqrt(energy.sum() / (wanted**2 * count).sum())
        amplitude = np.maximum(np.sqrt(energy / count), 1e-9)
        gain = np.clip(level * wanted / amplitude, 1 / max_gain, max_gain)
        matched = idctn(waves * np.interp(radius, centre, gain), norm="ortho")
        out[index] = matched / matched.std()
    return out


def check_images(images: Any) -> Images:
    """Tiles as uint8 [N, H, W, 3].

    Raises:
        DataError: another type or shape.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or array.size == 0:
        raise DataError(
            "images",
            came=f"{array.dtype} {list(array.shape)}",
            allowed="uint8 [N, H, W, 3], not empty",
            do="Convert images to 8-bit RGB tiles of one size.",
        )
    return array
