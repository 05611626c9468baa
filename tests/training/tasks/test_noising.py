"""Draws that depend on the sample alone, latents of either kind of codec, one set of options."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.schedule import Schedule, ScheduleConfig, build_schedule, scheduler_config
from crafts.training.tasks.control import ControlStage
from crafts.training.tasks.denoiser import DenoiserStage
from crafts.training.tasks.noising import (
    check_last_timestep,
    denoising_errors,
    draw_latents,
    encode_image,
    freeze,
    noise_batch,
)

CPU, F32 = torch.device("cpu"), torch.float32


@pytest.fixture
def bundle(tiny_model) -> Bundle:
    return load_bundle(tiny_model)


def draw(positions: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    x0 = torch.stack([torch.full((2, 4, 4), float(g)) for g in positions])
    return noise_batch(x0, positions, seed=seed, num_timesteps=1000, device=CPU, dtype=F32)


def test_draws_are_a_function_of_seed_and_sample():
    together, apart = draw([3, 8, 5]), draw([8])
    for name in ("x0", "noise", "t"):
        assert torch.equal(together[name][1:2], apart[name])
    assert not torch.equal(draw([8], seed=1)["noise"], apart["noise"])
    many = draw(list(range(400)))
    assert abs(float(many["noise"].mean())) < 0.05 and abs(float(many["noise"].std()) - 1) < 0.05
    assert 0 <= int(many["t"].min()) and int(many["t"].max()) < 1000


def test_symmetries_of_an_image_are_encoded_as_they_lie(bundle):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mean, std = encode_image(bundle, image, symmetry=0, device=CPU, dtype=F32)
    assert std is None and mean.shape == (bundle.codec.channels, 4, 4) and not mean.requires_grad
    others = [encode_image(bundle, image, symmetry=k, device=CPU, dtype=F32)[0] for k in range(8)]
    assert len({other.numpy().tobytes() for other in others}) == 8


def test_latents_are_drawn_only_where_the_codec_says_a_deviation():
    mean = torch.zeros(2, 3, 3)
    assert draw_latents(mean, None, seed=0, position=1) is mean
    drawn = draw_latents(mean, torch.full_like(mean, 2.0), seed=0, position=1)
    assert torch.equal(drawn, draw_latents(mean, torch.full_like(mean, 2.0), seed=0, position=1))
    unit = draw_latents(mean, torch.ones_like(mean), seed=0, position=1)
    torch.testing.assert_close(drawn, 2 * unit)


def test_the_loss_of_a_perfect_prediction_is_zero_and_of_another_its_square():
    schedule, batch = build_schedule(ScheduleConfig()), draw([1, 2])
    right = schedule.target(batch["x0"], batch["noise"], batch["t"])
    assert not denoising_errors(right, batch, schedule, gamma=5.0).any()
    off = denoising_errors(right + 0.5, batch, schedule, gamma=None)
    torch.testing.assert_close(off, torch.full((2,), 0.25))


def test_frozen_parts_have_no_gradient(bundle):
    freeze(bundle, CPU, torch.float64)
    for part in (bundle.codec.module, bundle.text.encoder, bundle.denoiser):
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert {p.dtype for p in part.parameters()} == {torch.float64}


@pytest.mark.parametrize("name", ["crop", "caption_dropout", "min_snr_gamma", "max_chunks"])
def test_an_option_means_the_same_to_denoiser_and_controlnet(name):
    one, other = (
        stage.model_json_schema()["properties"][name] for stage in (DenoiserStage, ControlStage)
    )
    for schema in (one, other):
        schema.pop("default", None)
    assert one == other and one["description"]


def test_noise_prediction_up_to_pure_noise_is_refused():
    """A folder may say so, where a recipe cannot."""
    config = scheduler_config(ScheduleConfig(prediction_type="epsilon"))
    schedule = Schedule.from_config(config | {"rescale_betas_zero_snr": True})
    with pytest.raises(ConfigError, match="no clean latents follow from the noise alone"):
        check_last_timestep(schedule, None)
    check_last_timestep(Schedule.from_config(config), 5.0)
