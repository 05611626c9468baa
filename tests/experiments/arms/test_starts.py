"""Checkpoints to begin with: without text, and with other text encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.experiments import configure
from crafts.experiments.arms.starts import bag_of_words, build_base, forget_text, with_text
from crafts.model.bundle import load_bundle


@pytest.fixture
def bundle(tiny_model: Path):
    return load_bundle(tiny_model)


def predict(denoiser, tokens: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, 4, 4, generator=generator)
    with torch.no_grad():
        return denoiser(x_t, torch.tensor([500, 500]), encoder_hidden_states=tokens)[0]


def test_a_model_that_forgot_text_hears_none_but_can_learn_it(bundle):
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.randn(2, 7, 16, generator=generator) for _ in range(2))
    assert not torch.equal(predict(bundle.denoiser, one), predict(bundle.denoiser, two))
    forget_text(bundle.denoiser)
    assert torch.equal(predict(bundle.denoiser, one), predict(bundle.denoiser, two))
    bundle.denoiser.requires_grad_(True)
    bundle.denoiser(torch.ones(1, 4, 4, 4), torch.tensor([500]), encoder_hidden_states=one[:1])[
        0
    ].sum().backward()
    outputs = [
        m.to_out[0].weight for n, m in bundle.denoiser.named_modules() if n.endswith("attn2")
    ]
    assert any(float(weight.grad.abs().sum()) > 0 for weight in outputs)


def test_a_bag_of_words_knows_no_order_and_no_context(bundle):
    bag = bag_of_words(bundle.text.encoder)
    ids = torch.tensor([bundle.text.token_ids("benign carcinoma low power")[0][0]])
    turned = ids.clone()
    turned[0, 1], turned[0, 2] = ids[0, 2], ids[0, 1]
    with torch.no_grad():
        one, two = bag(ids).last_hidden_state[0], bag(turned).last_hidden_state[0]
        own = bundle.text.encoder
        assert not torch.allclose(
            own(ids).last_hidden_state[0, 3], own(turned).last_hidden_state[0, 3]
        )
    assert ids[0, 1] != ids[0, 2]
    assert torch.allclose(one[1], two[2]) and torch.allclose(one[2], two[1])
    assert torch.allclose(one[3:], two[3:])


def test_the_base_makes_tiles_of_the_crop_and_is_built_once(tiny_model, tmp_path):
    config = configure("losses", [f"base.model={tiny_model}", "crop=8"])
    folder = build_base(config, tmp_path)
    assert load_bundle(folder).native_size == 64
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert build_base(config, tmp_path) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_a_crop_that_does_not_halve_is_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="experiment: crop: 5; expected a multiple of 2"):
        build_base(configure("losses", [f"base.model={tiny_model}", "crop=5"]), tmp_path)


@pytest.mark.parametrize("kind", ["bag", "untrained"])
def test_another_text_encoder_tells_other_things(kind, tiny_model, tmp_path):
    folder = with_text(kind, tiny_model, tmp_path)
    own, other = (
        load_bundle(path).text.encode(["benign low power"]) for path in (tiny_model, folder)
    )
    assert own.tokens.shape == other.tokens.shape
    assert not torch.allclose(own.tokens, other.tokens)
    assert with_text("own", tiny_model, tmp_path) == tiny_model


def test_an_unknown_text_encoder_is_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="experiment: text: 'loud'; expected own, bag"):
        with_text("loud", tiny_model, tmp_path)


def test_a_text_encoder_of_another_width_is_refused(tiny_model, tmp_path):
    from crafts.model.vision.image_encoders import SHIPPED

    with pytest.raises(ConfigError, match="experiment: text encoder: width 128; expected 16"):
        with_text("second", tiny_model, tmp_path, second=SHIPPED)
