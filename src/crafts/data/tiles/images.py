"""One tile file in, one sound 8-bit RGB PNG or JPEG out, or a reason in words why not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from crafts.imaging.opening import (
    DAMAGE,
    MAX_PIXELS,
    decode_picture,
    is_upright_rgb,
    open_header,
    require_regular,
)
from crafts.imaging.stripping import RefusedImageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TileImage:
    """A checked image file.

    Attributes:
        data: its bytes, without what is no pixel.
        suffix: "png" or "jpg".
        width: in pixels.
        height: in pixels.
        orientation: of its source, 1 to 8 as EXIF numbers them; the pixels are upright.
    """

    data: bytes
    suffix: str
    width: int
    height: int
    orientation: int = 1


def check_image(data: bytes, max_pixels: int = MAX_PIXELS, *, as_png: bool = False) -> TileImage:
    """Decode a file to its last pixel and bring it to 8-bit RGB.

    PNG and JPEG files that hold upright 8-bit RGB already keep their compressed pixels, and lose
    EXIF, XMP, comments, profiles, thumbnails and what stands behind their end. All others become
    PNG.

    Args:
        data: the file.
        max_pixels: largest width x height, compared with the header before anything is decoded.
        as_png: bring JPEG to PNG too, pixel for pixel.

    Raises:
        RefusedImageError: what :func:`crafts.imaging.opening.decode_picture` refuses.
    """
    found = decode_picture(data, max_pixels)
    kept, size = found.kept, (found.rgb.width, found.rgb.height)
    if kept is not None and not (as_png and found.suffix == "jpg"):
        return TileImage(kept, found.suffix, *size, found.orientation)
    buffer = io.BytesIO()
    found.rgb.save(buffer, "PNG", compress_level=6)
    return TileImage(buffer.getvalue(), "png", *size, found.orientation)


def check_header(path: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a file by its first bytes, before it is read whole.

    Raises:
        RefusedImageError: no image, or too large.
        OSError: the file cannot be opened, or is no regular file.
        ValueError: the path is no name of a file.
    """
    require_regular(path)
    with path.open("rb") as handle:
        if handle.read(1):  # of an empty one check_image says so
            open_header(handle, max_pixels)


def stays_jpeg(data: bytes) -> bool:
    """Whether :func:`check_image` would keep a file as JPEG, by its header; True if unreadable."""
    try:
        image = open_header(io.BytesIO(data))
    except (RefusedImageError, *DAMAGE):
        return True
    return image.format == "JPEG" and is_upright_rgb(image)


def decode_rgb(data: bytes) -> np.ndarray:
    """Pixels of a checked image file, uint8 [H, W, 3]."""
    import numpy as np

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return np.array(image.convert("RGB"), dtype=np.uint8)
