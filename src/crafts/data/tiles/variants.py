"""One tile in all its variants, and their latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from crafts.core.protocols import Codec
from crafts.core.runtime import generator_for
from crafts.data.tiles.augment import dihedral, draw_stain_jitter, stain_jitter

if TYPE_CHECKING:
    from crafts.data.config import EncodeConfig


def prepare(pixels: np.ndarray, config: EncodeConfig) -> torch.Tensor:
    """Bring an image to the size of a tile.

    Args:
        pixels: uint8 [H, W, 3].
        config: sizes and what to do with other sizes.

    Returns:
        float32 [3, tile_size, tile_size] in [-1, 1].
    """
    size = config.tile_size
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if shorter < size or (shorter > size and config.larger == "resize"):
        scale = size / shorter
        target = (max(size, round(width * scale)), max(size, round(height * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.LANCZOS))
        height, width = pixels.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    tile = np.ascontiguousarray(pixels[top : top + size, left : left + size].transpose(2, 0, 1))
    return torch.from_numpy(tile).float() / 127.5 - 1


def make_variant(
    tile: torch.Tensor, variant: int, sha256: str, config: EncodeConfig
) -> torch.Tensor:
    """Variant of one prepared tile [3, H, W]; draws depend on the image and the variant alone."""
    turned = dihedral(tile, variant % 8)
    if variant < 8:
        return turned
    draws = draw_stain_jitter(
        1,
        generator_for("variant", sha256, variant),
        sigma=config.stain_sigma,
        shift=config.stain_shift,
    )
    return stain_jitter(turned[None], *draws)[0]


def encode_variants(
    tile: torch.Tensor,
    sha256: str,
    config: EncodeConfig,
    codec: Codec,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Latents of all variants of one prepared tile.

    Every pass holds equally many images, as sums are taken in another order in a pass of another
    size: neither the size of a batch nor the number of variants moves a bit.

    Args:
        tile: float32 [3, H, W], see :func:`prepare`.
        sha256: of the image file; decides the draws.
        config: variants, and precision.
        codec: lies on the device.
        device: where the codec lies.

    Returns:
        Mean and deviation, float16 [V, C, h, w].
    """
    size, means, stds = pass_size(config, device), [], []
    lower = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    for start in range(0, config.variants, size):
        wanted = range(start, min(start + size, config.variants))
        images = torch.stack([make_variant(tile, v, sha256, config) for v in wanted])
        full = torch.cat([images, images[-1:].expand(size - len(wanted), -1, -1, -1)])
        with torch.inference_mode(), lower:
            mean, std = codec.encode(full.to(device))
        means.append(mean[: len(wanted)].cpu().to(torch.float16))
        stds.append(std[: len(wanted)].cpu().to(torch.float16))
    return torch.cat(means).numpy(), torch.cat(stds).numpy()


def pass_size(config: EncodeConfig, device: torch.device) -> int:
    """Images in one pass of the codec; a CPU is as fast with one at a time."""
    return 1 if device.type == "cpu" else config.batch_size
