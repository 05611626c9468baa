"""Against a closed form: the ideal denoiser of a Gaussian and where it takes noise are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.model.bundle import load_bundle
from crafts.sampling.draws import Draw, encode_draws
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import PRESETS, Preset, resolve_preset
from crafts.sampling.sampler import (
    build_scheduler,
    draw_noise,
    iter_images,
    sample,
    sample_latents,
)

MEAN, SPREAD = 0.7, 0.4
CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
}
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def ideal(prediction_type, calls=None):
    """E[prediction | x_t] when x0 is N(MEAN, SPREAD^2) in every element."""

    def denoise(x_t, t):
        if calls is not None:
            calls.append(int(t))
        a = float(ALPHAS[int(t)])
        gain = SPREAD**2 * math.sqrt(a) / (a * SPREAD**2 + 1 - a)
        x0 = MEAN + gain * (x_t - math.sqrt(a) * MEAN)
        noise = (x_t - math.sqrt(a) * x0) / math.sqrt(1 - a)
        velocity = math.sqrt(a) * noise - math.sqrt(1 - a) * x0
        return {"epsilon": noise, "v_prediction": velocity, "sample": x0}[prediction_type]

    return denoise


def transported(noise, first, last):
    """The probability flow of a Gaussian keeps the standard score: closed form."""
    a, b = (float(ALPHAS[int(t)]) for t in (first, last))
    score = (noise - math.sqrt(a) * MEAN) / math.sqrt(a * SPREAD**2 + 1 - a)
    return math.sqrt(b) * MEAN + score * math.sqrt(b * SPREAD**2 + 1 - b)


NOISE = torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("num_steps", "tolerance"), [(50, 0.06), (500, 0.006)])
def test_ddim_transports_a_gaussian(prediction_type, num_steps, tolerance):
    config = CONFIG | {"prediction_type": prediction_type}
    scheduler = build_scheduler(config, Preset("ddim", num_steps, 1.0))
    latents = sample(ideal(prediction_type), NOISE, scheduler)
    expected = transported(NOISE, scheduler.timesteps[0], 0)
    assert (latents - expected).abs().mean() < tolerance
    assert abs(latents.mean() - expected.mean()) < tolerance / 2
    assert abs(latents.std() - expected.std()) < tolerance / 2


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "tolerance"), [("balanced", 0.002), ("fast", 0.01)])
def test_multistep_transports_a_gaussian_in_few_steps(prediction_type, name, tolerance):
    scheduler = build_scheduler(CONFIG | {"prediction_type": prediction_type}, PRESETS[name])
    latents = sample(ideal(prediction_type), NOISE, scheduler)
    expected = transported(NOISE, 999, 0)
    assert abs(latents.mean() - expected.mean()) < tolerance
    assert abs(latents.std() - expected.std()) < tolerance
    assert (latents - expected).abs().mean() < tolerance


def test_error_of_ddim_falls_with_the_number_of_steps():
    def error(num_steps):
        scheduler = build_scheduler(CONFIG, Preset("ddim", num_steps, 1.0))
        latents = sample(ideal("epsilon"), NOISE, scheduler)
        return float((latents - transported(NOISE, scheduler.timesteps[0], 0)).abs().mean())

    errors = [error(n) for n in (25, 50, 100)]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)  # first order
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


def test_ddim_is_the_update_of_the_paper():
    """Song et al. 2021, eq. 12 with sigma 0, as a plain loop in float64."""
    scheduler = build_scheduler(CONFIG, Preset("ddim", 10, 1.0))
    network = torch.nn.Conv2d(4, 4, 3, padding=1).double().requires_grad_(False)
    found = sample(lambda x_t, t: network(x_t), NOISE[:2], scheduler)
    x_t, times = NOISE[:2], [901 - 100 * i for i in range(10)]
    for i, t in enumerate(times):
        now, then = ALPHAS[t], ALPHAS[times[i + 1]] if i < 9 else ALPHAS[0]
        noise = network(x_t)
        x0 = (x_t - math.sqrt(1 - now) * noise) / math.sqrt(now)
        x_t = math.sqrt(then) * x0 + math.sqrt(1 - then) * noise
    assert (found - x_t).abs().max() < 1e-5 * x_t.abs().max()


@pytest.mark.parametrize(("name", "calls"), [("paper", 50), ("balanced", 20), ("fast", 8)])
def test_presets_make_one_call_a_step_and_begin_at_the_noisy_end(name, calls):
    seen = []
    sample(ideal("epsilon", seen), NOISE[:1], build_scheduler(CONFIG, PRESETS[name]))
    assert len(seen) == calls
    assert seen[0] >= 980
    assert seen == sorted(seen, reverse=True)


def test_latents_are_never_clipped():
    """DDIM's own default clips x0 to [-1, 1]; latents have no such range."""
    scheduler = build_scheduler({**CONFIG, "clip_sample": True}, Preset("ddim", 10, 1.0))
    latents = sample(lambda x_t, t: torch.zeros_like(x_t), NOISE[:2], scheduler)
    assert latents.abs().max() > 3


