"""One tile file in, one sound 8-bit RGB PNG or JPEG out, or a reason in words why not."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
MAX_PIXELS = 64_000_000
_ORIENTATION = 0x0112
_CONVERTED = {"1", "L", "LA", "P", "PA", "RGBA", "RGBa", "RGBX", "RGB", "YCbCr"}
# What Pillow's readers are known to raise on damaged files, besides OSError.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class RefusedImageError(Exception):
    """An image that cannot be a tile; the message is the reason, for the ledger."""


@dataclass(frozen=True)
class TileImage:
    """A checked image file: its bytes, "png" or "jpg", and its size in pixels."""

    data: bytes
    suffix: str
    width: int
    height: int


def check_image(data: bytes, max_pixels: int = MAX_PIXELS, *, as_png: bool = False) -> TileImage:
    """Decode a file to its last pixel and bring it to 8-bit RGB.

    PNG and JPEG files that hold 8-bit RGB already keep their bytes. Grey, palette and transparent
    images (put on white) and other formats become PNG.

    Args:
        data: the file.
        max_pixels: largest width x height, compared with the header before anything is decoded.
        as_png: bring JPEG to PNG too, pixel for pixel.

    Raises:
        RefusedImageError: no image, damaged, cut short, too large, several frames, or a colour mode
            whose conversion would be a guess (16-bit grey, CMYK, Lab, float).
    """
    if not data:
        raise RefusedImageError("empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about size; the header check decides
        image = _open(io.BytesIO(data), max_pixels)
        try:
            return _decode_and_convert(image, data, as_png)
        except _DECODER_ERRORS as error:
            raise RefusedImageError(f"damaged or truncated image ({_first_line(error)})") from None


def check_header(path: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a file by its first bytes, before it is read whole.

    Raises:
        RefusedImageError: no image, or too large.
        OSError: the file cannot be opened.
        ValueError: the path is no name of a file.
    """
    with path.open("rb") as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if handle.read(1):  # of an empty one check_image says so
            _open(handle, max_pixels)


def _open(file: IO[bytes], max_pixels: int) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise RefusedImageError(f"larger than the limit of {max_pixels} px") from None
    except Image.UnidentifiedImageError:
        raise RefusedImageError("not an image that can be read") from None
    except _DECODER_ERRORS as error:
        raise RefusedImageError(f"damaged or truncated image ({_first_line(error)})") from None
    if image.width * image.height > max_pixels:
        raise RefusedImageError(
            f"{image.width} x {image.height} px, larger than the limit of {max_pixels} px"
        )
    return image


def stays_jpeg(data: bytes) -> bool:
    """Whether :func:`check_image` would keep a file as JPEG, by its header; True if unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            return image.format == "JPEG" and _keeps_bytes(image, data)
        except _DECODER_ERRORS:
            return True


def decode_rgb(data: bytes) -> np.ndarray:
    """Pixels of a checked image file, uint8 [H, W, 3]."""
    import numpy as np

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return np.array(image.convert("RGB"), dtype=np.uint8)


def _decode_and_convert(image: Image.Image, data: bytes, as_png: bool) -> TileImage:
    if (num_frames := getattr(image, "n_frames", 1)) > 1:
        raise RefusedImageError(f"several frames ({num_frames}) in one file")
    if image.format == "PNG":
        _check_png(data)
    image.load()
    if image.format == "JPEG" and data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0:
        raise RefusedImageError("truncated image (JPEG without its end marker)")
    if image.mode not in _CONVERTED:
        raise RefusedImageError(f"colour mode {image.mode!r}; save it as 8-bit RGB")
    if _keeps_bytes(image, data) and not (as_png and image.format == "JPEG"):
        suffix = "png" if image.format == "PNG" else "jpg"
        return TileImage(data, suffix, image.width, image.height)
    pixels = _to_rgb(ImageOps.exif_transpose(image))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=6)
    return TileImage(buffer.getvalue(), "png", pixels.width, pixels.height)


def _keeps_bytes(image: Image.Image, data: bytes) -> bool:
    """True for plain 8-bit RGB; Pillow shows 16-bit RGB PNG as RGB too, so IHDR is asked."""
    if image.mode != "RGB" or image.getexif().get(_ORIENTATION, 1) != 1:
        return False
    if image.format == "PNG":
        return data[24] == 8 and data[25] == 2 and "transparency" not in image.info
    return image.format == "JPEG"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"LA", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _check_png(data: bytes) -> None:
    """Walk all chunks: Pillow neither checks the CRC of pixel data nor misses the end chunk."""
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        kind = data[position + 4 : position + 8]
        (stored,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[position + 4 : end - 4]) != stored:
            raise RefusedImageError(
                f"damaged image (checksum of PNG chunk {kind.decode('latin-1')})"
            )
        if kind == b"IEND":
            return
        position = end
    raise RefusedImageError("truncated image (PNG without its end chunk)")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
