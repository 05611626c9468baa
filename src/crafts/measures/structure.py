"""Structure, not colour: grey tiles matched in mean and contrast, and controls that must fail.

A generator that has learned only the colours of a class looks convincing in small pictures. An
encoder that sees grey tiles of one mean and one contrast cannot be led by that; beside it stand
images that hold colour only, amplitude spectrum only, or coarse shapes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from crafts.core.errors import ConfigError, DataError

Images = NDArray[np.uint8]
_BANDS = 32  # rings of spatial frequency
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


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


def colour_statistics_generator(
    images: Images, num: int, *, grain: float = 4.0, seed: int = 0
) -> Images:
    """A generator that has learned a class's colours and nothing else.

    Smooth Gaussian noise with the mean and covariance of the pixels of ``images``; its spatial
    correlation is the same for every class, so no structure of the class is in it.

    Args:
        images: tiles of one class, uint8 [N, H, W, 3].
        num: tiles to draw.
        grain: standard deviation in pixels of the smoothing, for all classes alike.
        seed: of the noise.

    Returns:
        uint8 [num, H, W, 3].

    Raises:
        DataError: no uint8 [N, H, W, 3].
    """
    tiles = check_images(images)
    pixels = tiles.reshape(-1, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    rng = np.random.default_rng(seed)
    drawn = np.empty((num, *tiles.shape[1:]), dtype=np.uint8)
    for index in range(num):
        noise = gaussian_filter(
            rng.standard_normal(tiles.shape[1:]), (grain, grain, 0), mode="wrap"
        )
        noise = (noise - noise.mean(axis=(0, 1))) / noise.std(axis=(0, 1))
        drawn[index] = _to_bytes(noise @ root.T + pixels.mean(axis=0))
    return drawn


def phase_scramble(images: Images, *, seed: int = 0) -> Images:
    """Keep each tile's amplitude spectrum and draw its phases anew, the same in all channels.

    Args:
        images: uint8 [N, H, W, 3].
        seed: of the phases.

    Returns:
        uint8 [N, H, W, 3] with the mean colour and the spectrum of the tiles, without their shapes.

    Raises:
        DataError: no uint8 [N, H, W, 3].
    """
    tiles = check_images(images)
    height, width = tiles.shape[1:3]
    rng = np.random.default_rng(seed)
    out = np.empty_like(tiles)
    for index, tile in enumerate(tiles):
        phase = np.angle(np.fft.rfft2(rng.standard_normal((height, width))))
        phase[0, 0] = 0.0  # the mean colour keeps its sign
        spectrum = np.fft.rfft2(tile, axes=(0, 1)) * np.exp(1j * phase)[..., None]
        out[index] = _to_bytes(np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1)))
    return out


def blur(images: Images, sigma: float) -> Images:
    """Gaussian blur, ``sigma`` in pixels; uint8 [N, H, W, 3] in and out.

    Raises:
        DataError: no uint8 [N, H, W, 3].
        ConfigError: ``sigma`` is negative.
    """
    if sigma < 0:
        raise ConfigError(
            "blur: sigma",
            came=f"{sigma:g}",
            allowed="0 or more pixels",
            do="Pass a positive width.",
        )
    smooth = gaussian_filter(
        check_images(images).astype(np.float32), (0, sigma, sigma, 0), mode="reflect"
    )
    return _to_bytes(smooth)


def balanced_accuracy(
    labels: Sequence[int] | NDArray[np.int64], predictions: Sequence[int] | NDArray[np.int64]
) -> float:
    """Mean over the classes that occur in ``labels`` of the share predicted rightly.

    Raises:
        DataError: no labels, or numbers differ.
    """
    truth, guess = np.asarray(labels), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != guess.shape or truth.size == 0:
        raise DataError(
            "balanced_accuracy",
            came=f"{truth.size} labels and {guess.size} predictions",
            allowed="as many of both, at least one",
            do="Pass one prediction for each label.",
        )
    return float(np.mean([(guess[truth == name] == name).mean() for name in np.unique(truth)]))


def chance_corrected(accuracy: float, num_classes: int) -> float:
    """Balanced accuracy brought to 0 for guessing and 1 for always right: (a - 1/K) / (1 - 1/K).

    Raises:
        ConfigError: fewer than two classes.
    """
    if num_classes < 2:
        raise ConfigError(
            "chance_corrected: num_classes",
            came=str(num_classes),
            allowed="at least 2",
            do="Compare two classes.",
        )
    chance = 1 / num_classes
    return (accuracy - chance) / (1 - chance)


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


def _to_bytes(values: NDArray[Any]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
