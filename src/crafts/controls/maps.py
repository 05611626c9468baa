"""The control map of a nuclei mask: channels for classes, edges and depth, all in [0, 1]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crafts.controls.nuclei import (
    CLASSES,
    PARENTS,
    NucleiMask,
    connected_nuclei,
    edge_distance,
    find_edges,
)
from crafts.core.errors import ConfigError, DataError

CHANNELS: tuple[str, ...] = ("nucleus", *CLASSES[1:-1], "boundary", "distance")
"""Channels of a control map, in their order."""

_TOLERANCE = 0.01  # of mpp and of the shape of a field
_MAX_SIDE = 8192
_REACH = 2  # pixels that a nucleus may move to stay visible in a smaller mask


def nuclei_map(
    mask: NucleiMask,
    *,
    size: tuple[int, int] | None = None,
    mpp: float | None = None,
    resize: bool = False,
) -> NDArray[np.float32]:
    """The control map of a mask.

    ``nucleus`` is 1 in every nucleus. A class channel is 1 where the class or one that belongs to
    it is: a lymphocyte sets ``lymphocyte`` and ``inflammatory``, an unclassified nucleus none.
    ``boundary`` is 1 on the outermost pixels of each nucleus. ``distance`` is the depth below the
    edge over the greatest depth of the same nucleus: above 0 at the edge, 1 in the middle. In a
    mask of classes only, nuclei of a class that touch count as one (see ``nuclei.separate``).

    Args:
        mask: the nuclei.
        size: height and width of the image to be controlled; None takes the mask's.
        mpp: of that image; compared with the mask's where both are known.
        resize: bring the mask to ``size``; else a difference is refused.

    Returns:
        float32 [C, H, W] in [0, 1], channels in the order of ``CHANNELS``.

    Raises:
        ConfigError: size or resolution differ and ``resize`` is off.
        DataError: the mask shows another field: its shape, or its extent in microns, differs; or
            the nuclei do not fit into ``size``.
    """
    mask = fit_mask(mask, size=size, mpp=mpp, resize=resize)
    height, width = mask.size
    channels = np.zeros((len(CHANNELS), height, width), np.float32)
    channels[0] = mask.classes > 0
    for number in np.unique(mask.classes[mask.classes > 0]):
        name: str | None = CLASSES[number]
        while name in CHANNELS:
            channels[CHANNELS.index(name)][mask.classes == number] = 1
            name = PARENTS.get(name)
    nuclei = connected_nuclei(mask.classes) if mask.instances is None else mask.instances
    channels[-2] = find_edges(nuclei)
    channels[-1] = _relative_depth(nuclei)
    return channels


def fit_mask(
    mask: NucleiMask, *, size: tuple[int, int] | None, mpp: float | None, resize: bool
) -> NucleiMask:
    """The mask on the pixels of an image; see :func:`nuclei_map`."""
    check_fit(mask, size=size, mpp=mpp, resize=resize)
    return mask if size in (None, mask.size) else resize_mask(mask, size)


def check_fit(
    mask: NucleiMask, *, size: tuple[int, int] | None, mpp: float | None, resize: bool
) -> None:
    """Refuse what :func:`nuclei_map` refuses, before anything costly is done with the mask."""
    size = mask.size if size is None else size
    if len(size) != 2 or not all(1 <= side <= _MAX_SIDE for side in size):
        raise ConfigError(
            "size",
            came=str(size),
            allowed=f"height and width of 1 to {_MAX_SIDE} px",
            do="Pass the size of the image.",
        )
    _check_field(mask, size, mpp)
    if size != mask.size and not resize:
        raise ConfigError(
            f"{mask.source or 'mask'}: size",
            came=f"{_show(mask.size)} for an image of {_show(size)}",
            allowed="one size",
            do="Cut the mask to the image, or pass resize=True if both show the same field "
            "(crafts generate: --set masks.resize=true).",
        )


def resize_mask(mask: NucleiMask, size: tuple[int, int]) -> NucleiMask:
    """Nearest-neighbour resampling in which no nucleus gets lost.

    A nucleus that falls between the pixels of a smaller mask keeps one pixel, at or next to the
    place of its middle. In a mask of classes this holds for connected parts.

    Args:
        mask: the nuclei.
        size: height and width.

    Raises:
        DataError: there are more nuclei than the new size has room for.
    """
    nuclei = connected_nuclei(mask.classes) if mask.instances is None else mask.instances
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, mask.size, strict=True)
    )
    small = nuclei[np.ix_(rows, columns)]
    classes = mask.classes[np.ix_(rows, columns)]
    _rescue(small, classes, nuclei=nuclei, mask=mask)
    mpp = None if mask.mpp is None else mask.mpp * mask.size[0] / size[0]
    instances = None if mask.instances is None else small
    return replace(mask, classes=classes, instances=instances, mpp=mpp)


def _rescue(
    small: NDArray[np.int32],
    classes: NDArray[np.uint8],
    *,
    nuclei: NDArray[np.int32],
    mask: NucleiMask,
) -> None:
    """Give each nucleus that vanished a pixel which is not the last one of another."""
    from scipy import ndimage

    numbers, first = np.unique(nuclei, return_index=True)
    counts = np.bincount(small.reshape(-1), minlength=int(numbers[-1]) + 1)
    scale = np.array(small.shape) / nuclei.shape
    near = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1].reshape(2, -1).T
    near = near[np.argsort((near**2).sum(1), kind="stable")]
    boxes = ndimage.find_objects(nuclei)
    for number, place in zip(numbers, first, strict=True):
        if number == 0 or counts[number] > 0:
            continue
        box = boxes[number - 1]
        pixels = np.argwhere(nuclei[box] == number) + (box[0].start, box[1].start)
        middle = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]
        target = ((middle + 0.5) * scale).astype(int)
        for y, x in target + near:
            if 0 <= y < small.shape[0] and 0 <= x < small.shape[1]:
                owner = small[y, x]
                if owner == 0 or counts[owner] > 1:
                    counts[owner] -= 1
                    counts[number] = 1
                    small[y, x], classes[y, x] = number, mask.classes.reshape(-1)[place]
                    break
        else:
            raise DataError(
                f"{mask.source or 'mask'}: size",
                came=f"{np.count_nonzero(numbers)} nuclei for {_show(small.shape)}",
                allowed="a size at which every nucleus has a pixel",
                do="Cut the mask into tiles, or choose a larger size.",
            )


def _relative_depth(nuclei: NDArray[np.int32]) -> NDArray[np.float32]:
    from scipy import ndimage

    depth = edge_distance(nuclei)
    numbers = np.unique(nuclei)
    most = np.zeros(int(numbers[-1]) + 1, np.float32)
    most[numbers] = ndimage.maximum(depth, nuclei, numbers)
    return np.asarray(depth / np.maximum(most[nuclei], 1), np.float32)


def _check_field(mask: NucleiMask, size: tuple[int, int], mpp: float | None) -> None:
    """Refuse what would be stretched, or shown at a wrong scale."""
    high, wide = (new / old for new, old in zip(size, mask.size, strict=True))
    if abs(high / wide - 1) > _TOLERANCE and abs(size[0] - mask.size[0] * wide) > 1:
        raise DataError(
            f"{mask.source or 'mask'}: size",
            came=f"{_show(mask.size)} for an image of {_show(size)}",
            allowed="the proportions of the image",
            do="Cut the mask to the field of the image.",
        )
    if mpp is None or mask.mpp is None or abs(mask.mpp / high / mpp - 1) <= _TOLERANCE:
        return
    raise DataError(
        f"{mask.source or 'mask'}: mpp",
        came=f"{_show(mask.size)} at {mask.mpp:g} µm for an image of {_show(size)} at {mpp:g} µm",
        allowed="the same field in microns",
        do="Cut the mask to the field of the image, or leave the resolution unknown.",
    )


def _show(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]} px"
