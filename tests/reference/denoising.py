"""The weighted denoising loss, one number at a time in float64."""

from __future__ import annotations

from collections.abc import Sequence


def denoising_loss_loop(
    predictions: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]],
    snrs: Sequence[float],
    prediction_type: str,
    gamma: float | None,
) -> list[float]:
    """Mean squared error of each sample, times its min-SNR weight derived from the error of x0."""
    losses = []
    for prediction, target, snr in zip(predictions, targets, snrs, strict=True):
        total = 0.0
        for a, b in zip(prediction, target, strict=True):
            total += (a - b) ** 2
        error = total / len(target)
        if gamma is not None:
            per_x0_error = {"epsilon": snr, "v_prediction": snr + 1, "sample": 1.0}[prediction_type]
            error = error * min(snr, gamma) / per_x0_error
        losses.append(error)
    return losses
