"""Classifier-free guidance as wrappers around a denoiser; the sampler does not know of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from crafts.core.errors import ConfigError

TextDenoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""``(x_t [B, C, h, w], t [], tokens [kB, T, D]) -> prediction [kB, C, h, w]``.

Where k is not 1, each picture is told several texts: all their first ones, then all their second.
"""

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``(x_t [B, C, h, w], t []) -> prediction [B, C, h, w]``; what a sampler calls."""


def conditioned(denoiser: TextDenoiser, tokens: torch.Tensor) -> Denoise:
    """Bind the text features [B, T, D]; one call of the denoiser a step."""
    return lambda x_t, t: denoiser(x_t, t, tokens)


def guided(
    denoiser: TextDenoiser,
    tokens: torch.Tensor,
    unconditional: torch.Tensor | None,
    scale: float,
) -> Denoise:
    """Classifier-free guidance (Ho & Salimans 2022): ``u + scale * (c - u)``.

    Args:
        denoiser: the network.
        tokens: [B, T, D] features of the prompts.
        unconditional: [B, U, D] features of the empty or negative prompts; may be None at scale 1.
            Where U is not T, the denoiser is called for each by itself.
        scale: 1.0 = off, and then the denoiser is called once, without the unconditional.

    Raises:
        ConfigError: the scale is not 1.0 and there is no unconditional.
    """
    if scale == 1.0:
        return conditioned(denoiser, tokens)
    if unconditional is None:
        raise ConfigError(
            "guidance_scale",
            came=f"{scale:g} without an unconditional",
            allowed="1.0, or both",
            do="Encode the negative (or empty) prompt as well.",
        )
    together = unconditional.shape == tokens.shape
    both = torch.cat([unconditional, tokens]) if together else tokens

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if together:
            without, with_text = denoiser(x_t, t, both).chunk(2)
        else:
            without, with_text = denoiser(x_t, t, unconditional), denoiser(x_t, t, tokens)
        return without + scale * (with_text - without)

    return denoise


def within(
    interval: tuple[float, float], timesteps: torch.Tensor, inside: Denoise, outside: Denoise
) -> Denoise:
    """Use one denoiser for a stretch of the steps and another elsewhere (Kynkäänniemi et al. 2024).

    Args:
        interval: (start, stop) as fractions of the steps; stop is excluded.
        timesteps: [S] the sampler's timesteps, in the order they are taken.
        inside: for steps in the interval, as a rule the guided denoiser.
        outside: for all others, as a rule the conditioned one.

    Raises:
        ConfigError: the interval is not of that form.
    """
    start, stop = interval
    if not 0.0 <= start <= stop <= 1.0:
        raise ConfigError(
            "guidance interval",
            came=f"({start:g}, {stop:g})",
            allowed="0 <= start <= stop <= 1",
            do="Give both ends as fractions of the sampler's steps.",
        )
    number = len(timesteps)
    active = {int(t) for i, t in enumerate(timesteps) if start <= i / number < stop}
    return lambda x_t, t: (inside if int(t) in active else outside)(x_t, t)
