"""What there is time for, by the speed of this very machine with this very model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from crafts.core.config import Config, validate
from crafts.core.runtime import pick_device
from crafts.model.bundle import Bundle
from crafts.training.config import TrainConfig
from crafts.training.loader import make_batch
from crafts.training.loop import autocast
from crafts.training.optim import build_optimizer
from crafts.training.tasks.task import build_task

ENCODING = 0.25  # of the minutes that encoding may take in several variants, ...
_ALL_ONCE = 0.4  # ... and in one of each tile; of more tiles some are left out
LEAST_TILES = 16
VARIANTS = 8  # symmetries of the square
_PARTS = 0.15  # of the minutes: programs that load, the judge, the audit
_TRIED = 3  # steps that are timed, after one that is not


class Plan(Config):
    """What the clock decided; kept in the output, so that a stopped run goes on as it was begun.

    Attributes:
        tiles: used at most; None: all.
        variants: encoded versions of a tile.
        num_steps: optimizer steps; None until the speed of a step was measured.
        shards: fingerprint of the packed tiles; "" until they are packed.
    """

    tiles: int | None = None
    variants: int = VARIANTS
    num_steps: int | None = None
    shards: str = ""


def plan_encoding(bundle: Bundle, listed: int, minutes: float) -> Plan:
    """Variants of each tile, and of very many tiles how many, by the time of one.

    Args:
        bundle: the model, on its device.
        listed: tiles of the source.
        minutes: of the whole run.
    """
    each = _seconds_to_encode(bundle)
    most = max(LEAST_TILES, int(_ALL_ONCE * 60 * minutes / each))
    if listed > most:
        return Plan(tiles=most, variants=1)
    affordable = int(ENCODING * 60 * minutes / each / max(1, listed))
    return Plan(variants=max(1, min(VARIANTS, affordable)))


def plan_steps(recipe: Mapping[str, Any], seconds: float) -> int:
    """Optimizer steps that fit into so many seconds, by the time of a few; at least one.

    Args:
        recipe: a training recipe of any number of steps.
        seconds: that are left for training.
    """
    config = validate(TrainConfig, recipe, "finetune")
    return max(1, int(seconds / _seconds_of_step(config)))


def left_for_training(minutes: float, elapsed: float, pictures: float) -> float:
    """Seconds for training: all minutes less what went by, the second pictures and the judging."""
    whole = 60 * minutes
    return max(0.0, whole - elapsed - pictures - _PARTS * whole)


@torch.inference_mode()
def _seconds_to_encode(bundle: Bundle) -> float:
    device = next(bundle.denoiser.parameters()).device
    tile = torch.zeros(1, 3, bundle.native_size, bundle.native_size, device=device)
    return _median(lambda: bundle.codec.encode(tile)[0].sum().item())


def _seconds_of_step(config: TrainConfig) -> float:
    """Forward, backward and update of one step as the loop does it, on the data of the recipe."""
    device = pick_device(config.device)
    task = build_task(
        config.stage, config.data, seed=config.seed, device=device, dtype=torch.float32
    )
    parameters = {name: p for name, p in task.network.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(config.optim, parameters)
    size = config.micro_batch_size or config.global_batch_size
    parts = -(-config.global_batch_size // size)

    def step() -> None:
        for _ in range(parts):
            batch = make_batch(task, range(size))
            batch.pop("keys")
            with autocast(config, device):
                loss = task.network(batch)["denoising"]
            loss.backward()
        float(nn.utils.clip_grad_norm_(parameters.values(), 1.0))  # waits for the device
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _median(step)


def _median(work: Any) -> float:
    """Median seconds of a piece of work; the first time warms up and does not count."""
    work()
    seconds = []
    for _ in range(_TRIED):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return max(1e-6, statistics.median(seconds))
