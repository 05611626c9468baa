"""Labelled rows of tiles in one picture, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_MARGIN, _GAP = 150, 4


def montage(
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]] | NDArray[np.uint8]]], *, side: int = 160
) -> Image.Image:
    """Draw rows of tiles with their labels on the left.

    Args:
        rows: label (may hold line breaks) and tiles uint8 [H, W, 3] of each row.
        side: side of a tile in the picture, in pixels.

    Returns:
        The picture; a row shorter than the longest leaves white behind it.
    """
    columns = max(len(tiles) for _, tiles in rows)
    size = (_MARGIN + columns * (side + _GAP), len(rows) * (side + _GAP))
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for index, (label, tiles) in enumerate(rows):
        top = index * (side + _GAP)
        draw.multiline_text((6, top + 6), label, fill="black", font=font)
        for column, tile in enumerate(tiles):
            scaled = Image.fromarray(np.asarray(tile)).resize(
                (side, side), Image.Resampling.LANCZOS
            )
            picture.paste(scaled, (_MARGIN + column * (side + _GAP), top))
    return picture
