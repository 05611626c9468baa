from __future__ import annotations

import pytest
import torch
from torch import nn

from crafts.core.errors import ConfigError
from crafts.losses.adversarial import adversarial_loss, discriminator_loss
from crafts.losses.reconstruction import checkerboard_loss, grain_loss, laplacian_variance
from crafts.model.discriminator import DiscriminatorConfig, build_discriminator, freeze


def test_hinge_losses_have_their_closed_forms() -> None:
    real, decoded = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(real, decoded).item() == pytest.approx((2.5 / 3 + 3 / 3) / 2)
    assert adversarial_loss(decoded).item() == pytest.approx(2 / 3)
    assert discriminator_loss(torch.full((4,), 1.0), torch.full((4,), -1.0)).item() == 0.0


def test_the_discriminator_judges_squares() -> None:
    judge = build_discriminator(DiscriminatorConfig(width=4, num_downsamples=3))
    assert judge(torch.zeros(2, 3, 64, 32)).shape == (2, 1, 8, 4)


def test_frozen_weights_pass_the_gradient_on_and_take_none() -> None:
    judge = build_discriminator(DiscriminatorConfig(width=4))
    image = torch.randn(1, 3, 16, 16, requires_grad=True)
    adversarial_loss(torch.func.functional_call(judge, freeze(judge), (image,))).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_grain_asks_for_energy_and_not_for_place() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, other = torch.randn(2, 1, 3, 64, 64, generator=generator) * 0.3
    assert grain_loss(noise, noise).item() == 0.0
    flat = torch.zeros_like(noise)
    assert grain_loss(other, noise).item() < 0.2 * grain_loss(flat, noise).item()
    weak, strong = (grain_loss(share * other, noise).item() for share in (0.3, 0.8))
    assert strong < weak


def test_laplacian_variance_of_white_noise_is_twenty_times_its_own() -> None:
    grey = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    assert laplacian_variance(grey.expand(1, 3, -1, -1)).item() == pytest.approx(20, rel=0.05)


def test_only_a_screen_beyond_that_of_the_original_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 64, 64, generator=generator) * 0.3
    assert checkerboard_loss(0.5 * noise, noise).item() == 0.0
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    screen = 0.04 * (-1.0) ** (rows + columns)
    blurred = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    assert checkerboard_loss(noise + 5 * screen, noise).item() > 0.5
    assert checkerboard_loss(blurred + screen, noise).item() == 0.0  # as much as noise has itself
    assert checkerboard_loss(blurred + screen, blurred).item() > 1.0


def test_grain_of_a_crop_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="8x8 px; expected at least 16 px"):
        grain_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="checkerboard_loss: images of 8x8 px"):
        checkerboard_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_a_decoder_gains_the_grain_that_pixel_losses_average_away() -> None:
    """A one-layer 'decoder' of noise, trained against the discriminator, gets the real energy."""
    torch.manual_seed(0)
    judge = build_discriminator(DiscriminatorConfig(width=8, num_downsamples=1))
    decoder = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.constant_(decoder.weight, 0.01)
    optimizer = torch.optim.Adam([*judge.parameters(), *decoder.parameters()], lr=5e-3)
    before = laplacian_variance(decoder(torch.randn(8, 3, 16, 16))).item()
    for _ in range(120):
        real, output = torch.randn(8, 3, 16, 16), decoder(torch.randn(8, 3, 16, 16))
        loss = discriminator_loss(judge(real), judge(output.detach()))
        loss = loss + adversarial_loss(torch.func.functional_call(judge, freeze(judge), (output,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert laplacian_variance(decoder(torch.randn(8, 3, 16, 16))).item() > 20 * before
