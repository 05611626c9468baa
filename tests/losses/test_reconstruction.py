from __future__ import annotations

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.losses.reconstruction import (
    coarse_loss,
    decibel_loss,
    feature_loss,
    gradient_loss,
    kl_loss,
    l1_loss,
    l2_loss,
    latent_moment_penalty,
)


def test_a_decibel_counts_the_same_in_a_smooth_and_in_a_dense_sample() -> None:
    images = torch.zeros(1, 3, 8, 8)
    for error in (0.5, 0.1):
        worse, better = (decibel_loss(images + e, images) for e in (error, error / 10**0.05))
        assert (worse - better).item() == pytest.approx(np.log(10) / 10, rel=0.06), "1 dB"
    two = torch.stack([images[0] + 0.5, images[0] + 0.1])
    one = [decibel_loss(images + error, images).item() for error in (0.5, 0.1)]
    assert decibel_loss(two, images.expand(2, -1, -1, -1)).item() == pytest.approx(np.mean(one))
    assert decibel_loss(images, images).isfinite()


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return a, b


def test_coarse_errors_cost_and_fine_ones_do_not() -> None:
    image = torch.zeros(1, 3, 32, 32)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    fine = image + 0.2 * (-1.0) ** (rows + columns)
    coarse = image + 0.2 * torch.sin(rows / 5)
    nothing = coarse_loss(image, image).item()
    assert coarse_loss(fine, image).item() == pytest.approx(nothing, abs=1e-3)
    same = (coarse - image).square().mean() / (fine - image).square().mean()
    assert same.item() == pytest.approx(0.5, abs=0.1)
    assert coarse_loss(coarse, image).item() > nothing + 4
    halved = coarse_loss(coarse / 2, image).item()
    assert coarse_loss(coarse, image).item() - halved == pytest.approx(np.log(4), abs=0.05)


def test_pixel_losses_agree_with_numpy(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (tensor.double().numpy() for tensor in pair)
    assert l1_loss(*pair).item() == pytest.approx(np.abs(a - b).mean(), rel=1e-6)
    assert l2_loss(*pair).item() == pytest.approx(((a - b) ** 2).mean(), rel=1e-6)
    expected = sum(np.abs(np.diff(a, axis=k) - np.diff(b, axis=k)).mean() for k in (2, 3))
    assert gradient_loss(*pair).item() == pytest.approx(expected, rel=1e-6)


def test_gradient_loss_ignores_a_constant(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert gradient_loss(pair[0] + 0.3, pair[0]).item() < 1e-6
    assert l1_loss(pair[0] + 0.3, pair[0]).item() == pytest.approx(0.3, rel=1e-5)


def test_moment_penalty_has_its_closed_form() -> None:
    latents = torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    latents = (latents - latents.mean((0, 2, 3), keepdim=True)) / latents.std(
        (0, 2, 3), keepdim=True
    )
    assert latent_moment_penalty(latents).item() < 1e-10
    assert latent_moment_penalty(latents * 2 + 1).item() == pytest.approx(1 + 9, rel=1e-4)


def test_kl_agrees_with_torch_distributions() -> None:
    mean, std = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_loss(mean, std), expected)


def test_feature_loss_is_two_minus_twice_the_cosine(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    expected = (2 - 2 * torch.cosine_similarity(*pair, dim=1)).mean()
    torch.testing.assert_close(feature_loss([pair[0]], [pair[1]]), expected)
    assert feature_loss([pair[0]], [3 * pair[0]]).item() < 1e-10


def test_feature_loss_sends_no_gradient_into_the_originals() -> None:
    a, b = torch.randn(1, 4, 2, 2, requires_grad=True), torch.randn(1, 4, 2, 2, requires_grad=True)
    feature_loss([a], [b]).backward()
    assert a.grad is not None and b.grad is None


def test_feature_loss_refuses_lists_that_do_not_match() -> None:
    with pytest.raises(ConfigError, match="1 and 0 feature maps"):
        feature_loss([torch.ones(1, 1, 1, 1)], [])
