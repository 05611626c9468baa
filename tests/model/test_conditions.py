"""What a denoiser is told beside text: absent conditions change nothing, present ones survive."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from crafts.core.errors import ConfigError, DataError
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.conditions import (
    ConditionTokens,
    extend_conditions,
    load_conditions,
    normalise,
    save_conditions,
)
from crafts.model.files.folders import write_json


@pytest.fixture
def module() -> ConditionTokens:
    torch.manual_seed(0)
    return ConditionTokens(("scale", "region"), 16)


def test_scale_is_told_by_its_logarithm() -> None:
    numbers = normalise("scale", torch.tensor([[1 / 16], [0.25], [1.0], [16.0]]))
    torch.testing.assert_close(numbers[:, 0], torch.tensor([-1.0, -0.5, 0.0, 1.0]))


def test_unknown_conditions_have_no_token(module: ConditionTokens) -> None:
    values = {
        "scale": torch.tensor([[0.5], [math.nan]]),
        "region": torch.tensor([[0.0, 0.5, 0.5], [0.0, math.nan, 1.0]]),
    }
    tokens, known = module(values)
    assert tokens.shape == (2, 2, 16)
    assert known.tolist() == [[True, True], [False, False]]
    assert not tokens[1].any() and tokens[0].any()
    alone = module.tokens_of({"scale": (0.5,)})
    torch.testing.assert_close(alone, tokens[0, :1])


def test_masked_tokens_leave_the_denoiser_as_it_was(tiny_model: Path, module) -> None:
    unet = load_bundle(tiny_model).denoiser
    x_t, t, tokens = torch.randn(2, 4, 4, 4), torch.tensor([3, 900]), torch.randn(2, 7, 16)
    further, known = module({"scale": torch.full((2, 1), math.nan), "region": torch.ones(2, 3)})
    both = torch.cat([tokens, further[:, :1]], dim=1)
    mask = torch.cat([torch.ones(2, 7, dtype=torch.bool), known[:, :1]], dim=1)
    with torch.no_grad():
        plain = unet(x_t, t, tokens).sample
        masked = unet(x_t, t, both, encoder_attention_mask=mask).sample
    torch.testing.assert_close(masked, plain, atol=1e-5, rtol=1e-5)


def test_a_folder_keeps_them(module: ConditionTokens, tmp_path: Path) -> None:
    save_conditions(module, tmp_path / "conditions", half=False)
    again = load_conditions(tmp_path / "conditions")
    assert again is not None and again.kinds == ("scale", "region")
    given = {"scale": (0.5,), "region": (0.25, 0.0, 0.5)}
    torch.testing.assert_close(again.tokens_of(given), module.tokens_of(given))
    assert load_conditions(tmp_path / "none") is None


def test_what_no_version_knows_is_refused(module: ConditionTokens, tmp_path: Path) -> None:
    save_conditions(module, tmp_path, half=True)
    write_json(tmp_path / "config.json", {"kinds": ["weather"], "width": 16})
    with pytest.raises(DataError, match="weather"):
        load_conditions(tmp_path)
    write_json(tmp_path / "config.json", {"kinds": ["scale"], "width": 32})
    with pytest.raises(DataError, match="do not fit"):
        load_conditions(tmp_path)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"scale": (0.0,)}, "0.0625 to 16"),
        ({"scale": (math.nan,)}, "nan"),
        ({"region": (0.5, 0.5)}, "3 number"),
        ({"weather": (1.0,)}, "not trained with"),
    ],
)
def test_numbers_out_of_range_are_refused(module, given, word) -> None:
    with pytest.raises(ConfigError, match=word):
        module.tokens_of(given)


def test_known_kinds_go_on_when_others_begin(module: ConditionTokens) -> None:
    alone = extend_conditions(module, ("scale",), 16)
    assert alone is not None and alone.kinds == ("scale",)
    given = {"scale": (2.0,)}
    assert torch.equal(alone.tokens_of(given), module.tokens_of(given))
    assert extend_conditions(module, (), 16) is None


def test_diffusers_passes_the_folder_over(tiny_model: Path, module, tmp_path: Path) -> None:
    bundle = replace(load_bundle(tiny_model), conditions=module)
    save_bundle(bundle, tmp_path / "model", card="---\nlicense: other\n---\n")
    again = load_bundle(tmp_path / "model")
    assert again.conditions is not None and again.fingerprint != bundle.fingerprint
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, again.denoiser.state_dict()[name])
