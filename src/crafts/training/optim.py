"""Optimizer and learning rate; the rate is a function of the step and cannot drift on resume."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from crafts.training.config import OptimConfig


def learning_rate(config: OptimConfig, step: int, num_steps: int) -> float:
    """Learning rate of a step: warm-up, a plateau, then decay to ``final_fraction`` of the peak."""
    rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup_steps))
    start = config.decay_from * num_steps
    if config.schedule == "constant" or step <= start:
        return rate
    progress = min(1.0, (step - start) / max(1.0, num_steps - start))
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return rate * (config.final_fraction + (1 - config.final_fraction) * fall)


def build_optimizer(
    config: OptimConfig, parameters: Mapping[str, torch.nn.Parameter]
) -> torch.optim.AdamW:
    """AdamW over named parameters; only tensors of two and more axes are decayed."""
    named = sorted(parameters.items())
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.is_cuda for _, p in named)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused or None)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """The optimizer's state by parameter: ``name/exp_avg``, ``name/exp_avg_sq``, ``name/step``."""
    tensors = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    return tensors


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put back what :func:`optimizer_tensors` gave; layout and device follow the parameter."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for name, parameter in parameters.items():
        prefix = f"{name}/"
        state = {
            key.removeprefix(prefix): value
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        optimizer.state[parameter] = {
            key: _placed(value, parameter, fused) for key, value in state.items()
        }


def _placed(value: torch.Tensor, parameter: torch.nn.Parameter, fused: bool) -> torch.Tensor:
    """Moments in the parameter's layout; the step count on the CPU unless the kernel is fused."""
    if value.ndim == 0:
        return value.to(parameter.device if fused else "cpu", copy=True)
    return torch.empty_like(parameter).copy_(value)
