"""A picture of which a part is made anew: its mask, its feather, and the window a model sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.errors import DataError
from crafts.imaging.opening import open_header, read_rgb
from crafts.imaging.stripping import RefusedImageError

WHITE = 128
"""Grey of a mask from which on a pixel is made anew."""

Pixels = NDArray[np.uint8]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Source:
    """A picture that is edited, and the square window of it that a model sees.

    Attributes:
        image: uint8 [H, W, 3].
        mask: bool [H, W], true where it is made anew.
        share: float32 [H, W], how much of what is made counts: 1 in the mask, falling to 0 across
            the feather around it.
        corner: left and top of the window.
        edge: of the window.
    """

    image: Pixels
    mask: Marks
    share: NDArray[np.float32]
    corner: tuple[int, int]
    edge: int

    @property
    def pixels(self) -> Pixels:
        """The window, uint8 [E, E, 3]."""
        return self.image[self._window]

    @property
    def region(self) -> Marks:
        """The mask in the window, bool [E, E]."""
        return self.mask[self._window]

    def paste(self, made: Pixels, instead_of: Pixels | None = None) -> Pixels:
        """The whole picture with what was made in place; where the share is 0 no bit changes.

        Args:
            made: the window made anew, uint8 [E, E, 3].
            instead_of: what the model made of the window as it was; then only what differs from it
                is carried over, so that what a codec loses is not lost here.

        Returns:
            uint8 [H, W, 3].
        """
        own = self.pixels.astype(np.float32)
        change = made - (own if instead_of is None else instead_of.astype(np.float32))
        whole = self.image.copy()
        mixed = own + self.share[self._window][..., None] * change
        whole[self._window] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        return whole

    @property
    def _window(self) -> tuple[slice, slice]:
        left, top = self.corner
        return slice(top, top + self.edge), slice(left, left + self.edge)


def build_source(
    image: Pixels, mask: Marks | None, *, edge: int, feather: int, name: str = "image"
) -> Source:
    """Place the window around the mask.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [H, W]; None marks all of the picture.
        edge: of the window, in pixels.
        feather: pixels around the mask in which what is made passes into what is there.
        name: of the picture, for refusals.

    Raises:
        DataError: a picture smaller than the window, a mask of another size or without a pixel, or
            one that does not fit into the window with its feather.
    """
    height, width = image.shape[:2]
    if min(height, width) < edge:
        raise DataError(
            name,
            came=f"{width} x {height} px",
            allowed=f"at least {edge} x {edge} px, the tile of this model",
            do="Take a larger field of the slide, or enlarge the picture and its mask.",
        )
    mask = np.ones((height, width), bool) if mask is None else mask
    if mask.shape != (height, width):
        raise DataError(
            f"{name}: mask",
            came=f"{mask.shape[1]} x {mask.shape[0]} px",
            allowed=f"{width} x {height} px, as its picture",
            do="Draw the mask on the picture itself.",
        )
    if not mask.any():
        raise DataError(
            f"{name}: mask",
            came="no pixel that is marked",
            allowed=f"a region in white ({WHITE} of 255 or more)",
            do="Paint white what shall be made anew.",
        )
    share = feathered(mask, feather)
    corner = [_place(np.any(share > 0, axis=axis), edge, f"{name}: mask") for axis in (0, 1)]
    return Source(image, mask, share, (corner[0], corner[1]), edge)


def feathered(mask: Marks, feather: int) -> NDArray[np.float32]:
    """1 in the mask, and a slope down to 0 over ``feather`` pixels around it."""
    from scipy.ndimage import distance_transform_edt

    if not feather or mask.all():
        return mask.astype(np.float32)
    away = distance_transform_edt(~mask)
    return np.clip(1 - away / (feather + 1), 0, 1).astype(np.float32)


def read_picture(path: Path) -> Pixels:
    """The pixels of a picture that is to be edited, uint8 [H, W, 3].

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_rgb(path)
    except (OSError, ValueError, RefusedImageError) as error:
        raise DataError(
            str(path),
            came=str(getattr(error, "strerror", None) or error),
            allowed="a picture of 8 bits a channel",
            do="Check the path, or save the picture as PNG.",
        ) from None


def read_mask(path: Path) -> Marks:
    """Where a mask file is white, bool [H, W].

    Raises:
        DataError: it cannot be read, or has a transparent layer, of which nobody knows whether it
            or what lies on it is meant.
    """
    pixels = read_picture(path)
    with open_header(path) as image:
        transparent = has_transparency(image)
    if transparent:
        raise DataError(
            str(path),
            came="a mask with transparency",
            allowed="white on black, without a transparent layer",
            do="Flatten it onto black and save it again.",
        )
    return as_mask(pixels)


def has_transparency(image: Image.Image) -> bool:
    """Whether pixels of an image may be transparent."""
    return image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info


def as_mask(pixels: Pixels) -> Marks:
    """Where a mask [H, W] or [H, W, 3] is white."""
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    return np.asarray(grey >= WHITE)


def _place(reached: Marks, edge: int, name: str) -> int:
    """First pixel of the window along one side: the marked span in its middle, within the picture.

    Raises:
        DataError: the span is longer than the window.
    """
    marked = np.flatnonzero(reached)
    first, last = int(marked[0]), int(marked[-1])
    if last - first + 1 > edge:
        raise DataError(
            name,
            came=f"a region {last - first + 1} px across, feather included",
            allowed=f"at most {edge} px, the tile of this model",
            do="Edit it in parts, one after another, or crop the picture to one tile.",
        )
    middle = (first + last + 1 - edge) // 2
    return min(max(middle, 0), len(reached) - edge)
