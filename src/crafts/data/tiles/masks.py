"""Nuclei masks inside shards: ``key.mask.png``, one lossless image a tile that needs no other."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError, first_line
from crafts.core.protocols import LoadMask, Nuclei
from crafts.imaging.opening import open_header, orientation_of
from crafts.imaging.stripping import RefusedImageError

MASK_SUFFIX = "mask.png"
_MOST = 65535  # nuclei that two bytes can number


class MaskArrays(NamedTuple):
    """Nuclei of one tile.

    Attributes:
        classes: uint8 [H, W], numbers of ``crafts.controls.nuclei.CLASSES``, 0 is background.
        instances: int32 [H, W], a number for each nucleus; None where only classes are known.
    """

    classes: NDArray[np.uint8]
    instances: NDArray[np.int32] | None


def encode_mask(classes: NDArray[np.uint8], instances: NDArray[np.int32] | None) -> bytes:
    """A PNG in 8-bit RGB: 256 R + G is the nucleus (1, 2, ...), B its class.

    Args:
        classes: [H, W]; 0 is background.
        instances: [H, W], renumbered without gaps; None: R and G are 0 everywhere.

    Raises:
        DataError: more than 65,535 nuclei.
    """
    from PIL import Image

    pixels = np.zeros((*classes.shape, 3), np.uint8)
    pixels[..., 2] = classes
    if instances is not None:
        numbers, inverse = np.unique(instances, return_inverse=True)
        inverse = inverse.reshape(instances.shape) + (0 if numbers[0] == 0 else 1)
        if inverse.max() > _MOST:
            raise DataError(
                "mask", came=f"{len(numbers)} nuclei", allowed=f"{_MOST}", do="Cut it into tiles."
            )
        pixels[..., 0], pixels[..., 1] = inverse // 256, inverse % 256
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def decode_mask(data: bytes, where: str = "mask") -> MaskArrays:
    """What :func:`encode_mask` wrote; a mask without any nucleus has instances.

    Raises:
        DataError: no such PNG: another mode or damaged, or nuclei and classes that disagree.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image) if image.mode == "RGB" else None
            came = f"a PNG of mode {image.mode}"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        pixels, came = None, f"no readable PNG ({first_line(error)})"
    if pixels is not None:
        classes = pixels[..., 2].copy()
        instances = pixels[..., 0].astype(np.int32) * 256 + pixels[..., 1]
        if not instances.any():
            return MaskArrays(classes, instances if not classes.any() else None)
        if np.array_equal(instances > 0, classes > 0):
            return MaskArrays(classes, instances)
        came = "nuclei without a class, or a class outside of nuclei"
    raise DataError(
        where,
        came=came,
        allowed="8-bit RGB: 256 R + G is the nucleus, B its class (docs/control.md)",
        do="Pack the tiles from a table with a column `mask`.",
    )


def read_mask(
    path: Path,
    packed: bytes | None,
    *,
    load: LoadMask,
    size: tuple[int, int],
    orientation: int = 1,
) -> bytes:
    """The mask of a tile as shards hold it.

    Args:
        path: of the mask, or of the tar that holds it.
        packed: its bytes from a tar; None: a file of its own, which ``load`` reads.
        load: reads a mask file.
        size: height and width of the image, upright.
        orientation: from which EXIF turned the image, 1 to 8.

    Raises:
        RefusedImageError: why the tile cannot be used.
        OSError: the file cannot be opened, or is no regular file.
    """
    if orientation != 1:
        _refuse_turned(path if packed is None else io.BytesIO(packed), size, orientation)
    mask: Nuclei
    try:
        if packed is None:
            mask, own = load(path, size), False
        else:
            mask, own = _open_packed(packed, load, size)
    except DataError as error:
        raise RefusedImageError(f"mask: {error.came}, not {error.allowed}") from None
    except ConfigError as error:  # what the numbers of this one mean was not told
        raise RefusedImageError(f"mask: {error.came}, not {error.allowed}; {error.do}") from None
    if mask.classes.shape != size:
        height, width = mask.classes.shape
        raise RefusedImageError(f"mask of {width} x {height} px, image of {size[1]} x {size[0]} px")
    return packed if packed and own else encode_mask(mask.classes, mask.instances)


def _refuse_turned(mask: IO[bytes] | Path, size: tuple[int, int], orientation: int) -> None:
    """An image that EXIF turns, with a mask that nothing turns: was it drawn before or after?

    Raises:
        RefusedImageError: it cannot be known.
        OSError: the mask cannot be opened, or is no regular file.
    """
    try:
        with open_header(mask) as image:
            shape, turned = image.size, orientation_of(image)
    except RefusedImageError:  # outlines and arrays have no orientation
        shape, turned = (0, 0), 1
    # on its side, an oblong mask tells by its shape that it was drawn on the upright picture
    drawn_upright = turned == 1 and orientation >= 5 and size[0] != size[1] and shape == size[::-1]
    if turned != orientation and not drawn_upright:
        raise RefusedImageError(
            f"mask: the image is turned (EXIF orientation {orientation}), its mask is not; "
            "save both upright"
        )


def _open_packed(packed: bytes, load: LoadMask, size: tuple[int, int]) -> tuple[Nuclei, bool]:
    """A mask of a tar, and whether it is one of ours; one of others is read like a file."""
    try:
        return decode_mask(packed), True
    except DataError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / MASK_SUFFIX).write_bytes(packed)
        return load(file, size), False
