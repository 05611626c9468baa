"""Known latents must come out as they went in, whatever a network says of them."""

from functools import partial

import numpy as np
import pytest
import torch

from crafts.imaging.sources import build_source
from crafts.model.bundle import load_bundle
from crafts.model.schedule import Schedule
from crafts.sampling.draws import Draw
from crafts.sampling.edits import Edit, beside, first_step, free_latents, keeping
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import build_scheduler, iter_images, sample

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
}
TYPES = ["epsilon", "v_prediction", "sample"]
SOLVERS = [Preset("ddim", 25, 1.0), Preset("dpm++", 20, 1.0)]
DRAWS = torch.Generator().manual_seed(0)
NOISE = torch.randn(2, 4, 8, 8, generator=DRAWS, dtype=torch.float64)
X0 = torch.randn(2, 4, 8, 8, generator=DRAWS, dtype=torch.float64)
FREE = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
FREE[:, :, 2:5, 3:7] = True


def nonsense(x_t, t):
    return torch.tanh(3 * x_t.roll(1, -1)) + float(t) / 1000


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return load_bundle(tiny_model)


@pytest.mark.parametrize("kind", TYPES)
def test_the_prediction_of_clean_latents_implies_them(kind):
    schedule = Schedule.from_config(CONFIG | {"prediction_type": kind})
    t = torch.tensor([10, 700])
    x_t = schedule.add_noise(X0, NOISE, t)
    found = schedule.prediction_of(X0, x_t, t)
    assert (found - schedule.target(X0, NOISE, t)).abs().max() < 1e-5
    assert (schedule.x0_from(found, x_t, t) - X0).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("preset", SOLVERS)
def test_known_latents_come_out_as_they_were_and_the_rest_is_made(kind, preset):
    config = CONFIG | {"prediction_type": kind}
    schedule = Schedule.from_config(config)
    plain = sample(nonsense, NOISE, build_scheduler(config, preset))
    kept = sample(keeping(nonsense, X0, FREE, schedule), NOISE, build_scheduler(config, preset))
    known = ~FREE.expand_as(X0)
    short = 0.03 if preset.solver == "ddim" else 0.0  # what DDIM leaves of noise in its last step
    assert (kept - X0)[known].abs().max() < 0.01 + 5 * short
    assert (kept - X0)[known].abs().mean() < 0.005 + short
    assert (kept - X0)[~known].abs().mean() > 0.5
    everywhere = keeping(nonsense, X0, torch.ones_like(FREE), schedule)
    assert torch.equal(sample(everywhere, NOISE, build_scheduler(config, preset)), plain)


def test_known_latents_are_as_noisy_at_each_step_as_the_schedule_says():
    scheduler, schedule = build_scheduler(CONFIG, SOLVERS[0]), Schedule.from_config(CONFIG)
    nothing, seen = torch.zeros_like(FREE), []

    def watch(x_t, t):
        seen.append((x_t, t))
        return nonsense(x_t, t)

    sample(keeping(watch, X0, nothing, schedule), NOISE, scheduler)
    start = schedule.alphas_cumprod[scheduler.timesteps[0]].sqrt()  # share of X0 in x_T: left out
    for x_t, t in seen:
        expected = schedule.add_noise(X0, NOISE, t[None].expand(2))
        assert (x_t - expected).abs().max() < 1.1 * start * X0.abs().max()


@pytest.mark.parametrize("preset", SOLVERS)
@pytest.mark.parametrize("first", [0, 8, 19])
def test_equal_texts_leave_a_picture_where_it_is(preset, first):
    schedule = Schedule.from_config(CONFIG)
    both = beside(nonsense, nonsense, X0, torch.ones_like(FREE), schedule)
    own, other = sample(
        both, torch.cat([NOISE, NOISE]), build_scheduler(CONFIG, preset), first=first
    ).chunk(2)
    assert torch.equal(own, other)


def test_another_text_changes_only_what_may_change():
    schedule = Schedule.from_config(CONFIG)

    def other_text(x_t, t):
        return nonsense(x_t, t) + 0.3

    both = beside(other_text, nonsense, X0, FREE, schedule)
    scheduler = build_scheduler(CONFIG, SOLVERS[1])
    own, other = sample(both, torch.cat([NOISE, NOISE]), scheduler).chunk(2)
    changed = (own != other).any(1, keepdim=True)
    assert torch.equal(changed, FREE)


@pytest.mark.parametrize("preset", SOLVERS)
def test_a_run_that_begins_later_ends_where_the_whole_one_does(preset):
    config = CONFIG | {"prediction_type": "epsilon"}
    seen = []

    def watch(x_t, t):
        seen.append(x_t)
        return 0.5 * x_t

    whole = sample(watch, NOISE, build_scheduler(config, preset))
    later = sample(watch, seen[12], build_scheduler(config, preset), first=12)
    assert (later - whole).abs().max() < (1e-9 if preset.solver == "ddim" else 0.05)


def test_latents_with_a_pixel_of_the_region_and_their_neighbours_are_free():
    draws = np.random.default_rng(1)
    region = draws.random((3, 32, 32)) < 0.01
    found = free_latents(torch.from_numpy(region), 8)
    for picture in range(3):
        for y in range(4):
            for x in range(4):
                top, left = max(8 * y - 8, 0), max(8 * x - 8, 0)
                near = region[picture, top : 8 * y + 16, left : 8 * x + 16]
                assert bool(found[picture, 0, y, x]) == bool(near.any())


def test_strength_is_a_share_of_the_steps_and_leaves_one_at_least():
    assert [first_step(20, share) for share in (1, 0.7, 0.5, 0.001)] == [0, 6, 10, 19]


def test_edited_draws_of_one_group_share_a_batch_and_mixed_ones_keep_their_places(bundle):
    image = np.random.default_rng(2).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    mask = np.zeros((32, 40), bool)
    mask[4:9, 30:34] = True
    source = build_source(image, mask, edge=32, feather=2)
    edit = partial(Edit, key="a", read=lambda: source)
    draws = [
        Draw("colon", seed=1),
        Draw("colon", seed=1, edit=edit()),
        Draw("lung", seed=2, edit=edit(0.5, "colon")),
        Draw("lung", seed=1, edit=Edit(0.5, "colon")),
    ]
    found = {
        index: picture
        for batch in iter_images(bundle, draws, Preset("dpm++", 4, 2.0))
        for index, _, picture in batch
    }
    assert [found[place].shape for place in range(4)] == [(32, 32, 3), (32, 40, 3)] + [
        (32, 40, 3),
        (32, 32, 3),
    ]
    for place in (1, 2):
        assert np.array_equal(found[place][source.share == 0], image[source.share == 0])
