"""Regression of noise, velocity or clean latents, weighted by the signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from crafts.core.errors import ConfigError


def denoising_loss(
    prediction: Tensor,
    target: Tensor,
    snr: Tensor,
    *,
    prediction_type: str,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error per sample, optionally with min-SNR weights.

    Args:
        prediction: [B, ...] output of the denoiser.
        target: [B, ...] what it should have been.
        snr: [B], a_t / (1 - a_t) of the timesteps, >= 0.
        prediction_type: "epsilon", "v_prediction" or "sample".
        min_snr_gamma: gamma of :func:`min_snr_weight`; None weighs all timesteps alike.

    Returns:
        [B], in float32 at least.
    """
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    error = (prediction.to(dtype) - target.to(dtype)).square().flatten(1).mean(1)
    if min_snr_gamma is None:
        return error
    return error * min_snr_weight(snr, min_snr_gamma, prediction_type=prediction_type)


def min_snr_weight(snr: Tensor, gamma: float, *, prediction_type: str) -> Tensor:
    """Min-SNR weights [B] (Hang et al. 2023, section 3.4).

    They put ``min(snr, gamma)`` on the squared error of x0, whatever is predicted. That error is
    ``1 / snr`` times the error of epsilon and ``1 / (snr + 1)`` times that of v, so the weight is
    ``min(snr, gamma) / snr`` for epsilon and ``min(snr, gamma) / (snr + 1)`` for v.

    Raises:
        ConfigError: ``gamma`` is not positive or the prediction type is unknown.
    """
    if gamma <= 0:
        raise ConfigError(
            "min_snr_gamma",
            came=str(gamma),
            allowed="a positive number or null",
            do="Use for example 5.",
        )
    if prediction_type == "epsilon":
        return torch.clamp(
            gamma / snr, max=1.0
        )  # 1 in the limit of no signal, where 0/0 would come
    if prediction_type == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    if prediction_type == "sample":
        return snr.clamp(max=gamma)
    raise ConfigError(
        "prediction_type",
        came=repr(prediction_type),
        allowed="epsilon, v_prediction or sample",
        do="Correct the schedule.",
    )
