"""The one loop of training: passes, update, record, and what is due on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crafts.core.errors import InterruptedRunError
from crafts.core.marks import save_synthetic
from crafts.core.runtime import say, seed_from
from crafts.training.config import TrainConfig
from crafts.training.ema import Ema, trained_state
from crafts.training.loader import batches, make_batch
from crafts.training.optim import learning_rate, optimizer_tensors
from crafts.training.session.checkpoints import (
    Progress,
    State,
    prune_checkpoints,
    save_checkpoint,
)
from crafts.training.session.metrics import Metrics
from crafts.training.session.processes import Processes
from crafts.training.session.skips import put_back, refuse_divergence
from crafts.training.session.speed import Meter
from crafts.training.tasks.task import Task


@dataclass
class Run:
    """The moving parts of one run."""

    config: TrainConfig
    output: Path
    task: Task
    network: Any  # the task's network, or DistributedDataParallel around it
    optimizer: torch.optim.Optimizer
    parameters: dict[str, nn.Parameter]
    ema: Ema
    progress: Progress
    processes: Processes


def train(run: Run, interrupted: Sequence[int]) -> None:
    """Run the steps that are left; sample g comes from wherever it was made first.

    Raises:
        DataError: too many non-finite steps in a row, or an unusable sample.
        InterruptedRunError: ``interrupted`` holds a signal; a checkpoint was saved.
        RetryError: a worker process was killed, or the disk is full.
    """
    ahead = iter_passes(run.config, run.processes, run.progress.step)
    with batches(run.task, ahead, num_workers=run.config.num_workers) as made:
        _train(run, made, interrupted)


def _train(run: Run, made: Iterator[dict[str, Any]], interrupted: Sequence[int]) -> None:
    config, progress, group = run.config, run.progress, run.processes
    meter = Meter(run.task.network, config.global_batch_size, config.num_steps)
    meter.count(lambda: accumulate(run, made_now(run, progress.step)))
    metrics = Metrics(run.output, progress.step, config.tracker) if group.first else None
    while progress.step < config.num_steps:
        step, started = progress.step, time.perf_counter()
        rate = learning_rate(config.optim, step, config.num_steps)
        for parameters in run.optimizer.param_groups:
            parameters["lr"] = rate

        # forward and backward over this process's share of the global batch
        ratios = measure(run, step)
        torch.manual_seed(
            seed_from(config.seed, "step", step, group.rank)
        )  # dropout, if there is any
        statistics = [buffer.clone() for buffer in run.task.network.buffers()]
        losses, names = accumulate(run, made)
        norm = float(nn.utils.clip_grad_norm_(run.parameters.values(), config.optim.grad_clip))

        # update, or skip a step that would poison the weights
        if math.isfinite(norm):
            run.optimizer.step()
            run.ema.update(step)
            progress.skipped_in_a_row = 0
        else:
            progress.skipped += 1
            progress.skipped_in_a_row += 1
            put_back(run.task.network, statistics)
            say(
                f"step {step + 1}: non-finite gradient, step skipped ({progress.skipped} so far); "
                f"samples: {names}"
            )
            refuse_divergence(progress, config.max_skipped_in_a_row, names, run.output)
        run.optimizer.zero_grad(set_to_none=True)
        progress.step = step + 1

        # record
        shared = group.mean({**losses, **ratios, "interrupted": float(bool(interrupted))})
        stop = shared.pop("interrupted") > 0
        if run.task.objective:
            run.task.objective.end_step(shared, updated=math.isfinite(norm), loud=group.first)
        meter.update(time.perf_counter() - started)
        row = {
            "step": step,
            **shared,
            "grad_norm": norm,
            "lr": rate,
            "skipped": progress.skipped,
        }
        speed = meter.row()
        if metrics:
            metrics.append(row)
            metrics.append_speed({"step": step, **speed})
        if metrics and (step % config.say_every == 0 or progress.step == config.num_steps):
            say(meter.line(row | speed))
        last = progress.step == config.num_steps
        if metrics and _due(config.validate_every, progress.step, last):
            heldout = validate(run)
            if heldout:
                metrics.append({"step": step, **heldout})
        if metrics and _due(config.sample_every, progress.step, last):
            sample(run)
        if stop or _due(config.checkpoint_every, progress.step, last):
            save(run)
        if stop:
            raise InterruptedRunError(
                str(run.output),
                came=f"a signal after step {progress.step}",
                allowed="the end of the run",
                do="The checkpoint is saved; the same command goes on from it.",
            )


def accumulate(run: Run, made: Iterator[dict[str, Any]]) -> tuple[dict[str, float], list[str]]:
    """Gradients of the mean loss over this process's samples of a step.

    Args:
        run: whose network gets the gradients.
        made: batches; as many are taken as a step has passes.

    Returns:
        Numbers by name, and keys of the samples.
    """
    config, group, weights = run.config, run.processes, run.task.weights
    sizes = pass_sizes(config, group)
    totals: dict[str, Tensor] = {}  # on the device: asking for a number would wait for it
    names: list[str] = []
    for number, size in enumerate(sizes, start=1):
        batch = next(made)
        names += batch.pop("keys")
        share = size / sum(sizes)
        alone = number == len(sizes) or group.count == 1
        sync = nullcontext() if alone else run.network.no_sync()
        with sync, autocast(config, run.task.device):
            values = run.network(batch)
            total = sum(weights[name] * values[name] for name in values if name in weights)
            (share * total).backward()
        for name, value in {"loss": total, **values}.items():
            part = share * torch.as_tensor(value).detach().double()
            totals[name] = totals[name] + part if name in totals else part
    numbers = torch.stack(list(totals.values()))
    return dict(zip(totals, numbers.tolist(), strict=True)), names


def measure(run: Run, step: int) -> dict[str, float]:
    """Gradient norms of the losses where they are due, in a pass of their own; sets the weights."""
    config, objective = run.config, run.task.objective
    if objective is None or not objective.strength.due(step):
        return {}
    torch.manual_seed(seed_from(config.seed, "measure", step, run.processes.rank))
    batch = next(made_now(run, step))
    batch.pop("keys")
    with autocast(config, run.task.device):
        losses = run.task.network(batch)
    # what is thrown away afterwards must not count as strength
    kept = [p for name, p in run.parameters.items() if not name.startswith("projector.")]
    return objective.strength.measure(losses, kept)


def made_now(run: Run, step: int) -> Iterator[dict[str, Any]]:
    """Batches of a step outside the stream, which is not disturbed."""
    passes = passes_of(run.config, run.processes, step)
    return (make_batch(run.task, positions) for positions in passes)


def pass_sizes(config: TrainConfig, group: Processes) -> list[int]:
    """Samples of this process in each of the passes of a step."""
    local = config.global_batch_size // group.count
    micro = min(config.micro_batch_size or local, local)
    return [min(micro, local - start) for start in range(0, local, micro)]


def iter_passes(config: TrainConfig, group: Processes, step: int) -> Iterator[range]:
    """Global sample indices of this process's passes, from a step to the end of the run."""
    for later in range(step, config.num_steps):
        yield from passes_of(config, group, later)


