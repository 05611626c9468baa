"""Rows through the pipe of steps, against a canvas that is sampled in one piece."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crafts.model.bundle import load_bundle
from crafts.sampling.draws import Draw, encode_draws
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import (
    build_denoise,
    build_scheduler,
    sample,
    sample_latents,
)
from crafts.sampling.windows import BAND, build_grid, build_steps, noise_band, planes_of
from reference.canvas import average, slope, starts

EDGE, OVERLAP, HEIGHT, WIDTH = 4, 2, 21, 10
PROMPTS = ("colon carcinoma", "benign lung")


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return load_bundle(tiny_model)


@pytest.fixture(scope="module")
def told(bundle):
    return encode_draws(bundle.text, [Draw(text, guidance_scale=2.0) for text in PROMPTS])


@pytest.fixture(scope="module")
def noise():
    return noise_band((3, 0), 0, (4, HEIGHT, WIDTH))


def alone(top, bottom):
    return {0: torch.ones(bottom - top, WIDTH)}


def halves(top, bottom):
    """The first prompt on the left, the second on the right, and both in between."""
    share = torch.linspace(1.5, -0.5, WIDTH).clamp(0, 1).expand(bottom - top, WIDTH)
    return {0: share, 1: 1 - share}


def steps_of(bundle, told, preset, shares=alone):
    def grids(step):
        return build_grid(HEIGHT, WIDTH, edge=EDGE, overlap=OVERLAP, step=step)

    denoiser = network_denoiser(bundle.denoiser)
    return build_steps(
        *(denoiser, told, preset, bundle.schedule.config),
        grids=grids,
        shares=shares,
        batch_size=8,
    )


def pushed(steps, noise, cuts):
    """Rows that come out when they go in cut at these places."""
    rows = torch.stack([noise] + [torch.zeros_like(noise)] * (planes_of(steps[0].scheduler) - 1))
    found = []
    for part in rows.tensor_split(cuts, dim=2):
        for step in steps:
            part = step.push(part)
        found.append(part[0])
    return torch.cat(found, dim=1)


@pytest.mark.parametrize(
    ("preset", "shares"),
    [
        (Preset("dpm++", 4, 2.0), alone),
        (Preset("ddim", 4, 2.0), alone),
        (Preset("dpm++", 3, 2.0, interval=(0.3, 1.0)), halves),
    ],
)
def test_rows_in_bands_are_the_canvas_in_one_piece(bundle, told, noise, preset, shares):
    scheduler = build_scheduler(bundle.schedule.config, preset)
    order = {int(t): i for i, t in enumerate(scheduler.timesteps)}
    network = network_denoiser(bundle.denoiser)
    labels = [share.numpy() for share in shares(0, HEIGHT).values()]

    def denoise(x_t, t):
        def predict(window, prompt):
            one = build_denoise(network, [told[prompt]], preset, scheduler.timesteps, x_t.device)
            return one(window, t)

        step, stride = order[int(t)], EDGE - OVERLAP
        shifts = [int(step * r % 1 * stride) for r in (0.7548776662466927, 0.5698402909980532)]
        told_apart = None if len(labels) == 1 else labels
        return average(
            predict, x_t[0], edge=EDGE, overlap=OVERLAP, shifts=shifts, labels=told_apart
        )[None]

    whole = sample(denoise, noise[None], scheduler)[0]
    banded = pushed(steps_of(bundle, told, preset, shares), noise, [3, 11, 12])
    assert banded.shape == noise.shape
    assert float(whole.std()) > 0.1
    torch.testing.assert_close(banded, whole, atol=2e-4, rtol=0)


def test_how_rows_are_cut_changes_no_bit(bundle, told, noise):
    preset = Preset("dpm++", 3, 2.0)
    whole = pushed(steps_of(bundle, told, preset), noise, [])
    for cuts in ([1], [7, 8, 20], [5, 10, 15]):
        assert torch.equal(pushed(steps_of(bundle, told, preset), noise, cuts), whole)


def test_a_canvas_of_one_window_is_a_tile(bundle, told):
    noise = torch.randn(4, EDGE, EDGE, generator=torch.Generator().manual_seed(0))
    for preset in (Preset("dpm++", 5, 2.0), Preset("ddim", 5, 2.0)):
        denoiser = network_denoiser(bundle.denoiser)
        steps = build_steps(
            *(denoiser, told, preset, bundle.schedule.config),
            grids=lambda step: build_grid(EDGE, EDGE, edge=EDGE, overlap=OVERLAP, step=step),
            shares=lambda top, bottom: {0: torch.ones(bottom - top, EDGE)},
            batch_size=1,
        )
        tile = sample_latents(denoiser, told[:1], noise[None], preset, bundle.schedule.config)
        torch.testing.assert_close(pushed(steps, noise, []), tile[0], atol=1e-5, rtol=1e-5)


def test_a_state_that_is_taken_up_changes_no_bit(bundle, told, noise):
    preset = Preset("dpm++", 3, 2.0)
    whole = pushed(steps_of(bundle, told, preset), noise, [14])
    first = steps_of(bundle, told, preset)
    above = pushed(first, noise[:, :14], [])
    second = steps_of(bundle, told, preset)
    for step, earlier in zip(second, first, strict=True):
        step.restore({name: tensor.clone() for name, tensor in earlier.state().items()})
    below = pushed(second, noise[:, 14:], [])
    assert 0 < above.shape[1] < 14
    assert torch.equal(torch.cat([above, below], dim=1), whole)


def test_each_prompt_rules_its_side(bundle, told, noise):
    """What is predicted is the number of the prompt: the clean latents are then known."""
    config = {**bundle.schedule.config, "prediction_type": "sample"}
    values = torch.tensor([-1.0, 2.0])
    numbered = [
        replace(item, tokens=torch.full_like(item.tokens, float(value)), unconditional=None)
        for item, value in zip(told, values, strict=True)
    ]

    def denoiser(x_t, t, tokens):
        return tokens[:, 0, 0].reshape(-1, 1, 1, 1).expand_as(x_t)

    steps = build_steps(
        *(denoiser, numbered, Preset("ddim", 4, 1.0), config),
        grids=lambda step: build_grid(HEIGHT, WIDTH, edge=EDGE, overlap=OVERLAP, step=step),
        shares=halves,
        batch_size=4,
    )
    found = pushed(steps, noise, [10])
    alpha = float(build_scheduler(config, Preset("ddim", 4, 1.0)).final_alpha_cumprod)
    share = halves(0, HEIGHT)[0]
    expected = -share + 2 * (1 - share)
    # the last alpha of this schedule is not quite 1: a trace of the noise is left
    left_over = math.sqrt(1 - alpha) * 8
    torch.testing.assert_close(found, expected.expand_as(found), atol=left_over, rtol=0)


@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 3), st.integers(0, 60))
def test_windows_cover_all(height, width, overlap, step):
    grid = build_grid(height, width, edge=4, overlap=overlap, step=step)
    shift = int(step * 0.7548776662466927 % 1 * (4 - overlap))
    assert list(grid.rows) == starts(height, 4, 4 - overlap, shift)
    assert max(b - a for a, b in zip(grid.rows, grid.rows[1:] or grid.rows, strict=False)) <= 4
    assert grid.weights[0].tolist() == pytest.approx(
        [slope(4, overlap)[0] * v for v in slope(4, overlap)]
    )
    assert float(grid.down.min()) > 0 and len(grid.down) == height
    assert float(grid.across.min()) > 0 and len(grid.across) == width


def test_windows_lie_elsewhere_at_each_step():
    grids = [build_grid(100, 100, edge=8, overlap=1, step=step) for step in range(7)]
    assert len({(grid.rows[1], grid.columns[1]) for grid in grids}) == 7


def test_noise_belongs_to_its_place():
    narrow, wide = (noise_band((1, 0), 2, (3, BAND, width)) for width in (40, 100))
    assert torch.equal(narrow, wide[:, :, :40])
    assert torch.equal(noise_band((1, 0), 2, (3, 5, 40)), narrow[:, :5])
    assert not torch.equal(noise_band((1, 0), 3, (3, BAND, 40)), narrow)
    assert not torch.equal(noise_band((2, 0), 2, (3, BAND, 40)), narrow)
    assert float(wide.std()) == pytest.approx(1, abs=0.05)
