"""The denoising loss of given tiles, against a loop over single tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.core.runtime import generator_for
from crafts.sampling.losses import compute_losses
from fixtures_model import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def tiles(bundle):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, bundle.native_size, bundle.native_size, 3)).astype(np.uint8)


TEXTS = ["", "benign prostate", "colon " * 100, "glands", ""]


def test_losses_are_those_of_their_definition(bundle, tiles):
    got = compute_losses(bundle, list(tiles), TEXTS, timesteps=(3, 500), seed=7)
    for tile, text, value in zip(tiles, TEXTS, got, strict=True):
        image = torch.from_numpy(tile).permute(2, 0, 1)[None].float() / 127.5 - 1
        errors = []
        with torch.no_grad():
            x0 = bundle.codec.encode(image)[0]
            tokens = bundle.text.encode([text]).tokens
            for t in (3, 500):
                noise = torch.randn(x0.shape[1:], generator=generator_for("losses", 7, t))[None]
                a = bundle.schedule.alphas_cumprod[t].double()
                x_t = (a.sqrt() * x0 + (1 - a).sqrt() * noise).float()
                velocity = a.sqrt() * noise - (1 - a).sqrt() * x0
                guess = bundle.denoiser(x_t, t, encoder_hidden_states=tokens).sample
                errors.append(float((guess.double() - velocity).square().mean()))
        assert value == pytest.approx(np.mean(errors), rel=1e-4)


def test_neighbours_in_a_batch_change_nothing(bundle, tiles):
    whole = compute_losses(bundle, list(tiles), TEXTS, timesteps=(100,))
    single = [
        compute_losses(bundle, [tile], [text], timesteps=(100,))[0]
        for tile, text in zip(tiles, TEXTS, strict=True)
    ]
    assert np.allclose(whole, single, rtol=1e-4)
    assert not np.allclose(whole, compute_losses(bundle, list(tiles), TEXTS, timesteps=(900,)))


def test_tiles_of_any_size_are_brought_to_that_of_the_model(bundle, tiles):
    large = tiles[0].repeat(3, axis=0).repeat(3, axis=1)
    got = compute_losses(bundle, [large, tiles[0]], ["", ""], timesteps=(100,))
    assert np.isfinite(got).all()


def test_the_model_can_still_be_trained_afterwards(bundle, tiles):
    compute_losses(bundle, list(tiles), TEXTS, timesteps=(100,))
    x_t = torch.randn(1, bundle.codec.channels, 4, 4)
    with torch.no_grad():
        tokens = bundle.text.encode([""]).tokens
    answer = bundle.denoiser(x_t, 5, encoder_hidden_states=tokens).sample
    answer.square().mean().backward()
    assert any(one.grad is not None for one in bundle.denoiser.parameters())


@pytest.mark.parametrize("timesteps", [(), (1000,), (-1, 5)])
def test_timesteps_must_exist(bundle, tiles, timesteps):
    with pytest.raises(ConfigError, match="timesteps: .*each from 0 to 999"):
        compute_losses(bundle, list(tiles), TEXTS, timesteps=timesteps)