def passes_of(config: TrainConfig, group: Processes, step: int) -> Iterator[range]:
    """Global sample indices of this process's passes of one step, be it beyond the last."""
    sizes = pass_sizes(config, group)
    start = step * config.global_batch_size + group.rank * sum(sizes)
    for size in sizes:
        yield range(start, start + size)
        start += size


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision inside the block, if the recipe asks for it."""
    if config.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def save(run: Run) -> None:
    """Checkpoint by the first process; the others wait."""
    if run.processes.first:
        folder = run.output / "checkpoints" / f"step-{run.progress.step:07d}"
        state = State(
            progress=run.progress,
            weights={
                name: value.clone() for name, value in trained_state(run.task.network).items()
            },
            average=run.ema.weights,
            optimizer=optimizer_tensors(run.optimizer, run.parameters),
            objective=run.task.objective.state() if run.task.objective else {},
        )
        save_checkpoint(
            folder,
            state,
            config=run.config.model_dump(mode="json"),
            inputs=run.task.inputs,
            write_model=lambda target: write_model(run, target),
        )
        prune_checkpoints(folder.parent, run.config.keep_checkpoints)
    run.processes.wait()


def write_model(run: Run, folder: Path) -> None:
    """Write the averaged weights as a model."""
    with run.ema.applied():
        run.task.save(folder)


def validate(run: Run) -> dict[str, float]:
    """Held-out losses of the averaged weights, per set."""
    run.task.network.eval()
    with run.ema.applied(), torch.no_grad(), autocast(run.config, run.task.device):
        losses = run.task.validate()
    run.task.network.train()
    if losses:
        say(
            "held out: "
            + "  ".join(f"{name} {value:.4f}" for name, value in sorted(losses.items()))
        )
    return {f"heldout/{name}": value for name, value in losses.items()}


def sample(run: Run) -> None:
    """Pictures of fixed prompts or tiles from the averaged weights."""
    run.task.network.eval()
    with run.ema.applied(), torch.no_grad():
        picture = run.task.picture()
    run.task.network.train()
    if picture is not None:
        folder = run.output / "samples"
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{run.progress.step:07d}.png"
        if run.config.stage.kind == "segmenter":  # real tiles with lines: nothing is generated
            picture.save(path)
        else:
            what = f"{run.config.stage.kind} in training, step {run.progress.step}; synthetic, or"
            save_synthetic(picture, path, f"{what} real tiles beside what was made of them")


def _due(every: int, done: int, last: bool) -> bool:
    return last or (every > 0 and done % every == 0)
