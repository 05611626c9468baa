"""What a mask image marks: told by its numbers, its palette and its opacity, which must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.imaging.stripping import RefusedImageError

LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")


def marked_shape(image: Image.Image) -> NDArray[np.bool_]:
    """Where a mask is not 0, bool [H, W].

    A mask can say it by its numbers (a palette: by its indices), by its colours (not black) and
    by its opacity. What says the same everywhere says nothing; of the others all must agree.

    Args:
        image: loaded, in any mode.

    Raises:
        RefusedImageError: two of them mark different shapes.
    """
    found: dict[str, Any] = {}
    if image.mode in ("P", "PA"):
        found["palette index"] = np.asarray(image.getchannel(0)) > 0
    plain = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;")
    colors = np.asarray(image if plain else image.convert("RGBA"))
    found["colour"] = colors > 0 if plain else colors[..., :3].any(axis=-1)
    if image.has_transparency_data:
        found["opacity"] = np.asarray(image.convert("RGBA").getchannel("A")) > 0
        if not found["opacity"].any():  # nothing is to be seen
            del found["colour"]
    distinct = {name: shape for name, shape in found.items() if shape.any() and not shape.all()}
    if not distinct and "opacity" in found and found["opacity"].all():
        del found["opacity"]
    return _agreed(distinct or found)


def _agreed(shapes: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    (name, first), *others = shapes.items()
    for other, shape in others:
        if not np.array_equal(first, shape):
            raise RefusedImageError(
                f"its {name} and its {other} mark different areas; save it as 8-bit grey, 0 outside"
            )
    return first