def test_schedulers_hold_no_state_between_calls():
    runs = [
        sample(ideal("epsilon"), NOISE[:2], build_scheduler(CONFIG, PRESETS["fast"]))
        for _ in range(2)
    ]
    assert torch.equal(*runs)


def test_a_schedule_without_signal_at_its_end_is_sampled_evenly_in_time():
    config = CONFIG | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    assert build_scheduler(config, PRESETS["fast"]).timesteps.tolist()[:2] == [999, 874]


def test_a_pndm_file_as_of_sd15_is_understood():
    config = CONFIG | {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "clip_sample": False}
    for preset in PRESETS.values():
        assert len(build_scheduler(config, preset).timesteps) == preset.num_steps


def test_noise_depends_on_seed_and_index_only():
    draws = [Draw("a", 1, 0), Draw("b", 1, 0), Draw("a", 1, 1), Draw("a", 2, 0)]
    together = draw_noise(draws, (2, 4, 4))
    alone = torch.cat([draw_noise([draw], (2, 4, 4)) for draw in draws])
    assert torch.equal(together, alone)
    assert torch.equal(together[0], together[1])
    assert len({tuple(item.flatten().tolist()) for item in together}) == 3


@pytest.mark.parametrize("name", ["paper", "balanced", "fast"])
def test_latents_do_not_depend_on_the_batch(tiny_model, name):
    bundle = load_bundle(tiny_model)
    preset = replace(PRESETS[name], num_steps=min(PRESETS[name].num_steps, 10), guidance_scale=7.5)
    draws = [Draw(f"prompt {i}", seed=i % 2, k=i, guidance_scale=7.5) for i in range(5)]
    conditionings = encode_draws(bundle.text, draws)

    def latents(chosen):
        return sample_latents(
            network_denoiser(bundle.denoiser),
            [conditionings[i] for i in chosen],
            draw_noise([draws[i] for i in chosen], (4, 4, 4)),
            preset,
            bundle.schedule.config,
        )

    together = latents(range(5))
    apart = torch.cat([latents([3, 1]), latents([0]), latents([4, 2])])
    torch.testing.assert_close(apart, together[[3, 1, 0, 4, 2]], atol=1e-4, rtol=1e-4)
    assert (together[0] - together[2]).abs().max() > 0.1


