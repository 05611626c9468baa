"""What there is time for, by the speed of this very machine with this very model."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from crafts.core.config import Config, validate
from crafts.core.runtime import counted, pick_device
from crafts.model.bundle import Bundle
from crafts.training.config import TrainConfig
from crafts.training.loader import make_batch
from crafts.training.loop import autocast
from crafts.training.optim import build_optimizer
from crafts.training.tasks.task import build_task

ENCODING = 0.25  # of the minutes that encoding may take in several variants, ...
_ALL_ONCE = 0.4  # ... and in one of each tile; of more tiles some are left out
LEAST_TILES = 16
LEAST_STEPS = 20  # the learning rate rises over the first ten
GOOD_STEPS = 60  # so many were measured to be of use (docs/finetune-mini.md)
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


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, and what fits into the minutes.

    Attributes:
        minutes: of the whole run.
        around: seconds of what is no training: those gone by, and the second pictures.
        step: seconds of an optimizer step.
    """

    minutes: float
    around: float
    step: float

    @property
    def num_steps(self) -> int:
        """Steps that fit beside the pictures and the judging; at least one."""
        return max(1, int(((1 - _PARTS) * 60 * self.minutes - self.around) / self.step))

    @property
    def in_all(self) -> float:
        """Minutes that the whole run will take."""
        return (self.around + self.num_steps * self.step) / 60 + _PARTS * self.minutes

    def minutes_for(self, num_steps: int, encoding: float) -> int:
        """Minutes in which so many steps fit, with this share of them for encoding anew."""
        seconds = self.around + num_steps * self.step
        return math.ceil(seconds / 60 / (1 - _PARTS - encoding))


def describe_plan(plan: Plan, tiles: int, pace: Pace) -> list[str]:
    """What will happen and how long it takes; loudly where so few steps fit that little is learned.

    Args:
        plan: of encoding.
        tiles: that are used.
        pace: as measured.
    """
    steps, over = counted(pace.num_steps, "step"), pace.in_all - pace.minutes
    late = f", {over:.1f} more than --minutes {pace.minutes:g}" if over >= 0.1 else ""
    lines = [f"plan: {counted(tiles, 'tile')}, {steps}, about {pace.in_all:.0f} min in all{late}"]
    if pace.num_steps < LEAST_STEPS:
        minutes = pace.minutes_for(GOOD_STEPS, _ALL_ONCE if plan.tiles else ENCODING)
        lines.append(
            f"finetune: WARNING: TOO FEW STEPS: {steps} within --minutes {pace.minutes:g}, of "
            f"{pace.step:.1f} s each here; a model learns next to nothing in fewer than "
            f"{LEAST_STEPS}. For {GOOD_STEPS} stop this run (Ctrl-C) and begin in another --output "
            f"with --minutes {minutes}, or with --set num_steps={GOOD_STEPS} --set "
            f"variants={plan.variants}, which takes the time that it needs."
        )
    return lines


@torch.inference_mode()
def _seconds_to_encode(bundle: Bundle) -> float:
    device = next(bundle.denoiser.parameters()).device
    tile = torch.zeros(1, 3, bundle.native_size, bundle.native_size, device=device)
    return _median(lambda: bundle.codec.encode(tile)[0].sum().item())


def measure_step(recipe: Mapping[str, Any]) -> float:
    """Seconds of an optimizer step, by a few as the loop does them, on the data of the recipe."""
    config = validate(TrainConfig, recipe, "finetune")
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
