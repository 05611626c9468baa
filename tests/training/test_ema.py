"""The moving average against its closed form."""

from __future__ import annotations

import torch
from torch import nn

from crafts.training.ema import Ema, trained_state


def test_average_follows_the_recursion_in_float64() -> None:
    module = nn.Linear(2, 1, bias=False).double()
    ema = Ema(trained_state(module), decay=0.8)
    expected = module.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            module.weight.add_(step + 1.0)
        ema.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    assert torch.allclose(ema.weights["weight"], expected, atol=1e-12)


def test_applied_swaps_and_restores_exactly() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(trained_state(module), decay=0.9)
    with torch.no_grad():
        module.weight.mul_(3)
    own = module.weight.detach().clone()
    with ema.applied():
        assert torch.equal(module.weight, ema.weights["weight"]) and not torch.equal(
            module.weight, own
        )
    assert torch.equal(module.weight, own)


def test_frozen_parameters_are_not_followed_and_batch_statistics_are() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[0].requires_grad_(False)
    assert set(trained_state(module)) == {
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }
