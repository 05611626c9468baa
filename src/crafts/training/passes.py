"""The forward and backward passes of a step: this process's share of it, in micro-batches."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from crafts.core.runtime import seed_from

if TYPE_CHECKING:
    from crafts.training.config import TrainConfig
    from crafts.training.running.processes import Processes
    from crafts.training.train import Run


def accumulate(run: Run, step: int) -> tuple[dict[str, float], list[str]]:
    """Gradients of the mean loss over this process's samples; returns numbers and keys."""
    config, group, weights = run.config, run.processes, run.task.weights
    start, local, micro = samples_of(config, group, step)
    totals: dict[str, float] = {}
    names: list[str] = []
    for offset in range(0, local, micro):
        positions = range(start + offset, start + min(offset + micro, local))
        share = len(positions) / local
        batch = run.task.batch(positions)
        names += batch.pop("keys")
        last = offset + micro >= local
        sync = nullcontext() if last or group.count == 1 else run.network.no_sync()
        with sync, autocast(config, run.task.device):
            values = run.network(batch)
            total = sum(weights[name] * values[name] for name in values if name in weights)
            (share * total).backward()
        for name, value in {"loss": total, **values}.items():
            totals[name] = totals.get(name, 0.0) + share * float(value.detach())
    return totals, names


def measure(run: Run, step: int) -> dict[str, float]:
    """Gradient norms of the losses where they are due, in a pass of their own; sets the weights."""
    config, objective = run.config, run.task.objective
    if objective is None or not objective.strength.due(step):
        return {}
    start, _, micro = samples_of(config, run.processes, step)
    torch.manual_seed(seed_from(config.seed, "measure", step, run.processes.rank))
    batch = run.task.batch(range(start, start + micro))
    batch.pop("keys")
    with autocast(config, run.task.device):
        losses = run.task.network(batch)
    return objective.strength.measure(losses, run.parameters.values())


def samples_of(config: TrainConfig, group: Processes, step: int) -> tuple[int, int, int]:
    """First sample of a process, how many it has in a step, and how many in a pass."""
    local = config.global_batch_size // group.count
    start = step * config.global_batch_size + group.rank * local
    return start, local, min(config.micro_batch_size or local, local)


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision inside the block, if the recipe asks for it."""
    if config.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
