"""What trains an autoencoder: pixels, their gradients, moments of the latents, and features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crafts.core.errors import ConfigError

_ERROR_FLOOR = 4e-4  # mean squared error of images in [-1, 1] at 40 dB
_GRAIN_FLOOR = 1e-3  # energy of a filter's answer below which a place counts as smooth
_GRAIN_CELL = 16  # edge in pixels of the squares in which fine detail is measured
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_ALTERNATING = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


def l1_loss(output: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of [B, 3, H, W]."""
    return (output - images).abs().mean()


def l2_loss(output: Tensor, images: Tensor) -> Tensor:
    """Mean squared error of [B, 3, H, W]."""
    return (output - images).square().mean()


def decibel_loss(output: Tensor, images: Tensor) -> Tensor:
    """Mean over the samples [B, 3, H, W] of the logarithm of their mean squared error.

    It is the PSNR up to a factor: one decibel counts the same in a smooth tile and in a dense one.
    Above some 40 dB nothing more is gained.
    """
    return torch.log((output - images).square().mean((1, 2, 3)) + _ERROR_FLOOR).mean()


def coarse_loss(output: Tensor, images: Tensor) -> Tensor:
    """As :func:`decibel_loss`, of what a binomial blur of 5 x 5 px (deviation 1 px) leaves.

    Beside a discriminator it decides what may be invented: fine detail, and nothing coarse, where
    the same power costs most error and adds least to the grain. As a blur leaves about a quarter of
    an error that is fine, its ceiling is at 46 dB.
    """
    rows = output.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(rows, rows).expand(output.shape[1], 1, 5, 5)
    error = F.conv2d(output - images, kernel, groups=output.shape[1])
    return torch.log(error.square().mean((1, 2, 3)) + _ERROR_FLOOR / 4).mean()


def gradient_loss(output: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, vertical plus horizontal.

    It punishes blur, which costs little in the pixel norms.
    """
    error = output - images
    vertical = error[..., 1:, :] - error[..., :-1, :]
    horizontal = error[..., :, 1:] - error[..., :, :-1]
    return vertical.abs().mean() + horizontal.abs().mean()


def latent_moment_penalty(latents: Tensor) -> Tensor:
    """``mean^2 + (variance - 1)^2`` per channel of latents [B, C, h, w], averaged over channels.

    It keeps latents near zero mean and unit variance over a batch, so that the denoiser needs no
    further scaling.
    """
    mean = latents.mean((0, 2, 3))
    variance = latents.var((0, 2, 3))
    return (mean.square() + (variance - 1).square()).mean()


def kl_loss(mean: Tensor, std: Tensor) -> Tensor:
    """Divergence of N(mean, std^2) from N(0, 1) per latent value, averaged; ``std`` > 0."""
    return 0.5 * (mean.square() + std.square() - 1 - 2 * torch.log(std)).mean()


def feature_loss(output: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
    """Distance of two lists of feature maps [B, C, ...], each map normalised over its channels.

    The squared distance of unit vectors, averaged over positions, samples and maps (as LPIPS,
    without learnt weights).

    Args:
        output: features of the reconstruction.
        images: features of the originals; no gradient flows into them.

    Raises:
        ConfigError: no features, or lists of different length.
    """
    if not output or len(output) != len(images):
        raise ConfigError(
            "feature_loss",
            came=f"{len(output)} and {len(images)} feature maps",
            allowed="as many of both, at least one",
            do="Take both from the same encoder.",
        )
    distances = [
        (F.normalize(a, dim=1) - F.normalize(b.detach(), dim=1)).square().sum(1).mean()
        for a, b in zip(output, images, strict=True)
    ]
    return torch.stack(distances).mean()


def grain_loss(output: Tensor, images: Tensor) -> Tensor:
    """Difference of local grain: the log energy of the Laplacian in cells of 16 x 16 px.

    It asks for as much fine detail as the original has at this place, and not for the very same
    detail, which the latents may not hold.

    Args:
        output: reconstruction [B, 3, H, W] in [-1, 1].
        images: original.

    Raises:
        ConfigError: images smaller than a cell.
    """
    mine, wanted = _log_energy(output, images, _LAPLACIAN, "grain_loss")
    return (mine - wanted).abs().mean()


def checkerboard_loss(output: Tensor, images: Tensor) -> Tensor:
    """How far the log energy of single pixels that alternate lies above that of the original.

    Such a pattern has 64 times the square of its amplitude in the energy of the Laplacian, so that
    a decoder buys its grain with a screen over the whole tile, at next to no error in the pixels.
    In cells of 16 x 16 px, as the grain; less than the original costs nothing.

    Args:
        output: reconstruction [B, 3, H, W] in [-1, 1].
        images: original.

    Raises:
        ConfigError: images smaller than a cell.
    """
    mine, wanted = _log_energy(output, images, _ALTERNATING, "checkerboard_loss")
    return (mine - wanted).relu().mean()


def laplacian_variance(images: Tensor) -> Tensor:
    """Variance [] of the Laplacian of grey images [B, 3, H, W]: how much fine detail they hold."""
    return _filtered(images, _LAPLACIAN).var()


def _log_energy(
    output: Tensor, images: Tensor, kernel: Sequence[Sequence[float]], where: str
) -> tuple[Tensor, Tensor]:
    """Log energy [B, 1, h, w] of what a filter sees in each cell; no gradient to ``images``."""
    if min(images.shape[-2:]) < _GRAIN_CELL:
        raise ConfigError(
            where,
            came=f"images of {images.shape[-1]}x{images.shape[-2]} px",
            allowed=f"at least {_GRAIN_CELL} px",
            do="Train on larger crops.",
        )
    mine, wanted = (
        torch.log(F.avg_pool2d(_filtered(picture, kernel).square(), _GRAIN_CELL) + _GRAIN_FLOOR)
        for picture in (output, images.detach())
    )
    return mine, wanted


def _filtered(images: Tensor, kernel: Sequence[Sequence[float]]) -> Tensor:
    """The grey images through a filter of 3 x 3 px."""
    grey = images.mean(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, grey.new_tensor(kernel)[None, None])
