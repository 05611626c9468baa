"""Powers: a picture begins as the enlarged middle of the wider one, whatever its company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from crafts.core.errors import ConfigError
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.conditions import ConditionTokens
from crafts.sampling.draws import Draw
from crafts.sampling.powers import at_powers, check_powers, enlarge_middle
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import build_scheduler, iter_images, sample

PRESET = Preset("dpm++", 5, 1.0)


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> Bundle:
    bundle = load_bundle(tiny_model)
    torch.manual_seed(0)
    tokens = ConditionTokens(("scale",), bundle.text.width)
    torch.nn.init.normal_(tokens.embedders["scale"][2].weight, std=5.0)
    return replace(bundle, conditions=tokens)


def images(bundle: Bundle, draws: list[Draw], **options: object) -> dict[int, np.ndarray]:
    groups = iter_images(bundle, draws, PRESET, **options)  # type: ignore[arg-type]
    return {index: image.astype(int) for group in groups for index, _, image in group}


def test_the_middle_is_that_of_the_pixels() -> None:
    class Pixels:
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return latents

        def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
            return image, None

    image = torch.rand(1, 3, 16, 16) * 2 - 1
    found = enlarge_middle(Pixels(), image.repeat(2, 1, 1, 1), [2.0, 1.0])
    assert torch.equal(found[1], image[0])
    small = interpolate(found[:1], (8, 8), mode="area")
    assert (small - image[..., 4:12, 4:12]).abs().mean() < 0.15  # the same field, no other


def test_a_sampler_can_begin_late() -> None:
    config = {"num_train_timesteps": 1000, "prediction_type": "sample"}
    for solver in ("ddim", "dpm++"):
        scheduler = build_scheduler(config, Preset(solver, 10, 1.0))
        seen: list[int] = []

        def denoise(x_t: torch.Tensor, t: torch.Tensor, seen: list[int] = seen) -> torch.Tensor:
            seen.append(int(t))
            return torch.full_like(x_t, 0.25)

        found = sample(denoise, torch.randn(1, 1, 4, 4), scheduler, first=6)
        assert seen == scheduler.timesteps[6:].tolist()
        assert found.sub(0.25).abs().max() < 0.05


def test_powers_follow_each_other_whatever_the_batch_and_what_is_done(bundle: Bundle) -> None:
    draws = [told for k in range(2) for told in at_powers(Draw("colon", k=k), (1.0, 0.5, 0.25))]
    assert [draw.depth for draw in draws[:3]] == [0, 1, 2]
    assert [draw.mpp for draw in draws[:3]] == [1.0, 0.5, 0.25]
    together = images(bundle, draws)
    assert len({image.tobytes() for image in together.values()}) == 6
    alone = images(bundle, draws[2:3])
    assert np.abs(alone[0] - together[2]).max() <= 2
    resumed = images(bundle, draws, done={0, 1, 3, 4})
    assert all(np.array_equal(resumed[i], together[i]) for i in (2, 5))


def test_without_powers_a_draw_stays_what_it_was() -> None:
    draw = Draw("colon", seed=3)
    assert list(at_powers(draw, ())) == [draw] and draw.mpp is None and draw.number == (3, 0)


def test_a_model_without_powers_says_what_to_do() -> None:
    check_powers((), ())
    check_powers((0.5,), ("scale",))
    with pytest.raises(ConfigError, match=r"not trained with powers.*stage\.conditions"):
        check_powers((0.5,), ("region",))
