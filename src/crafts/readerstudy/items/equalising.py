"""Pictures of both classes with one history of compression, one format and one length.

Real tiles were JPEG files once and generated ones never, which a file or a block grid may tell. So
a generated tile first passes the JPEG that its real partner came with, then all items pass one
more alike. What is served is a PNG that is stored, not packed: its length is that of its pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, JpegImagePlugin

from crafts.imaging.opening import open_header

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class History:
    """How a JPEG file was made: its quantisation tables, and how its colour was thinned."""

    tables: tuple[tuple[int, ...], ...]
    sampling: int


def read_history(data: bytes) -> History | None:
    """The history that a file tells of itself; None for one that is no JPEG."""
    with open_header(io.BytesIO(data)) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return None
        tables = tuple(tuple(image.quantization[k]) for k in sorted(image.quantization))
        return History(tables, max(JpegImagePlugin.get_sampling(image), 0))


def history_of_quality(quality: int) -> History:
    """What Pillow makes of a quality, with colour thinned as cameras and scanners do."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality, subsampling=2)
    found = read_history(buffer.getvalue())
    assert found is not None  # it was just written as JPEG
    return found


def pass_history(pixels: Pixels, history: History) -> Pixels:
    """Pixels uint8 [H, W, 3] as they come out of such a JPEG."""
    tables = [list(table) for table in history.tables]
    return _through(pixels, qtables=tables, subsampling=history.sampling)


def pass_quality(pixels: Pixels, quality: int) -> Pixels:
    """Pixels uint8 [H, W, 3] as they come out of a JPEG of full colour resolution."""
    return _through(pixels, quality=quality, subsampling=0)


def stored_png(pixels: Pixels) -> bytes:
    """A PNG without metadata whose length depends on height and width alone."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def cut_middle(pixels: Pixels, size: int) -> Pixels | None:
    """The middle square of a tile; None when it is smaller."""
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        return None
    top, left = ((side - size) // 2 // 8 * 8 for side in (height, width))  # on the grid of JPEG
    return pixels[top : top + size, left : left + size]


def plain_fake(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A tile that nobody who looks takes for real: its sixteenths turned, mirrored and moved."""
    height, width = (length // 4 for length in pixels.shape[:2])
    made = pixels.copy()
    order = rng.permutation(16)
    for place, taken in enumerate(order):
        top, left = taken // 4 * height, taken % 4 * width
        block = pixels[top : top + height, left : left + width]
        block = block[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
        top, left = place // 4 * height, place % 4 * width
        made[top : top + height, left : left + width] = 255 - block if place % 5 == 0 else block
    return made


def attention_picture(size: tuple[int, int], *, synthetic: bool) -> Pixels:
    """A picture that says which answer to give.

    Args:
        size: height and width in px.
        synthetic: the answer.
    """
    image = Image.new("RGB", size[::-1], "white")
    word = "SYNTHETIC" if synthetic else "REAL"
    font = ImageFont.load_default(max(8, min(size) // 12))
    text = f"Please answer\n{word},\nconfidence 5"
    middle = (size[1] / 2, size[0] / 2)
    ImageDraw.Draw(image).multiline_text(
        middle, text, "black", font=font, anchor="mm", align="center"
    )
    return np.asarray(image)


def _through(pixels: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))
