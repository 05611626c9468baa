"""The weights that hold a ratio of gradient norms, on losses whose gradients are known."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from crafts.training.objective.strength import SMOOTHING, FixedStrength, RatioStrength, Strength

WEIGHTS = {"denoising": 2.0, "semantic": 1.0, "category": 0.0}


def losses(parameter: nn.Parameter, slope: float) -> dict[str, torch.Tensor]:
    """Gradient norms 5 of denoising and 13 ``slope`` of semantic."""
    return {
        "denoising": (parameter * torch.tensor([3.0, 4.0])).sum(),
        "semantic": (parameter * torch.tensor([5.0, 12.0])).sum() * slope,
    }


def test_the_target_is_met_at_once() -> None:
    parameter = nn.Parameter(torch.ones(2))
    strength = Strength(RatioStrength(semantic=0.25), WEIGHTS)
    assert strength.weights == WEIGHTS and strength.measured == ("semantic",)
    numbers = strength.measure(losses(parameter, 1.0), [parameter])
    assert numbers["ratio_semantic"] == pytest.approx(0.25)
    assert strength.weights["semantic"] == pytest.approx(0.25 * 2 * 5 / 13)
    assert numbers["weight_semantic"] == strength.weights["semantic"]
    assert strength.weights["denoising"] == 2 and parameter.grad is None


def test_later_measurements_are_smoothed_in_the_logarithm() -> None:
    parameter = nn.Parameter(torch.ones(2))
    strength = Strength(RatioStrength(semantic=1.0), WEIGHTS)
    strength.measure(losses(parameter, 1.0), [parameter])
    numbers = strength.measure(losses(parameter, 10.0), [parameter])
    expected = 10 / 13 / 10 ** (1 - SMOOTHING)
    assert strength.weights["semantic"] == pytest.approx(expected)
    assert numbers["ratio_semantic"] == pytest.approx(expected * 13)


def test_fixed_is_measured_and_stays() -> None:
    parameter = nn.Parameter(torch.ones(2))
    strength = Strength(FixedStrength(every=5), WEIGHTS)
    numbers = strength.measure(losses(parameter, 1.0), [parameter])
    assert numbers["ratio_semantic"] == pytest.approx(13 / 10)
    assert strength.weights == WEIGHTS
    assert [step for step in range(11) if strength.due(step)] == [0, 5, 10]


def test_nothing_is_due_where_nothing_is_on() -> None:
    off = WEIGHTS | {"semantic": 0.0}
    assert not Strength(RatioStrength(), off).due(0)
    assert not Strength(FixedStrength(), WEIGHTS).due(0)


@pytest.mark.parametrize("slope", [0.0, math.nan, math.inf])
def test_a_useless_measurement_changes_nothing(slope: float) -> None:
    parameter = nn.Parameter(torch.ones(2))
    strength = Strength(RatioStrength(), WEIGHTS)
    strength.measure(losses(parameter, 1.0), [parameter])
    before = strength.weights
    strength.measure(losses(parameter, slope), [parameter])
    assert strength.weights == before


def test_weights_are_bounded_and_a_parameter_may_be_out_of_reach() -> None:
    parameter, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    strength = Strength(RatioStrength(largest=7.0), WEIGHTS)
    found = losses(parameter, 1e-9)
    strength.measure(found | {"denoising": found["denoising"] + other.sum()}, [parameter, other])
    assert strength.weights["semantic"] == 7


def test_state_goes_through_a_checkpoint() -> None:
    parameter = nn.Parameter(torch.ones(2))
    strength = Strength(RatioStrength(), WEIGHTS)
    strength.measure(losses(parameter, 0.3), [parameter])
    again = Strength(RatioStrength(), WEIGHTS)
    again.load(strength.state())
    assert again.weights == strength.weights


def test_bounds() -> None:
    for values in ({"semantic": 0}, {"every": 0}, {"largest": 0}):
        with pytest.raises(ValidationError):
            RatioStrength(**values)
