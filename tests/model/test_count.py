from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from crafts.model.codec import KLCodecConfig, TinyCodecConfig
from crafts.model.count import count_training
from crafts.model.denoiser import SD15_DENOISER, build_denoiser
from crafts.model.text import SD15_TEXT
from fixtures_model import TINY_DENOISER, TINY_TEXT


def test_sd15_matches_its_published_figures() -> None:
    cost = count_training(SD15_DENOISER, micro_batch_size=1)
    assert round(cost.parameters / 1e6, 2) == 859.52
    assert round(cost.forward_flops / 1e9, 2) == 803.27
    assert cost.step_flops == pytest.approx(3 * cost.forward_flops, rel=0.01)
    assert cost.weights == cost.gradients == cost.ema == 4 * cost.parameters
    assert cost.moments == 8 * cost.parameters
    assert cost.memory == pytest.approx(19.06e9, rel=0.02)
    assert cost.hours(3600, cost.step_flops) == pytest.approx(1.0)


def test_frozen_parts_of_sd15() -> None:
    text = count_training(SD15_TEXT, micro_batch_size=1, frozen=True)
    codec = count_training(KLCodecConfig(), micro_batch_size=1, size=64, frozen=True)
    assert text.parameters == 123_060_480 and codec.parameters == 83_653_863
    assert text.memory == text.weights and text.step_flops == text.forward_flops
    assert (text + codec).parameters == text.parameters + codec.parameters


def test_activations_are_what_autograd_keeps() -> None:
    """The same sum over the storages of a real run on the CPU, where attention is fused too."""
    torch.manual_seed(0)
    denoiser = build_denoiser(TINY_DENOISER).train()
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        denoiser(torch.zeros(3, 4, 4, 4), torch.ones(3), torch.zeros(3, 77, 16))
    real = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    counted = count_training(TINY_DENOISER, micro_batch_size=3).activations
    assert counted == pytest.approx(real, rel=0.01)


def test_checkpointing_and_accumulation_show() -> None:
    plain = count_training(TINY_DENOISER, micro_batch_size=2)
    config = TINY_DENOISER.model_copy(update={"gradient_checkpointing": True})
    saving = count_training(config, micro_batch_size=2)
    assert saving.activations < plain.activations and saving.step_flops > plain.step_flops
    doubled = count_training(TINY_DENOISER, micro_batch_size=2, num_micro_batches=2, ema=False)
    assert doubled.step_flops == 2 * plain.step_flops and doubled.ema == 0
    assert doubled.activations == plain.activations


def test_bf16_halves_part_of_the_activations() -> None:
    full = count_training(TINY_DENOISER, micro_batch_size=64).activations
    assert count_training(TINY_DENOISER, micro_batch_size=64, bf16=True).activations < full


def test_codecs_and_text_encoders_of_any_size() -> None:
    tiny = count_training(TinyCodecConfig(), micro_batch_size=2)
    assert tiny.parameters == 1_381_067 and tiny.activations > 0
    text = count_training(TINY_TEXT, micro_batch_size=2, vocab_size=600)
    assert text.parameters > 600 * 16 and text.step_flops > 2 * text.forward_flops
