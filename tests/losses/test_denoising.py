from __future__ import annotations

import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.losses.denoising import denoising_loss, min_snr_weight
from reference.denoising import denoising_loss_loop

SNR = torch.tensor([0.004, 0.7, 4.9, 5.1, 1100.0])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_agrees_with_the_naive_loop(prediction_type: str, gamma: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 5, 4, 3, 3, generator=generator)
    loss = denoising_loss(
        prediction, target, SNR, prediction_type=prediction_type, min_snr_gamma=gamma
    )
    expected = denoising_loss_loop(
        prediction.flatten(1).double().tolist(),
        target.flatten(1).double().tolist(),
        SNR.double().tolist(),
        prediction_type,
        gamma,
    )
    torch.testing.assert_close(loss.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-9)


def test_epsilon_without_signal_has_its_limit_and_no_nan() -> None:
    weight = min_snr_weight(torch.tensor([0.0]), 5.0, prediction_type="epsilon")
    assert weight.tolist() == [1.0]


def test_v_and_epsilon_weigh_the_same_error_of_x0_alike() -> None:
    """An error of x0 of size 1 is snr in epsilon and snr + 1 in v, squared."""
    epsilon = min_snr_weight(SNR, 5.0, prediction_type="epsilon") * SNR
    velocity = min_snr_weight(SNR, 5.0, prediction_type="v_prediction") * (SNR + 1)
    torch.testing.assert_close(epsilon, velocity)


def test_half_precision_is_summed_in_float32() -> None:
    prediction = torch.full((1, 70000), 0.5, dtype=torch.bfloat16)
    loss = denoising_loss(prediction, prediction * 0, SNR[:1], prediction_type="epsilon")
    assert loss.dtype == torch.float32 and loss.item() == 0.25


def test_double_precision_stays_double() -> None:
    prediction = torch.full((1, 4), 1e-12, dtype=torch.float64) + 1
    loss = denoising_loss(
        prediction, torch.ones_like(prediction), SNR[:1], prediction_type="epsilon"
    )
    assert loss.dtype == torch.float64 and 0 < loss.item() < 1e-23


@pytest.mark.parametrize(
    ("gamma", "kind", "words"), [(0.0, "epsilon", "positive number"), (5.0, "flow", "'flow'")]
)
def test_refuses(gamma: float, kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        min_snr_weight(SNR, gamma, prediction_type=kind)
