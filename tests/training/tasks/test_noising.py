"""Draws that depend on the sample alone, latents of either kind of codec, one set of options."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.data.tiles.augment import dihedral
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.schedule import Schedule, ScheduleConfig, build_schedule, scheduler_config
from crafts.training.loader import join
from crafts.training.sources import crop_place
from crafts.training.tasks.control import ControlStage
from crafts.training.tasks.denoiser import DenoiserStage
from crafts.training.tasks.noising import (
    Noising,
    check_last_timestep,
    denoising_errors,
    encode_images,
    freeze,
    image_latents,
)

CPU, F32 = torch.device("cpu"), torch.float32


@pytest.fixture
def bundle(tiny_model) -> Bundle:
    return load_bundle(tiny_model)


def draw(positions: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    noising = Noising(seed, 1000)
    return join([noising.latents(torch.full((2, 4, 4), float(g)), g) for g in positions])


def test_draws_are_a_function_of_seed_and_sample():
    together, apart = draw([3, 8, 5]), draw([8])
    for name in ("x0", "noise", "t"):
        assert torch.equal(together[name][1:2], apart[name])
    assert not torch.equal(draw([8], seed=1)["noise"], apart["noise"])
    many = draw(list(range(400)))
    assert abs(float(many["noise"].mean())) < 0.05 and abs(float(many["noise"].std()) - 1) < 0.05
    assert 0 <= int(many["t"].min()) and int(many["t"].max()) < 1000


def test_a_crop_is_that_of_the_latents_and_has_noise_of_its_size():
    x0 = torch.arange(64.0).reshape(1, 8, 8)
    found = Noising(0, 1000, crop=4).latents(x0, 5)
    top, left = crop_place(8, 8, 4, seed=0, position=5)
    assert torch.equal(found["x0"], x0[:, top : top + 4, left : left + 4])
    assert found["noise"].shape == (1, 4, 4)


def test_images_are_encoded_together_as_they_are_alone(bundle):
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (3, 32, 32), dtype=np.uint8))
    turned = [dihedral(pixels, k) for k in range(8)]
    wide = torch.cat([pixels, pixels], dim=2)
    moments = encode_images(bundle, [*turned, wide], device=CPU, dtype=F32)
    assert all(std is None for _, std in moments) and moments[8][0].shape[1:] == (4, 8)
    assert len({mean.numpy().tobytes() for mean, _ in moments}) == 9
    for image, (mean, _) in zip([*turned, wide], moments, strict=True):
        ((alone, _),) = encode_images(bundle, [image], device=CPU, dtype=F32)
        assert not mean.requires_grad
        torch.testing.assert_close(mean, alone, atol=1e-5, rtol=1e-5)


def test_latents_are_drawn_only_where_the_codec_says_a_deviation():
    mean, draws = torch.zeros(2, 3, 3), torch.randn(1, 2, 3, 3)
    samples = {"draw": draws, "box": [None]}
    assert torch.equal(image_latents([(mean, None)], samples)[0], mean)
    drawn = image_latents([(mean, torch.full_like(mean, 2.0))], samples)
    torch.testing.assert_close(drawn, 2 * draws)
    without = {"draw": [None], "box": [(1, 0, 2)]}
    assert image_latents([(mean, torch.ones_like(mean))], without).shape == (1, 2, 2, 2)


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
