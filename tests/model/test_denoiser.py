from __future__ import annotations

import sys

import pytest
import torch

from crafts.core.config import load_config
from crafts.core.errors import ConfigError
from crafts.model.config import SD15_DENOISER
from crafts.model.denoiser import (
    DenoiserConfig,
    add_lora,
    build_denoiser,
    count_parameters,
    merge_lora,
)
from fixtures_model import TINY_DENOISER


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, 4, 4, generator=generator)
    return x_t, torch.tensor([3, 900]), torch.randn(2, 7, 16, generator=generator)


def test_mini_is_the_network_of_the_recipe() -> None:
    denoiser = build_denoiser(DenoiserConfig())
    assert count_parameters(denoiser) == 7_510_856
    blocks = [type(block).__name__ for block in denoiser.down_blocks]
    assert blocks == ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    attention = denoiser.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    assert attention.heads == 4 and attention.to_k.in_features == 160


def test_sd15_has_its_published_size() -> None:
    with torch.device("meta"):
        assert round(count_parameters(build_denoiser(SD15_DENOISER)) / 1e6, 2) == 859.52


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = TINY_DENOISER.model_copy(update={"gradient_checkpointing": checkpointing})
        denoiser = build_denoiser(config).train()
        denoiser(*inputs()).sample.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in denoiser.parameters()]))
    torch.testing.assert_close(*gradients)


def test_lora_trains_adapters_alone_and_merges() -> None:
    torch.manual_seed(0)
    denoiser = build_denoiser(TINY_DENOISER)
    names, total = set(denoiser.state_dict()), count_parameters(denoiser)
    before = denoiser(*inputs()).sample.detach()
    add_lora(denoiser, rank=2)
    torch.testing.assert_close(denoiser(*inputs()).sample, before)  # adapters begin at zero
    trainable = [p for p in denoiser.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trainable) < total / 10
    assert count_parameters(denoiser, trainable_only=True) == sum(p.numel() for p in trainable)
    with torch.no_grad():
        for parameter in trainable:
            parameter.add_(0.05 * torch.randn_like(parameter))
    adapted = denoiser(*inputs()).sample.detach()
    assert (adapted - before).abs().max() > 1e-4
    merge_lora(denoiser)
    assert set(denoiser.state_dict()) == names, "the adapters are gone"
    torch.testing.assert_close(denoiser(*inputs()).sample, adapted, rtol=1e-4, atol=1e-5)


def test_lora_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = build_denoiser(TINY_DENOISER)
    with pytest.raises(ConfigError, match="lora: rank"):
        add_lora(denoiser, rank=0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'crafts\[lora\]'"):
        add_lora(denoiser, rank=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"attention": (True,)}, "one entry of attention"),
        ({"num_heads": 5}, "multiples of norm_num_groups and of num_heads"),
        ({"sample_size": 30}, "halves evenly"),
    ],
)
def test_configuration_refuses(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(DenoiserConfig, values)
