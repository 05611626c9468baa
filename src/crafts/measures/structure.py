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
from scipy.ndimage import gaussian_filter

from crafts.core.errors import ConfigError, DataError
from crafts.imaging.grey import Images, check_images


def color_statistics_generator(
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


def _to_bytes(values: NDArray[Any]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
