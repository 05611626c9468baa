"""How far two pictures are from each other in layout, whatever their colours and position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_EDGE = 32  # cells along an edge: nuclei are dots, glands are shapes
_BROAD = 8  # cells of the light that is taken away


def layout_distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """1 minus the correlation of two pictures in grey, the best of eight positions, 0 to 1.

    Broad light and dark is taken away, so that a tile with tissue on one side is not near to each
    such tile. 0 is the same picture, also mirrored, turned or recoloured; unrelated tiles of one
    tissue lie at about 0.85.

    Args:
        first: uint8 [H, W, 3], square.
        second: likewise, of any size.
    """
    one, other = _layout(first), _layout(second)
    turns = [np.rot90(side, k) for side in (other, other.T) for k in range(4)]
    return 1 - max(0.0, *(float((one * turned).sum()) for turned in turns))


def _layout(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Small and grey, without broad light; mean 0 and length 1 (0 where nothing is seen)."""
    from scipy.ndimage import gaussian_filter

    grey = Image.fromarray(pixels).convert("L").resize((_EDGE, _EDGE), Image.Resampling.BOX)
    small = np.asarray(grey, np.float64)
    detail = small - gaussian_filter(small, _BROAD)
    detail -= detail.mean()
    length = np.linalg.norm(detail)
    return np.asarray(detail / length if length > 1e-6 else detail * 0)
