"""Adapters: ours open in diffusers, weights scale them, several add up, misfits are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from crafts.core.errors import ConfigError, DataError
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.denoiser import add_lora, build_denoiser
from crafts.model.lora import FILE, parse_loras, save_lora, with_loras
from fixtures_model import TINY_DENOISER


def write_lora(bundle: Bundle, folder: Path, *, seed: int = 0, rank: int = 2) -> Path:
    fresh = build_denoiser(TINY_DENOISER)
    fresh.load_state_dict(bundle.denoiser.state_dict())
    torch.manual_seed(seed)
    add_lora(fresh, rank=rank, alpha=2 * rank)
    for name, value in fresh.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)
    save_lora(fresh, folder)
    return folder


@pytest.fixture
def bundle(tiny_model: Path) -> Bundle:
    return load_bundle(tiny_model)


def say(bundle: Bundle) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    side, width = bundle.denoiser.config.sample_size, bundle.text.width
    x_t = torch.randn(1, bundle.denoiser.config.in_channels, side, side, generator=generator)
    tokens = torch.randn(1, 7, width, generator=generator)
    with torch.no_grad():
        return bundle.denoiser(x_t, torch.tensor(500), tokens).sample


def test_diffusers_opens_ours_and_says_the_same(bundle, tiny_model: Path, tmp_path: Path) -> None:
    folder = write_lora(bundle, tmp_path / "site")
    before = say(bundle)
    ours = say(with_loras(bundle, parse_loras([f"{folder},0.5"])))
    pipe = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    pipe.load_lora_weights(folder, adapter_name="site")
    pipe.set_adapters(["site"], [0.5])
    theirs = say(replace(bundle, denoiser=pipe.unet.eval()))
    assert (ours - before).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert torch.equal(say(bundle), before)  # the model itself stays


def test_several_add_up_and_name_the_model(bundle: Bundle, tmp_path: Path) -> None:
    first = write_lora(bundle, tmp_path / "a", seed=1)
    second = write_lora(bundle, tmp_path / "b", seed=2, rank=3)
    both = with_loras(bundle, parse_loras([str(first), f"{second},2"]))
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"

    def change(folder: Path) -> torch.Tensor:
        layers = load_file(folder / FILE)
        key = f"unet.{name.removesuffix('.weight')}"
        a, b = (layers[f"{key}.lora_{side}.weight"].float() for side in "AB")
        return 2 * b @ a  # alpha is twice the rank

    found = both.denoiser.state_dict()[name] - bundle.denoiser.state_dict()[name]
    torch.testing.assert_close(found, change(first) + 2 * change(second), atol=1e-5, rtol=1e-4)
    assert both.name.endswith("a + b") and both.fingerprint != bundle.fingerprint
    assert [told["weight"] for told in both.extra["loras"]] == [1.0, 2.0]
    again = with_loras(bundle, parse_loras([str(first), f"{second},2"]))
    assert again.fingerprint == both.fingerprint
    assert with_loras(bundle, ()) is bundle


def test_weight_nought_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    folder = write_lora(bundle, tmp_path / "site")
    off = with_loras(bundle, parse_loras([f"{folder},0"]))
    torch.testing.assert_close(say(off), say(bundle))


def test_what_does_not_fit_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pytorch_lora_weights\.safetensors in 'nowhere'"):
        parse_loras(["nowhere"])
    folder = write_lora(bundle, tmp_path / "site")
    with pytest.raises(ConfigError, match="weight 9"):
        parse_loras([f"{folder},9"])
    wide = TINY_DENOISER.model_copy(
        update={"block_out_channels": (16, 64), "cross_attention_dim": 32}
    )
    other = replace(bundle, denoiser=build_denoiser(wide))
    with pytest.raises(ConfigError, match="trained for this model"):
        with_loras(other, parse_loras([str(folder)]))
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-40])
    with pytest.raises(DataError, match="unreadable adapters"):
        with_loras(bundle, parse_loras([str(folder)]))
