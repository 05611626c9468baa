"""Augmentation as pure functions of images and explicit draws: the step number can decide them."""

from __future__ import annotations

import torch

from crafts.imaging.stains import HEMATOXYLIN_EOSIN_REST

_DARKEST = 1.0 / 255.0


def dihedral(images: torch.Tensor, k: int) -> torch.Tensor:
    """One of the eight symmetries of the square.

    Args:
        images: [..., H, W].
        k: in 0..7; ``k % 4`` quarter turns anticlockwise, then for ``k >= 4`` a left-right flip.

    Raises:
        ValueError: ``k`` is out of range.
    """
    if not 0 <= k < 8:
        raise ValueError(f"k is {k}; expected 0..7")
    turned = torch.rot90(images, k % 4, dims=(-2, -1))
    return turned.flip(-1) if k >= 4 else turned


def draw_stain_jitter(
    num_images: int, generator: torch.Generator, *, sigma: float = 0.05, shift: float = 0.01
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw factors and offsets for :func:`stain_jitter`.

    Args:
        num_images: B.
        generator: on the CPU.
        sigma: factors are uniform in [1 - sigma, 1 + sigma].
        shift: offsets are uniform in [-shift, shift], in units of optical density (base e).

    Returns:
        Factors [B, 3] and offsets [B, 3] for haematoxylin, eosin and the residual.
    """
    draws = 2 * torch.rand(2, num_images, 3, generator=generator) - 1
    return 1 + sigma * draws[0], shift * draws[1]


def stain_jitter(
    images: torch.Tensor, factors: torch.Tensor, offsets: torch.Tensor
) -> torch.Tensor:
    """Change the strength of each stain: unmix in optical density, scale and shift, mix again.

    Args:
        images: [B, 3, H, W] in [-1, 1].
        factors: [B, 3], 1 leaves a stain as it is.
        offsets: [B, 3], 0 leaves a stain as it is.

    Returns:
        [B, 3, H, W] in [-1, 1].
    """
    stains = torch.tensor(HEMATOXYLIN_EOSIN_REST, dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    mix = stains.to(images)
    unmix = torch.linalg.inv(stains).to(images)
    density = -((images + 1) / 2).clamp(min=_DARKEST).log()
    amounts = torch.einsum("bchw,cs->bshw", density, unmix)
    amounts = amounts * factors.to(images)[..., None, None] + offsets.to(images)[..., None, None]
    density = torch.einsum("bshw,sc->bchw", amounts, mix)
    return (2 * (-density).exp() - 1).clamp(-1, 1)
