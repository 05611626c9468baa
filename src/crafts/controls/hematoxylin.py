"""The hematoxylin of an H&E image as a stand-in for DAPI: nuclei bright on black."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crafts.controls.intensity import PERCENTILES, ChannelRange, apply_range, measure_range
from crafts.core.errors import DataError
from crafts.imaging.stains import HEMATOXYLIN_EOSIN_REST

_DARKEST = 1.0 / 255.0
_LEAST_SPAN = 0.2  # optical density: glass and bare stroma stay dark, their noise is not stretched


def hematoxylin_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amount of hematoxylin by colour deconvolution, in optical density (base e), at least 0.

    Args:
        image: RGB uint8 [H, W, 3].

    Returns:
        float32 [H, W].

    Raises:
        DataError: not such an image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise DataError(
            "hematoxylin",
            came=f"{image.dtype} of shape {image.shape}",
            allowed="an RGB image, uint8 [H, W, 3]",
            do="Pass an 8-bit colour image of H&E.",
        )
    stains = np.array(HEMATOXYLIN_EOSIN_REST)
    unmix = np.linalg.inv(stains / np.linalg.norm(stains, axis=1, keepdims=True))
    levels = -np.log(np.maximum(np.arange(256) / 255.0, _DARKEST))
    return np.maximum(levels[image] @ unmix[:, 0], 0).astype(np.float32)


def hematoxylin_map(
    image: NDArray[np.uint8],
    *,
    percentiles: tuple[float, float] = PERCENTILES,
    scale: ChannelRange | None = None,
) -> tuple[NDArray[np.float32], ChannelRange]:
    """A control map from an H&E image, scaled as fluorescence is.

    Args:
        image: RGB uint8 [H, W, 3].
        percentiles: of the image's own hematoxylin that become 0 and 1; at least 0.2 of optical
            density lie between them.
        scale: a range to use instead, as of the whole slide.

    Returns:
        float32 [1, H, W] in [0, 1], and the range that was used.

    Raises:
        DataError: not such an image.
        ConfigError: percentiles out of order or range.
    """
    density = hematoxylin_density(image)
    if scale is None:
        scale = measure_range(
            density, "hematoxylin", percentiles=percentiles, least_span=_LEAST_SPAN
        )
    return apply_range(density, scale)[None], scale
