"""What a reference tells: its colours and texture, and nothing of where things lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from crafts.data.painter import paint_tile
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.conditions import (
    REFERENCE_TOKENS,
    ConditionTokens,
    Standard,
    load_conditions,
    save_conditions,
)
from crafts.model.references import latent_statistics, open_reference_encoder
from fixtures_encoders import write_vit


def test_statistics_are_those_of_a_slow_loop_and_blind_to_place() -> None:
    latents = torch.randn(2, 3, 8, 8) * torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    found = latent_statistics(latents)
    values = latents[1, 2].numpy().astype(np.float64)
    assert np.isclose(found[1, 2], values.mean(), atol=1e-6)
    assert np.isclose(found[1, 5], np.log(values.std(ddof=1) + 1e-3), atol=1e-5)
    steps = (np.diff(values, axis=1).std(ddof=1) + np.diff(values, axis=0).std(ddof=1)) / 2
    assert np.isclose(found[1, 8], np.log(steps + 1e-3), atol=1e-5)
    torch.testing.assert_close(latent_statistics(latents.flip(2).transpose(2, 3)), found)


def test_a_reference_is_several_tokens_and_the_middle_is_its_zero() -> None:
    tokens = ConditionTokens(("scale", "reference"), 16, reference_size=5)
    first = tokens.embedders["reference"][0]
    assert isinstance(first, Standard)
    first.mean.fill_(3.0)
    values = {"scale": torch.tensor([[0.5], [0.5]]), "reference": torch.full((2, 5), torch.nan)}
    values["reference"][0] = 3.0
    found, known = tokens(values)
    assert found.shape == (2, 1 + REFERENCE_TOKENS, 16)
    assert known.tolist() == [[True] * 5, [True] + [False] * 4]
    told = tokens.tokens_of({"reference": [3.0] * 5})
    torch.testing.assert_close(told, found[0, 1:])
    assert torch.equal(tokens.reference_middle(), torch.full((5,), 3.0))


def test_a_model_carries_the_vision_model_of_its_references(
    tiny_model: Path, tmp_path: Path
) -> None:
    write_vit(tmp_path / "vit", pooler=False)
    bundle = load_bundle(tiny_model)
    tokens = ConditionTokens(
        ("reference",), bundle.text.width, reference_size=16, encoder=tmp_path / "vit"
    )
    bundle.conditions = tokens
    save_bundle(bundle, tmp_path / "model", card="")
    again = load_bundle(tmp_path / "model")
    assert again.conditions is not None
    pixels = paint_tile(seed=0, index=0, size=32).image
    numbers = [
        open_reference_encoder(bundle.codec, one).of_pixels(pixels)
        for one in (tokens, again.conditions)
    ]
    assert torch.equal(*numbers)
    assert numbers[0].shape == (open_reference_encoder(bundle.codec, tokens).size,)


def test_the_codec_describes_pixels_as_it_describes_their_latents(tiny_model: Path) -> None:
    bundle = load_bundle(tiny_model)
    tokens = ConditionTokens(("reference",), 16, reference_size=3 * bundle.codec.channels)
    encoder = open_reference_encoder(bundle.codec, tokens)
    pixels = paint_tile(seed=0, index=1, size=32).image
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    latents = bundle.codec.encode(image)[0][0]
    torch.testing.assert_close(encoder.of_pixels(pixels), encoder.of_latents(latents))
    assert encoder.size == len(encoder.of_pixels(pixels))


def test_a_folder_keeps_what_is_standard(tmp_path: Path) -> None:
    tokens = ConditionTokens(("reference",), 16, reference_size=6)
    tokens.embedders["reference"][0].mean.normal_()  # type: ignore[index,operator]
    save_conditions(tokens, tmp_path / "conditions", half=False)
    again = load_conditions(tmp_path / "conditions")
    assert again is not None and again.numbers == {"reference": 6}
    assert torch.equal(again.reference_middle(), tokens.reference_middle())
