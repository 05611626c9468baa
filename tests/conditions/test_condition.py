"""Conditions of a batch: numbers become tokens behind the text, and a foreign kind is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crafts.conditions.condition import Condition, additions, bind, extend
from crafts.conditions.networks import number_conditioners
from crafts.core.errors import ConfigError
from crafts.model.bundle import load_bundle
from crafts.model.conditions import ConditionTokens
from crafts.sampling.draws import Draw
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import iter_images

STEPS, CPU = torch.tensor([900, 500, 100]), torch.device("cpu")
FINE, COARSE = Condition("scale", (0.25,)), Condition("scale", (2.0,))
CORNER = Condition("region", (0.0, 0.0, 0.5))


@pytest.fixture
def module() -> ConditionTokens:
    torch.manual_seed(0)
    return ConditionTokens(("scale", "region"), 16)


def test_numbers_are_tokens_behind_those_of_the_text(module: ConditionTokens) -> None:
    pictures = [(FINE, CORNER), (COARSE, CORNER)]
    bound = bind(number_conditioners(module), pictures, STEPS, CPU)
    tokens = torch.randn(2, 5, 16)
    both = extend(tokens, bound)
    assert both.shape == (2, 7, 16) and torch.equal(both[:, :5], tokens)
    assert torch.equal(both[1, 5:6], module.tokens_of({"scale": (2.0,)}))
    assert torch.equal(both[0, 6:], module.tokens_of({"region": (0.0, 0.0, 0.5)}))
    guided = extend(torch.cat([tokens, tokens]), bound)  # guidance leaves them alone
    assert torch.equal(guided[:2, 5:], guided[2:, 5:])
    assert additions(bound, torch.zeros(2, 4, 4, 4), STEPS[0], both) == {}


def test_without_conditions_nothing_is_told() -> None:
    assert bind({}, [(), ()], STEPS, CPU) == []
    tokens = torch.randn(2, 5, 16)
    assert extend(tokens, []) is tokens


@pytest.mark.parametrize(
    ("kinds", "allowed"),
    [((), "a model that was trained with conditions"), (("region",), "expected region")],
)
def test_a_kind_that_the_model_does_not_know_is_refused(
    kinds: tuple[str, ...], allowed: str
) -> None:
    known = number_conditioners(ConditionTokens(kinds, 16) if kinds else None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"condition 'scale': a model .*{allowed}"):
        bind(known, [(FINE,)], STEPS, CPU)


def test_a_picture_follows_its_numbers_whatever_its_neighbours(
    tiny_model: Path, module: ConditionTokens
) -> None:
    torch.nn.init.normal_(module.embedders["scale"][2].weight, std=5.0)
    bundle = replace(load_bundle(tiny_model), conditions=module)
    preset = Preset("dpm++", 3, 2.0)
    told = [(FINE,), (COARSE,), (), (FINE, CORNER)]
    draws = [Draw("colon", guidance_scale=2.0, conditions=each) for each in told]

    def images(batch_size: int) -> dict[int, np.ndarray]:
        groups = iter_images(bundle, draws, preset, batch_size=batch_size)
        return {index: image.astype(int) for group in groups for index, _, image in group}

    together, alone = images(4), images(1)
    assert all(np.abs(together[i] - alone[i]).max() <= 2 for i in range(4))
    assert len({together[i].tobytes() for i in range(4)}) == 4
