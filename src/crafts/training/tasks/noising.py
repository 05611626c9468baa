"""What the tasks share that train on noised latents: options, latents, draws, and the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.losses.denoising import denoising_loss
from crafts.model.bundle import Bundle
from crafts.model.codec import Codec
from crafts.model.schedule import Schedule
from crafts.training.loader import Sample
from crafts.training.order import choice, normal
from crafts.training.sources import crop_place, to_range


def freeze(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> None:
    """Move codec, text encoder and denoiser, in place, and switch their gradients off."""
    for part in (bundle.codec.module, bundle.text.encoder, bundle.denoiser, bundle.conditions):
        if part is not None:
            part.to(device=device, dtype=dtype).requires_grad_(False)


@torch.no_grad()
def encode_images(
    bundle: Bundle, images: Sequence[Tensor] | Tensor, *, device: torch.device, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor | None]]:
    """Latents of images in the codec's full precision; a device takes those of one size together.

    A CPU takes one after the other: it is as fast so, and no latent depends on its neighbours.

    Args:
        bundle: whose codec encodes.
        images: B of uint8 [3, H, W].
        device: where the codec lies.
        dtype: of the codec.

    Returns:
        B of mean and deviation [C, h, w] on the device; no deviation of a codec that gives none.
    """
    alike: dict[Any, list[int]] = {}
    for number, image in enumerate(images):
        alike.setdefault(number if device.type == "cpu" else image.shape, []).append(number)
    found: dict[int, tuple[Tensor, Tensor | None]] = {}
    for numbers in alike.values():
        pixels = to_range(torch.stack([images[number] for number in numbers]).to(device))
        with torch.autocast(device.type, enabled=False):
            mean, std = bundle.codec.encode(pixels.to(dtype))
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


Box = tuple[int, int, int]
"""Top, left and edge of a crop in cells of the latents."""


@dataclass(frozen=True)
class Noising:
    """How clean latents are cropped and noised: by the seed and the global sample index alone.

    Attributes:
        seed: of the run.
        num_timesteps: of the schedule.
        crop: edge in cells of what a sample shows; None: the whole.
    """

    seed: int
    num_timesteps: int
    crop: int | None = None

    def box(self, position: int, shape: Sequence[int]) -> Box | None:
        """The crop of latents [C, H, W] that a sample shows; None: the whole."""
        if self.crop is None or self.crop >= min(shape[-2:]):
            return None
        place = crop_place(shape[-2], shape[-1], self.crop, seed=self.seed, position=position)
        return (*place, self.crop)

    def latents(self, x0: Tensor, position: int) -> Sample:
        """``x0`` and ``noise`` [C, h, w] and ``t`` [] of whole clean latents."""
        box = self.box(position, x0.shape)
        return {"x0": _crop(x0, box), **self._draws(position, x0.shape, box)}

    def image(self, image: Tensor, position: int, codec: Codec, *, drawn: bool = True) -> Sample:
        """As :meth:`latents`, of an image whose latents :func:`image_latents` makes later.

        Args:
            image: uint8 [3, H, W].
            position: global sample index.
            codec: that will encode it.
            drawn: latents are drawn where the codec gives a deviation; else its mean is taken.
        """
        shape = codec.channels, image.shape[1] // codec.factor, image.shape[2] // codec.factor
        box, draw = self.box(position, shape), None
        if drawn and not codec.deterministic:
            draw = normal(self.seed, "latent", position, shape)
        return {"image": image, "draw": draw, "box": box, **self._draws(position, shape, box)}

    def _draws(self, position: int, shape: Sequence[int], box: Box | None) -> Sample:
        edges = shape[1:] if box is None else (box[2], box[2])
        t = choice(self.seed, "timestep", position, self.num_timesteps)
        noise = normal(self.seed, "noise", position, (shape[0], *edges))
        return {"noise": noise, "t": torch.tensor(t)}


def image_latents(
    moments: Sequence[tuple[Tensor, Tensor | None]], samples: Mapping[str, Any]
) -> Tensor:
    """Latents [B, C, h, w] of joined samples of :meth:`Noising.image`, by their moments."""
    found = []
    for (mean, std), draw, box in zip(moments, samples["draw"], samples["box"], strict=True):
        latents = mean if std is None or draw is None else mean + std * draw.to(mean.device)
        found.append(_crop(latents, box))
    return torch.stack(found)


def _crop(latents: Tensor, box: Box | None) -> Tensor:
    if box is None:
        return latents
    top, left, edge = box
    return latents[:, top : top + edge, left : left + edge]


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
