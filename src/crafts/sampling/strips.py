"""Latents of a canvas to pixels, strip by strip, as their rows arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crafts.sampling.sampler import decode_pixels

STRIP = 32
"""Latent rows that are decoded at once; those of a tile of ``mini``."""
MARGIN = 8
"""Latents around a piece that are decoded with it and thrown away: what its edge would lack."""


class StripDecoder:
    """Takes the latents of a canvas from above and gives strips of pixels.

    A piece is decoded with a margin of its neighbours. A codec without normalisation then gives the
    pixels of the whole in one piece, as far as its field of view goes.

    Args:
        codec: of the model, on its device.
        height: of the canvas in latents.
    """

    def __init__(self, codec: Any, height: int) -> None:
        self.codec, self.height = codec, height
        self.top, self.done = 0, 0
        self.rows: Tensor | None = None

    def push(self, rows: Tensor) -> NDArray[np.uint8]:
        """Take latents [C, r, w] and give the pixels that are ready, [r' * f, w * f, 3]."""
        self.rows = rows if self.rows is None else torch.cat([self.rows, rows], dim=1)
        bottom = self.top + self.rows.shape[1]
        strips = [np.zeros((0, rows.shape[2] * self.codec.factor, 3), np.uint8)]
        while self.done < self.height:
            end = min(self.done + STRIP, self.height)
            if min(end + MARGIN, self.height) > bottom:
                break
            strips.append(self._decode(end))
            self.done = end
        kept = max(self.done - MARGIN, 0) - self.top
        self.rows, self.top = self.rows[:, kept:].clone(), self.top + kept
        return np.concatenate(strips)

    def _decode(self, end: int) -> NDArray[np.uint8]:
        """The strip from ``done`` to ``end``, in pieces that are twice as wide as high."""
        assert self.rows is not None
        factor, width = self.codec.factor, self.rows.shape[2]
        first = max(self.done - MARGIN, 0)
        above = self.rows[:, first - self.top : min(end + MARGIN, self.height) - self.top]
        inner = slice((self.done - first) * factor, (end - first) * factor)
        pieces = []
        for left in range(0, width, 2 * STRIP):
            right, start = min(left + 2 * STRIP, width), max(left - MARGIN, 0)
            latents = above[:, :, start : min(right + MARGIN, width)]
            pixels = decode_pixels(self.codec, latents[None])[0]
            pieces.append(pixels[inner, (left - start) * factor : (right - start) * factor])
        return np.concatenate(pieces, axis=1)

    def state(self) -> dict[str, Tensor]:
        """All that a killed run needs to go on here."""
        places = torch.tensor([self.top, self.done])
        return {"places": places} if self.rows is None else {"places": places, "rows": self.rows}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.top, self.done = state["places"].tolist()
        self.rows = state.get("rows")
