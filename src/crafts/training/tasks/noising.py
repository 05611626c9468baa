"""What the tasks share that train on noised latents: options, latents, draws, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.data.tiles.augment import dihedral
from crafts.losses.denoising import denoising_loss
from crafts.model.bundle import Bundle
from crafts.model.schedule import Schedule
from crafts.training.order import choice, normal
from crafts.training.sources import place, to_tensor


def freeze(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> None:
    """Move codec, text encoder and denoiser, in place, and switch their gradients off."""
    for part in (bundle.codec.module, bundle.text.encoder, bundle.denoiser, bundle.conditions):
        if part is not None:
            part.to(device=device, dtype=dtype).requires_grad_(False)


@torch.no_grad()
def encode_image(
    bundle: Bundle,
    image: np.ndarray,
    *,
    symmetry: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
    """Latents of one image in one of its eight symmetries, in the codec's full precision.

    Args:
        bundle: whose codec encodes.
        image: uint8 [H, W, 3].
        symmetry: 0 to 7, see :func:`crafts.data.tiles.augment.dihedral`.
        device: where the codec lies.
        dtype: of the codec.

    Returns:
        Mean and deviation [C, h, w] on the CPU; no deviation where it is zero.
    """
    pixels = dihedral(to_tensor(image), symmetry)[None].to(device, dtype)
    with torch.autocast(device.type, enabled=False):
        mean, std = bundle.codec.encode(pixels)
    return mean[0].cpu(), std[0].cpu() if bool((std > 0).any()) else None


def check_last_timestep(schedule: Schedule, gamma: float | None) -> None:
    """Refuse what cannot be learnt where the last timestep is pure noise: there sampling begins.

    Raises:
        ConfigError: noise prediction, from which no clean latents follow; or min-SNR weights of any
            other, which are 0 there.
    """
    if float(schedule.alphas_cumprod[-1]) > 0:
        return
    if schedule.prediction_type == "epsilon":
        raise ConfigError(
            "train: stage.schedule",
            came="noise prediction with a last timestep of pure noise",
            allowed="v_prediction or sample there, as no clean latents follow from the noise alone",
            do="Choose another prediction_type, or zero_terminal_snr: false.",
        )
    if gamma is not None:
        raise ConfigError(
            "train: stage.min_snr_gamma",
            came=f"{gamma:g} with a last timestep of pure noise, whose weight is then 0",
            allowed="null: there sampling begins",
            do="Set stage.min_snr_gamma to null, or zero_terminal_snr to false.",
        )


def draw_latents(mean: Tensor, std: Tensor | None, *, seed: int, position: int) -> Tensor:
    """Latents [C, h, w] drawn for global sample ``position``."""
    if std is None:
        return mean
    return mean + std * normal(seed, "latent", position, mean.shape)


def noise_batch(
    x0: Tensor,
    positions: Sequence[int],
    *,
    seed: int,
    num_timesteps: int,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Clean latents with the noise and the timestep of each global sample.

    Args:
        x0: clean latents [B, C, h, w].
        positions: B global sample indices, which decide the draws.
        seed: of the run.
        num_timesteps: of the schedule.
        device: of the batch.
        dtype: of its latents.

    Returns:
        ``x0`` and ``noise`` [B, C, h, w], ``t`` [B].
    """
    noise = torch.stack([normal(seed, "noise", g, x0.shape[1:]) for g in positions])
    t = torch.tensor([choice(seed, "timestep", g, num_timesteps) for g in positions])
    return {
        "x0": place(x0, device, dtype),
        "noise": place(noise, device, dtype),
        "t": t.to(device),
    }


def denoising_errors(
    prediction: Tensor, batch: dict[str, Tensor], schedule: Schedule, *, gamma: float | None
) -> Tensor:
    """Denoising loss of each sample, [B].

    Args:
        prediction: of the denoiser, [B, C, h, w].
        batch: ``x0``, ``noise`` and ``t``.
        schedule: by which the batch was noised.
        gamma: of the min-SNR weights; None: every timestep counts the same.
    """
    x0, noise, t = batch["x0"], batch["noise"], batch["t"]
    return denoising_loss(
        prediction,
        schedule.target(x0, noise, t),
        schedule.snr(t),
        prediction_type=schedule.prediction_type,
        min_snr_gamma=gamma,
    )
