from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from crafts.core.errors import ConfigError
from crafts.model.codec import KLCodecConfig, TinyCodecConfig
from crafts.model.config import SD15_DENOISER, SD15_TEXT
from crafts.model.count import Passes, count_dual_encoder, count_training
from crafts.model.denoiser import add_lora, build_denoiser, count_parameters
from crafts.model.encoders import DualEncoderConfig, build_dual_encoder
from fixtures_model import TINY_DENOISER, TINY_TEXT, tiny_tokenizer


def test_sd15_matches_its_published_figures() -> None:
    cost = count_training(SD15_DENOISER, Passes())
    assert round(cost.parameters / 1e6, 2) == 859.52
    assert round(cost.forward_flops / 1e9, 2) == 803.27
    assert cost.step_flops == pytest.approx(3 * cost.forward_flops, rel=0.01)
    assert cost.weights == cost.gradients == cost.ema == 4 * cost.parameters
    assert cost.moments == 8 * cost.parameters
    assert cost.memory == pytest.approx(19.06e9, rel=0.02)


def test_frozen_parts_of_sd15() -> None:
    text = count_training(SD15_TEXT, Passes(frozen=True))
    codec = count_training(KLCodecConfig(), Passes(size=64, frozen=True))
    assert text.parameters == 123_060_480 and codec.parameters == 83_653_863
    assert text.memory == text.weights and text.step_flops == text.forward_flops


@pytest.mark.parametrize("lora", [False, True])
def test_activations_are_what_autograd_keeps(lora: bool) -> None:
    """The same sum over the storages of a real run on the CPU, where attention is fused too."""
    torch.manual_seed(0)
    denoiser = build_denoiser(TINY_DENOISER).train()
    if lora:
        add_lora(denoiser, rank=2)
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        denoiser(torch.zeros(3, 4, 4, 4), torch.ones(3), torch.zeros(3, 77, 16))
    real = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    passes = Passes(batch_size=3, lora_rank=2 if lora else None)
    assert count_training(TINY_DENOISER, passes).activations == pytest.approx(real, rel=0.01)


def test_frozen_weights_of_lora_need_no_gradient() -> None:
    full = count_training(TINY_DENOISER, Passes())
    lora = count_training(TINY_DENOISER, Passes(lora_rank=2))
    assert 0 < lora.trained < full.trained / 10 and lora.gradients == 4 * lora.trained
    assert lora.step_flops < 0.8 * full.step_flops
    assert lora.forward_flops < 1.1 * full.forward_flops


def test_checkpointing_and_tokens_show() -> None:
    plain = count_training(TINY_DENOISER, Passes(batch_size=2))
    saving = count_training(TINY_DENOISER, Passes(batch_size=2, checkpointing=True))
    assert saving.activations < plain.activations and saving.step_flops > plain.step_flops
    longer = count_training(TINY_DENOISER, Passes(batch_size=2, num_tokens=154))
    assert longer.forward_flops > plain.forward_flops


def test_flops_grow_with_the_batch() -> None:
    one = count_training(TINY_DENOISER, Passes()).forward_flops
    assert count_training(TINY_DENOISER, Passes(batch_size=3)).forward_flops == 3 * one


def test_bf16_halves_part_of_the_activations() -> None:
    full = count_training(TINY_DENOISER, Passes(batch_size=64)).activations
    assert count_training(TINY_DENOISER, Passes(batch_size=64, bf16=True)).activations < full


def test_codecs_and_text_encoders_of_any_size() -> None:
    tiny = count_training(TinyCodecConfig(), Passes(batch_size=2))
    assert tiny.parameters == 1_381_067 and tiny.activations > 0
    decoder = count_training(TinyCodecConfig(), Passes(batch_size=2, part="decoder"))
    assert decoder.trained < tiny.trained and decoder.step_flops < tiny.step_flops
    encoder = count_training(TinyCodecConfig(), Passes(part="encoder", frozen=True))
    assert 0 < encoder.forward_flops < tiny.forward_flops / 2
    text = count_training(TINY_TEXT, Passes(batch_size=2, vocab_size=600))
    assert text.parameters > 600 * 16 and text.step_flops > 2 * text.forward_flops


def test_folders_count_as_their_configurations(tiny_model: Path, tmp_path: Path) -> None:
    unet = count_training(tiny_model / "unet", Passes())
    assert unet.parameters > 0 and unet.step_flops > 2 * unet.forward_flops
    for part in ("vae", "text_encoder"):
        assert count_training(tiny_model / part, Passes(frozen=True)).forward_flops > 0
    width = json.loads((tiny_model / "text_encoder" / "config.json").read_text())["hidden_size"]
    assert width == 16
    with pytest.raises(ConfigError, match="no such file"):
        count_training(tmp_path, Passes())


def test_dual_encoders_count_with_their_vocabulary(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    real = build_dual_encoder(DualEncoderConfig(), tokenizer)
    assert count_dual_encoder(DualEncoderConfig(), len(tokenizer)) == count_parameters(real)