@pytest.mark.parametrize(("name", "scale"), [("paper", 7.5), ("paper", 1.0), ("balanced", 2.5)])
def test_latents_equal_those_of_diffusers(tiny_model, name, scale):
    from diffusers import StableDiffusionPipeline

    bundle, preset = load_bundle(tiny_model), Preset(PRESETS[name].solver, 8, scale)
    draws = [Draw("colon, carcinoma", 3, k, "blur", scale) for k in range(2)]
    noise = draw_noise(draws, (4, 4, 4))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler(pipeline.scheduler.config, preset)
    theirs = pipeline(
        "colon, carcinoma", negative_prompt="blur", latents=noise, num_images_per_prompt=2,
        num_inference_steps=8, guidance_scale=scale, height=32, width=32, output_type="latent",
    ).images  # fmt: skip
    denoiser = network_denoiser(bundle.denoiser)
    ours = sample_latents(
        denoiser, encode_draws(bundle.text, draws), noise, preset, bundle.schedule.config
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_interval_limits_guidance_to_its_steps(tiny_model):
    bundle = load_bundle(tiny_model)
    draws = [Draw("colon", 1, 0, guidance_scale=4.0)]

    def latents(interval, scale=4.0):
        preset = Preset("ddim", 4, scale, interval)
        conditionings = encode_draws(bundle.text, draws)
        noise = draw_noise(draws, (4, 4, 4))
        denoiser = network_denoiser(bundle.denoiser)
        return sample_latents(denoiser, conditionings, noise, preset, bundle.schedule.config)

    torch.testing.assert_close(latents((0.0, 1.0)), latents(None))
    torch.testing.assert_close(latents((0.5, 0.5)), latents(None, scale=1.0))
    assert not torch.allclose(latents((0.0, 0.5)), latents(None), atol=1e-4)


def test_a_resumed_run_repeats_the_numbers(tiny_model):
    bundle = load_bundle(tiny_model)
    draws = [Draw("lung " * (1 + 90 * (i % 2)), seed=i, guidance_scale=2.0) for i in range(7)]
    preset = Preset("dpm++", 2, 2.0)

    def images(done):
        batches = iter_images(bundle, draws, preset, batch_size=2, done=done)
        return {index: image for batch in batches for index, _, image in batch}

    whole, rest = images(()), images({0, 1, 2, 6})
    assert sorted(whole) == list(range(7))
    assert sorted(rest) == [3, 4, 5]
    assert all(np.array_equal(rest[index], whole[index]) for index in rest)


def test_preset_takes_the_users_wish_before_the_models_before_its_own():
    tuned = {"guidance": {"balanced": 3.5}}
    assert resolve_preset("balanced").guidance_scale == 2.5
    assert resolve_preset("balanced", extra=tuned).guidance_scale == 3.5
    # how much a model bears is the model's: its scale holds for presets that nobody tuned
    assert resolve_preset("paper", extra=tuned) == replace(PRESETS["paper"], guidance_scale=3.5)
    tuned["guidance"]["paper"] = 5.0
    assert resolve_preset("paper", extra=tuned).guidance_scale == 5.0
    assert resolve_preset("paper").guidance_scale == 7.5, "as published, where nothing is known"
    chosen = resolve_preset("balanced", guidance_scale=1.0, num_steps=3, extra=tuned)
    assert chosen == replace(PRESETS["balanced"], guidance_scale=1.0, num_steps=3)


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="preset: 'slow'; expected paper, balanced, fast"):
        resolve_preset("slow")


@pytest.mark.parametrize("num_steps", [334, 400, 501, 1000])
def test_ddim_refuses_to_begin_in_the_middle(num_steps):
    with pytest.raises(ConfigError, match="which divide 1000"):
        build_scheduler(CONFIG, Preset("ddim", num_steps, 1.0))
    assert build_scheduler(CONFIG, Preset("dpm++", 334, 1.0)).timesteps[0] > 990


@pytest.mark.parametrize("num_steps", [4, 30, 50, 60, 250, 500])
def test_ddim_takes_the_usual_numbers(num_steps):
    timesteps = build_scheduler(CONFIG, Preset("ddim", num_steps, 1.0)).timesteps
    assert timesteps[0] >= 1000 - 1000 / num_steps - 50


def test_more_steps_than_timesteps_are_refused():
    with pytest.raises(ConfigError, match="num_steps: 11; expected at most 10"):
        build_scheduler({"num_train_timesteps": 10}, Preset("ddim", 11, 1.0))
