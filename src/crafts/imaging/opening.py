"""One opener for every picture file: upright 8-bit RGB, or a reason in words why not."""

from __future__ import annotations

import io
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from crafts.core.errors import first_line
from crafts.imaging.stripping import RefusedImageError, strip_jpeg, strip_png

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
MAX_PIXELS = 64_000_000
DAMAGE = (
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
)
"""What Pillow's readers are known to raise on damaged files."""

_CONVERTED = {"1", "L", "LA", "P", "PA", "RGBA", "RGBa", "RGBX", "RGB", "YCbCr"}
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258
_FULL_SCALE = 0.001  # share of values in the upper half of 16 bits that shows that all are used
_limit = threading.Lock()


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded image file.

    Attributes:
        rgb: upright, 8 bits a channel, without anything that the file says beside its pixels.
        kept: the file without all that no decoder needs, where it holds ``rgb`` as it is; None
            where the pixels were converted.
        suffix: "png" or "jpg", of ``kept``; "png" without.
        orientation: 1 to 8, as EXIF numbers them: how the stored pixels were turned.
    """

    rgb: Image.Image
    kept: bytes | None
    suffix: str
    orientation: int


def require_regular(path: Path) -> None:
    """Refuse a pipe, a socket or a device: opening one may wait without end.

    Raises:
        OSError: it is such a one, or not there.
        ValueError: the path is no name of a file.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder opening it says so
        raise OSError(0, "no regular file", str(path))


def open_header(
    file: IO[bytes] | Path, max_pixels: float = MAX_PIXELS, formats: Sequence[str] = FORMATS
) -> Image.Image:
    """An image of which the header was read and nothing else.

    Args:
        file: open for reading, or a path.
        max_pixels: largest width x height; Pillow's own limit and its warnings are not asked.
        formats: that are tried, by Pillow's names.

    Raises:
        RefusedImageError: no image, damaged, or too large.
        OSError: the path cannot be opened, or is no regular file.
        ValueError: the path is no name of a file.
    """
    if isinstance(file, Path):
        require_regular(file)
    else:
        file.seek(0)
    with _limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=tuple(formats))
        except Image.UnidentifiedImageError:
            raise RefusedImageError("not an image that can be read") from None
        except DAMAGE as error:
            if isinstance(file, Path) and isinstance(error, OSError) and error.errno:
                raise  # of the path
            raise RefusedImageError(f"damaged or truncated image ({first_line(error)})") from None
        finally:
            Image.MAX_IMAGE_PIXELS = usual
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height} px"
        image.close()
        raise RefusedImageError(f"{size}, larger than the limit of {max_pixels} px")
    return image


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedPicture:
    """Decode a file to its last pixel and bring it to upright 8-bit RGB.

    Grey and palette images are converted, transparent ones put on white. Colour of 16 bits a
    channel is brought to 8 where its values reach the upper half of them; below, nobody says
    which number is white.

    Args:
        data: the file.
        max_pixels: largest width x height, compared with the header before anything is decoded.

    Raises:
        RefusedImageError: no image, damaged, cut short, too large, several frames, or a colour
            mode whose conversion would be a guess (16-bit grey, dark 16-bit colour, CMYK, Lab,
            float).
    """
    if not data:
        raise RefusedImageError("empty file")
    image = open_header(io.BytesIO(data), max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which nobody reads here
        try:
            return _decode(image, data)
        except DAMAGE as error:
            raise RefusedImageError(f"damaged or truncated image ({first_line(error)})") from None


def read_rgb(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The pixels of a file as :func:`decode_picture` brings them, uint8 [H, W, 3].

    Raises:
        RefusedImageError: as there.
        OSError: the file cannot be opened, or is no regular file.
        ValueError: the path is no name of a file.
    """
    with open_header(path, max_pixels):  # an archive or a slide is not read whole
        pass
    return np.asarray(decode_picture(path.read_bytes(), max_pixels).rgb)


def orientation_of(image: Image.Image) -> int:
    """How the stored pixels are turned, 1 to 8 as EXIF numbers them; loads a PNG.

    A TIFF must not be loaded yet, as loading turns it.
    """
    found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def upright(image: Image.Image) -> Image.Image:
    """A loaded image as it is meant to be looked at."""
    return image if image.format == "TIFF" else ImageOps.exif_transpose(image)  # loaded upright


def is_deep_color(image: Image.Image) -> bool:
    """Whether colours have more than 8 bits, of which Pillow keeps the upper ones; before loading.

    Grey of more than 8 bits has a mode of its own.
    """
    if image.mode.startswith(("I", "F")) or image.format not in ("TIFF", "PNG", "PPM"):
        return False
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    if image.format == "PNG":
        return ";16" in str(image.png.im_rawmode)  # type: ignore[attr-defined]
    options = image.tile[0][3]  # type: ignore[attr-defined]
    return isinstance(options, tuple) and isinstance(options[-1], int) and options[-1] > 255


def is_upright_rgb(image: Image.Image) -> bool:
    """Whether the stored values are what is shown; for 8 bits a channel."""
    plain = image.mode == "RGB" and "transparency" not in image.info
    return plain and orientation_of(image) == 1


def _decode(image: Image.Image, data: bytes) -> DecodedPicture:
    if (num_frames := getattr(image, "n_frames", 1)) > 1:
        raise RefusedImageError(f"several frames ({num_frames}) in one file")
    deep = is_deep_color(image)
    stripped = {"PNG": strip_png, "JPEG": strip_jpeg}.get(str(image.format), bytes)(data)
    orientation = orientation_of(image)
    image.load()
    if image.mode not in _CONVERTED:
        raise RefusedImageError(f"colour mode {image.mode!r}; save it as 8-bit RGB")
    plain = is_upright_rgb(image) and not deep
    suffix = {"PNG": "png", "JPEG": "jpg"}.get(str(image.format), "")
    rgb = _to_rgb(image if orientation == 1 else upright(image))
    if deep:
        _require_full_scale(rgb)
    kept = stripped if plain and suffix else None
    return DecodedPicture(rgb, kept, suffix if kept is not None else "png", orientation)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"LA", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    image.info = {}  # Pillow writes profiles and comments of it into files that it saves
    return image


def _require_full_scale(rgb: Image.Image) -> None:
    counts = np.array(rgb.histogram(), dtype=np.int64).reshape(3, 256).sum(axis=0)
    if counts[128:].sum() < _FULL_SCALE * counts.sum():
        raise RefusedImageError(
            "16 bits a channel, of which the upper half is not used; save it as 8-bit RGB"
        )
