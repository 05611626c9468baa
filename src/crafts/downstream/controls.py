"""Controls made from a real tile: its colours alone, a classic variant, the way through a codec."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crafts.core.protocols import Codec
from crafts.core.runtime import generator_for
from crafts.data.tiles.augment import dihedral, draw_stain_jitter, stain_jitter

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_BINS = 4  # of each channel: 64 joint bins, few enough for a handful of tiles


def colour_histogram(tile: Pixels) -> Features:
    """Square roots of the shares of the joint colour histogram [64]; no place is in it."""
    levels = (tile.reshape(-1, 3).astype(np.int64) * _BINS) // 256
    index = (levels[:, 0] * _BINS + levels[:, 1]) * _BINS + levels[:, 2]
    shares = np.bincount(index, minlength=_BINS**3) / len(index)
    return np.sqrt(shares).astype(np.float32)


def augment(tile: Pixels, *, seed: int, number: int) -> Pixels:
    """One classic variant of a tile: one of seven other positions, and another stain strength."""
    generator = generator_for("benchmark", "augment", seed, number)
    image = torch.from_numpy(np.array(tile)).permute(2, 0, 1)[None].float() / 127.5 - 1
    turn = 1 + int(torch.randint(7, (1,), generator=generator))
    factors, offsets = draw_stain_jitter(1, generator)
    return _pixels(stain_jitter(dihedral(image, turn), factors, offsets))


def send_through(codec: Codec, tile: Pixels) -> Pixels:
    """A tile as an autoencoder gives it back, cut to a multiple of its factor."""
    height, width = (side - side % codec.factor for side in tile.shape[:2])
    cut = np.array(tile[:height, :width])
    image = torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        return _pixels(codec.decode(codec.encode(image)[0]).float().cpu())


def _pixels(image: torch.Tensor) -> Pixels:
    values = ((image[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())
