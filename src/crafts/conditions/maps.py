"""How a mask of nuclei or a fluorescence image becomes the map that a ControlNet is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crafts.controls.hematoxylin import hematoxylin_map
from crafts.controls.intensity import PERCENTILES
from crafts.controls.maps import CHANNELS, check_fit, nuclei_map
from crafts.controls.nuclei import NECK, NucleiMask, separate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAP_CHANNELS: Mapping[str, tuple[str, ...]] = {
    "nuclei": CHANNELS,
    "fluorescence": ("hematoxylin",),
}
"""Kind of control -> names of the channels of a map that training makes."""

MAPPINGS: Mapping[str, Mapping[str, Any]] = {
    "nuclei": {"values": "0 or 1; distance in [0, 1]", "neck": NECK},
    "fluorescence": {
        "values": "[0, 1] between two percentiles",
        "percentiles": list(PERCENTILES),
        "training": "hematoxylin by colour deconvolution",
    },
}
"""Kind of control -> how a mask or an image becomes a map."""


def mask_map(
    mask: NucleiMask,
    *,
    size: tuple[int, int] | None = None,
    mpp: float | None = None,
    resize: bool = False,
) -> NDArray[np.float32]:
    """The map of a mask as a ControlNet is shown it, in training and in use.

    Nuclei that touch are told apart first where a mask knows their classes only. Arguments and
    errors are those of :func:`crafts.controls.maps.nuclei_map`.
    """
    check_fit(mask, size=size, mpp=mpp, resize=resize)  # separating a large mask takes a minute
    return nuclei_map(separate(mask), size=size, mpp=mpp, resize=resize)


def image_map(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The pseudo-fluorescence [1, H, W] of an H&E image [H, W, 3], with which training is fed."""
    return hematoxylin_map(image)[0]


def render_map(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map [C, H, W] as a picture [H, W, 3]: fluorescence in grey, nuclei by class and depth."""
    import numpy as np

    if len(values) != len(CHANNELS):
        shown = np.repeat(values[:1], 3, axis=0) if len(values) == 1 else values[:3]
        if len(shown) == 2:
            shown = np.concatenate([shown, np.zeros_like(shown[:1])])
        return np.asarray(np.moveaxis(shown, 0, -1) * 255, np.uint8)
    channel = {name: values[place] for place, name in enumerate(CHANNELS)}
    depth = 0.35 + 0.65 * channel["distance"]
    colour = np.stack(
        [
            0.6 * channel["nucleus"] + 0.4 * channel["epithelial"],
            0.6 * channel["nucleus"] + 0.4 * channel["connective"] - 0.4 * channel["epithelial"],
            0.6 * channel["nucleus"] + 0.4 * channel["inflammatory"],
        ]
    )
    return np.asarray(np.moveaxis(np.clip(colour * depth, 0, 1), 0, -1) * 255, np.uint8)
