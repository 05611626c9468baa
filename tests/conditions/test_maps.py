"""What ControlNets add: when they act, on which half of a batch, and how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crafts.conditions.condition import Condition, additions, bind
from crafts.conditions.maps import image_map, mask_map, render_map
from crafts.conditions.networks import MapConditioner
from crafts.conditions.text import TextFeatures
from crafts.controls.hematoxylin import hematoxylin_map
from crafts.controls.maps import CHANNELS, nuclei_map
from crafts.controls.nuclei import NucleiMask, separate
from crafts.core.errors import ConfigError
from crafts.data.painter import paint_tile
from crafts.model.bundle import Bundle, load_bundle
from crafts.sampling.draws import Draw, group_draws
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import resolve_preset
from crafts.sampling.sampler import iter_images
from fixtures_steering import disc_mask, random_control, write_vivid_model

MAPS = {"a": mask_map(disc_mask(8, 8)), "b": mask_map(disc_mask(20, 24))}
Known = dict[str, MapConditioner]
STEPS = torch.tensor([900, 700, 500, 300, 100])


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_vivid_model(tiny_model, tmp_path_factory.mktemp("vivid") / "model"))


@pytest.fixture(scope="module")
def controls(bundle: Bundle) -> Known:
    network = random_control(bundle).module
    return {"nuclei": MapConditioner(network, lambda use: MAPS[use.key])}


def active(controls: Known, start: float, stop: float) -> list[int]:
    use = Condition("nuclei", "a", 1.0, start, stop)
    return sorted(bind(controls, [[use]], STEPS, torch.device("cpu"))[0].active)


def test_it_acts_between_start_and_stop_as_in_diffusers(controls: Known) -> None:
    assert active(controls, 0, 1) == [100, 300, 500, 700, 900]
    assert active(controls, 0, 0.6) == [500, 700, 900]
    assert active(controls, 0, 0.7) == [500, 700, 900]  # a step counts when it ends in time
    assert active(controls, 0.5, 1) == [100, 300]
    assert active(controls, 0.1, 0.15) == []


@torch.no_grad()
def test_both_halves_of_a_guided_batch_get_the_same_map(bundle: Bundle, controls: Known) -> None:
    uses = [[Condition("nuclei", "a")], [Condition("nuclei", "b")]]
    bound = bind(controls, uses, STEPS, torch.device("cpu"))
    x_t, tokens = torch.randn(2, 4, 4, 4), torch.randn(2, 3, 16)
    t = STEPS[0]
    whole = additions(bound, torch.cat([x_t, x_t]), t, torch.cat([tokens, tokens]))
    middle = whole["mid_block_additional_residual"]
    assert torch.allclose(middle[:2], middle[2:], atol=1e-4)
    alone = additions(bound, x_t, t, tokens)["mid_block_additional_residual"]
    assert torch.allclose(middle[:2], alone, atol=1e-4)
    swapped = bind(controls, uses[::-1], STEPS, torch.device("cpu"))
    other = additions(swapped, x_t, t, tokens)["mid_block_additional_residual"]
    assert not torch.allclose(other, alone, atol=1e-2)


@torch.no_grad()
def test_weights_scale_and_several_add_up(controls: Known) -> None:
    x_t, tokens, t = torch.randn(1, 4, 4, 4), torch.randn(1, 3, 16), STEPS[1]

    def middle(*uses: Condition) -> torch.Tensor:
        bound = bind(controls, [uses], STEPS, torch.device("cpu"))
        found: torch.Tensor = additions(bound, x_t, t, tokens)["mid_block_additional_residual"]
        return found

    a, b = middle(Condition("nuclei", "a")), middle(Condition("nuclei", "b"))
    half = middle(Condition("nuclei", "a", 0.5), Condition("nuclei", "b", 0.25))
    assert torch.allclose(half, 0.5 * a + 0.25 * b, atol=1e-5)
    off = bind(controls, [[Condition("nuclei", "a", 0.0)]], STEPS, torch.device("cpu"))
    assert additions(off, x_t, t, tokens) == {}


@torch.no_grad()
def test_without_an_active_control_the_denoiser_is_itself(bundle: Bundle, controls: Known) -> None:
    use = Condition("nuclei", "a", 1.0, 0.0, 0.5)
    bound = bind(controls, [[use]], STEPS, torch.device("cpu"))
    x_t, tokens = torch.randn(1, 4, 4, 4), torch.randn(1, 3, 16)
    plain, steered = network_denoiser(bundle.denoiser), network_denoiser(bundle.denoiser, bound)
    assert torch.equal(plain(x_t, STEPS[-1], tokens), steered(x_t, STEPS[-1], tokens))
    assert not torch.allclose(plain(x_t, STEPS[0], tokens), steered(x_t, STEPS[0], tokens))


def test_only_controls_of_one_kind_and_weight_share_a_batch() -> None:
    uses = [(), (Condition("nuclei", "a"),), (Condition("nuclei", "b"),)]
    uses += [(Condition("nuclei", "a", 0.5),), (Condition("fluorescence", "a"),)]
    uses.append((Condition("nuclei", "a", stop=0.5),))
    draws = [Draw("colon", conditions=own) for own in uses]
    told = [TextFeatures(torch.zeros(3, 2), None)] * len(draws)
    assert group_draws(draws, told) == [[0], [1, 2], [3], [4], [5]]


def test_neighbours_in_a_batch_do_not_change_an_image(bundle: Bundle, controls: Known) -> None:
    draws = [Draw("colon", seed=s, guidance_scale=2.0) for s in range(2)]
    for name in ("a", "b", "a"):
        use = (Condition("nuclei", name),)
        draws.append(Draw("colon", guidance_scale=2.0, conditions=use))
    preset = resolve_preset("fast", num_steps=3)

    def images(batch_size: int) -> dict[int, np.ndarray]:
        groups = iter_images(bundle, draws, preset, batch_size=batch_size, conditioners=controls)
        return {index: image.astype(int) for group in groups for index, _, image in group}

    together, alone = images(4), images(1)
    assert all(np.abs(together[i] - alone[i]).max() <= 2 for i in range(5))
    assert np.array_equal(together[2], together[4])
    assert np.abs(together[2] - together[0]).max() > 10  # the same noise, steered
    assert np.abs(together[2] - together[3]).max() > 10  # by another map


def test_touching_nuclei_of_a_class_mask_are_told_apart() -> None:
    tile = paint_tile(seed=0, index=0, size=128)
    mask = NucleiMask((tile.classes > 0).astype(np.uint8))
    assert np.array_equal(mask_map(mask), nuclei_map(separate(mask)))
    with pytest.raises(ConfigError, match="expected one size"):
        mask_map(mask, size=(8, 8))
    boundary = CHANNELS.index("boundary")
    assert mask_map(mask)[boundary].sum() > nuclei_map(mask)[boundary].sum()
    assert np.array_equal(image_map(tile.image), hematoxylin_map(tile.image)[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 12])
def test_every_map_has_a_picture(channels: int) -> None:
    values = np.random.default_rng(0).random((channels, 16, 24)).astype(np.float32)
    picture = render_map(values)
    assert picture.shape == (16, 24, 3) and picture.dtype == np.uint8 and picture.max() > 50
    dark = render_map(np.zeros((channels, 16, 24), np.float32))
    assert dark.max() == 0
