"""Small masks whose every nucleus is known."""

from __future__ import annotations

import numpy as np

from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.controls.synthesis.invent import draw_outline


def random_mask(
    seed: int = 0, size: tuple[int, int] = (96, 128), count: int = 25, mpp: float | None = None
) -> NucleiMask:
    """Nuclei of random classes anywhere, without overlap."""
    draws = np.random.default_rng(seed)
    ids = np.zeros(size, np.int32)
    classes = np.zeros(size, np.uint8)
    number = 0
    while number < count:
        shape = draw_outline(
            draws.uniform(30, 90), draws.uniform(1, 2), draws.uniform(0, 3), draws=draws
        )
        top = draws.integers(size[0] - shape.shape[0])
        left = draws.integers(size[1] - shape.shape[1])
        box = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
        if not ids[box][shape].any():
            number += 1
            ids[box][shape] = number
            classes[box][shape] = draws.integers(1, len(CLASSES))
    return NucleiMask(classes, ids, mpp, "random")
