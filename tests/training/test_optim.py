"""Learning rate as a pure function, and the optimizer's state by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crafts.training.optim import (
    OptimConfig,
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
)


def test_warm_up_plateau_and_decay() -> None:
    config = OptimConfig(
        lr=1.0, warmup_steps=10, schedule="linear", decay_from=0.5, final_fraction=0.1
    )
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert rates[10:51] == [1.0] * 41
    assert rates[75] == pytest.approx(0.1 + 0.9 * 0.5)
    assert all(a >= b for a, b in zip(rates[50:], rates[51:], strict=False))
    assert learning_rate(config, 100, 100) == pytest.approx(0.1)


def test_cosine_halves_in_the_middle_of_the_decay() -> None:
    config = OptimConfig(lr=2.0, warmup_steps=0, schedule="cosine")
    assert learning_rate(config, 50, 100) == pytest.approx(1.0)


def test_only_matrices_are_decayed() -> None:
    module = nn.Linear(3, 2)
    groups = build_optimizer(
        OptimConfig(weight_decay=0.1), dict(module.named_parameters())
    ).param_groups
    decayed = {tuple(p.shape): group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed == {(2, 3): 0.1, (2,): 0.0}


def test_state_survives_by_name_bit_for_bit() -> None:
    def steps(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        for k in range(number):
            optimizer.zero_grad()
            (module(torch.full((1, 3), float(k + 1))).square().sum()).backward()
            optimizer.step()

    torch.manual_seed(0)
    whole = nn.Linear(3, 2)
    half = nn.Linear(3, 2)
    half.load_state_dict(whole.state_dict())
    first = build_optimizer(OptimConfig(), dict(whole.named_parameters()))
    second = build_optimizer(OptimConfig(), dict(half.named_parameters()))
    steps(whole, first, 2)
    steps(half, second, 2)
    again = nn.Linear(3, 2)
    again.load_state_dict(half.state_dict())
    third = build_optimizer(OptimConfig(), dict(again.named_parameters()))
    load_optimizer_tensors(
        third,
        dict(again.named_parameters()),
        optimizer_tensors(second, dict(half.named_parameters())),
    )
    steps(whole, first, 3)
    steps(again, third, 3)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True)
    )
