"""Recipes: all that are shipped validate, and what they cost is counted right."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from crafts.core.errors import ConfigError
from crafts.model.denoiser import SD15_DENOISER, DenoiserConfig
from crafts.recipe import count_cost, describe_cost, load_recipe, read_header
from crafts.training.train import TrainConfig

SMALL = DenoiserConfig(
    sample_size=8,
    channels=4,
    block_out_channels=(16, 32),
    attention=(False, True),
    num_heads=2,
    cross_attention_dim=16,
    norm_num_groups=8,
)


def recipe(denoiser=SMALL, **stage):
    values = {"kind": "denoiser", "denoiser": denoiser.model_dump(), **stage}
    rest = {"data": {"kind": "painted"}, "num_steps": 10, "global_batch_size": 4}
    return TrainConfig.model_validate({"stage": values, **rest})


def test_all_recipes_validate_and_name_their_command(root):
    paths = sorted((root / "recipes").rglob("*.yaml"))
    assert paths
    for path in paths:
        load_recipe(path)
        assert "crafts train" in read_header(path), path


def test_a_wrong_field_is_named(root):
    with pytest.raises(ConfigError, match="nonsense"):
        load_recipe(root / "recipes/tiny.yaml", ["nonsense=1"])


def test_cost_of_sd15_is_the_known_one():
    cost = count_cost(recipe(SD15_DENOISER).model_copy(update={"global_batch_size": 1}))
    assert cost.parameters == cost.trained == 859_520_964
    # three times a forward pass of 339 GMAC in convolutions and linear layers (the figure that is
    # commonly quoted) and 126 GFLOP in attention
    assert cost.step_flops == pytest.approx(2.4068e12, rel=1e-3)
    assert cost.state_bytes == 20 * cost.parameters


def test_lora_trains_little_and_keeps_weights():
    full, lora = count_cost(recipe()), count_cost(recipe(lora={"rank": 2}))
    assert 0 < lora.trained < 0.1 * full.trained
    assert lora.parameters == full.parameters + lora.trained
    assert lora.step_flops < full.step_flops


def test_micro_batches_change_memory_and_not_operations():
    whole = count_cost(recipe())
    parts = count_cost(recipe().model_copy(update={"micro_batch_size": 1}))
    assert parts.step_flops == pytest.approx(whole.step_flops, rel=1e-6)
    assert parts.activation_bytes == pytest.approx(whole.activation_bytes / 4, rel=0.05)


def test_gradient_checkpointing_trades_operations_for_memory():
    plain, saving = count_cost(recipe()), count_cost(recipe(gradient_checkpointing=True))
    assert saving.activation_bytes < 0.5 * plain.activation_bytes
    assert plain.step_flops < saving.step_flops < 1.5 * plain.step_flops


def test_activations_are_those_of_a_real_pass():
    """Against real tensors of a real forward pass of diffusers' network."""
    cost = count_cost(recipe().model_copy(update={"global_batch_size": 2}))
    network = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=8,
    )
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(2, 4, 8, 8), torch.tensor([1.0, 2.0]), torch.randn(2, 77, 16))
    held = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)
    assert cost.activation_bytes == pytest.approx(held, rel=0.05)


def test_cost_lines_say_when_the_model_is_not_here(monkeypatch):
    config = recipe(init_from="nobody/nothing")
    stage = config.stage.model_copy(update={"denoiser": None, "crop": 8})
    lines = describe_cost(config.model_copy(update={"stage": stage, "device": "cpu"}))
    assert "is not here: counted as Stable Diffusion 1.5" in lines[0]
    assert lines[1].startswith("parameters: 859.52 M")


def test_other_stages_say_that_they_are_not_counted(root):
    lines = describe_cost(load_recipe(root / "recipes/mini/clip.yaml"))
    assert lines == ["cost: counted for denoisers only; this recipe trains kind 'clip'"]
