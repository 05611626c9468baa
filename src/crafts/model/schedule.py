"""The noise schedule: how much noise at which timestep, and what the denoiser is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.core.parsing import shorten
from crafts.model.config import ScheduleConfig

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_MOST_TIMESTEPS = 100_000
_OF_BETAS = ("num_train_timesteps", "beta_start", "beta_end", "trained_betas")
_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


@dataclass(frozen=True)
class Schedule:
    """A variance-preserving schedule, ``x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise``.

    Attributes:
        alphas_cumprod: [T] float32, a_t, falling.
        prediction_type: "epsilon", "v_prediction" or "sample".
        config: the ``scheduler_config.json`` it came from, for the samplers of diffusers.
    """

    alphas_cumprod: Tensor
    prediction_type: str
    config: dict[str, Any]

    @property
    def num_timesteps(self) -> int:
        """T; timesteps are integers in [0, T)."""
        return len(self.alphas_cumprod)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Read a ``scheduler_config.json`` of diffusers (DDIM, PNDM, DPM-Solver, Euler, DDPM, ...).

        Raises:
            ConfigError: an unknown beta schedule or prediction type, or numbers out of bounds.
        """
        prediction_type = config.get("prediction_type", "epsilon")
        if prediction_type not in PREDICTION_TYPES:
            raise ConfigError(
                "scheduler_config.json: prediction_type",
                came=repr(prediction_type),
                allowed="one of " + ", ".join(PREDICTION_TYPES),
                do="Correct the file.",
            )
        try:
            betas = _betas(config)
            between = bool(((betas >= 0) & (betas <= 1)).all())
            usable = between and 2 <= len(betas) <= _MOST_TIMESTEPS
        except (TypeError, ValueError, RuntimeError, OverflowError):
            usable = False
        if not usable:
            raise ConfigError(
                "scheduler_config.json: num_train_timesteps, beta_start, beta_end, trained_betas",
                came=", ".join(shorten(config.get(name)) for name in _OF_BETAS),
                allowed=f"2 to {_MOST_TIMESTEPS} timesteps, betas between 0 and 1",
                do="Restore the file of the model.",
            )
        alphas_cumprod = torch.cumprod(1 - betas, 0)
        if config.get("rescale_betas_zero_snr"):
            alphas_cumprod = _rescale_to_zero_snr(alphas_cumprod)
        return cls(alphas_cumprod.float(), prediction_type, dict(config))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t`` [B, ...] for clean latents, noise of the same shape and timesteps [B]."""
        signal, spread = self._coefficients(t, x0)
        return signal * x0 + spread * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What to predict, [B, ...]: noise, ``sqrt(a) noise - sqrt(1 - a) x0``, or ``x0``."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, spread = self._coefficients(t, x0)
        return signal * noise - spread * x0

    def x0_from(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean latents that a prediction implies (undefined for epsilon where a_t = 0)."""
        if self.prediction_type == "sample":
            return prediction
        signal, spread = self._coefficients(t, x_t)
        if self.prediction_type == "epsilon":
            return (x_t - spread * prediction) / signal
        return signal * x_t - spread * prediction

    def prediction_of(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The prediction that implies these clean latents; the inverse of :meth:`x0_from`."""
        if self.prediction_type == "sample":
            return x0
        signal, spread = self._coefficients(t, x_t)
        if self.prediction_type == "epsilon":
            return (x_t - signal * x0) / spread
        return (signal * x_t - x0) / spread

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio ``a_t / (1 - a_t)`` [B] of timesteps [B]."""
        alphas = self.alphas_cumprod.to(t.device)[t]
        return alphas / (1 - alphas)

    def _coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod.to(like.device)[t.to(like.device)]
        shape = (-1, *[1] * (like.dim() - 1))
        return alphas.sqrt().reshape(shape).to(like.dtype), (1 - alphas).sqrt().reshape(shape).to(
            like.dtype
        )


def build_schedule(config: ScheduleConfig) -> Schedule:
    """The schedule of a training recipe."""
    return Schedule.from_config(scheduler_config(config))


def scheduler_config(config: ScheduleConfig) -> dict[str, Any]:
    """``scheduler_config.json`` of a ``DDIMScheduler`` as SD-1.5 pipelines expect it."""
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": config.num_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": config.beta_schedule,
        "trained_betas": None,
        "prediction_type": config.prediction_type,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "timestep_spacing": "trailing" if config.zero_terminal_snr else "leading",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }


def _betas(config: Mapping[str, Any]) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    kind = config.get("beta_schedule", "linear")
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    number = config.get("num_train_timesteps", 1000)
    if not isinstance(number, int) or number > _MOST_TIMESTEPS:
        raise ValueError("too many timesteps")
    if kind == "linear":
        return torch.linspace(start, end, number, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, number, dtype=torch.float64) ** 2
    if kind == "squaredcos_cap_v2":
        bars = [
            math.cos((i / number + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(number + 1)
        ]
        pairs = zip(bars, bars[1:], strict=False)
        return torch.tensor(
            [min(1 - after / before, 0.999) for before, after in pairs], dtype=torch.float64
        )
    raise ConfigError(
        "scheduler_config.json: beta_schedule",
        came=repr(kind),
        allowed="one of " + ", ".join(_BETA_SCHEDULES),
        do="Correct the file.",
    )


def _rescale_to_zero_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(a_t) to end at 0 and begin where it did (Lin et al. 2024, alg. 1)."""
    roots = alphas_cumprod.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    return ((roots - last) * first / (first - last)) ** 2
