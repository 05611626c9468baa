"""What the tasks share that train on noised latents: options, latents, draws, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.losses.denoising import denoising_loss
from crafts.model.bundle import Bundle
from crafts.model.schedule import Schedule
from crafts.training.order import choice, normal
from crafts.training.sources import to_range


def freeze(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> None:
    """Move codec, text encoder and denoiser, in place, and switch their gradients off."""
    for part in (bundle.codec.module, bundle.text.encoder, bundle.denoiser, bundle.conditions):
        if part is not None:
            part.to(device=device, dtype=dtype).requires_grad_(False)


@torch.no_grad()
def encode_images(
    bundle: Bundle, images: Sequence[Tensor] | Tensor, *, device: torch.device, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor | None]]:
    """Latents of images in the codec's full precision; those of one size are encoded together.

    Args:
        bundle: whose codec encodes.
        images: B of uint8 [3, H, W].
        device: where the codec lies.
        dtype: of the codec.

    Returns:
        B of mean and deviation [C, h, w] on the device; no deviation of a codec that gives none.
    """
    found: dict[int, tuple[Tensor, Tensor | None]] = {}
    alike: dict[torch.Size, list[int]] = {}
    for number, image in enumerate(images):
        alike.setdefault(image.shape, []).append(number)
    for numbers in alike.values():
        pixels = torch.stack([images[number] for number in numbers]).to(device)
        with torch.autocast(device.type, enabled=False):
            mean, std = bundle.codec.encode(to_range(pixels).to(dtype))
        spreads = [None] * len(mean) if bundle.codec.deterministic else list(std)
        found |= dict(zip(numbers, zip(mean, spreads, strict=True), strict=True))
    return [found[number] for number in range(len(images))]


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


def crop_latents(
    mean: Tensor,
    std: Tensor | None = None,
    draw: Tensor | None = None,
    box: tuple[int, int, int] | None = None,
) -> Tensor:
    """Latents [C, h, w] of a sample: drawn, then cropped.

    Args:
        mean: [C, H, W].
        std: deviation [C, H, W]; None: 0.
        draw: standard normal [C, H, W]; None: the mean is taken.
        box: top, left and edge of the crop in cells; None: the whole.
    """
    latents = mean if std is None or draw is None else mean + std * draw.to(mean.device)
    if box is None:
        return latents
    top, left, edge = box
    return latents[:, top : top + edge, left : left + edge]


def draw_noise(
    position: int, shape: Sequence[int], *, seed: int, num_timesteps: int
) -> dict[str, Tensor]:
    """Noise [C, h, w] and timestep [] of a global sample, which decides them with the seed."""
    t = torch.tensor(choice(seed, "timestep", position, num_timesteps))
    return {"noise": normal(seed, "noise", position, shape), "t": t}


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
