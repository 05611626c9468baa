"""The training stage: one loop for every network.

Everything random about a sample is a function of (seed, global sample index), the learning rate
is a function of the step, and a checkpoint holds weights, average and optimizer. So a run that was
killed and resumed, or that ran on another number of processes, gives the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crafts.core import artifacts
from crafts.core.config import dump_config, validate
from crafts.core.disk import retry_when_full
from crafts.core.errors import ConfigError, InterruptedRunError
from crafts.core.marks import save_synthetic
from crafts.core.runtime import pick_device, say, seed_from
from crafts.training.checkpoints import (
    Progress,
    State,
    newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    set_aside_newer,
)
from crafts.training.config import TrainConfig
from crafts.training.ema import Ema, load_state, trained_state
from crafts.training.guiding.objective import Batches
from crafts.training.optim import (
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
)
from crafts.training.passes import accumulate, autocast, measure, samples_of
from crafts.training.running.interrupts import interrupts
from crafts.training.running.metrics import METRICS, Metrics
from crafts.training.running.processes import Processes, held, processes
from crafts.training.running.resume import (
    CONFIG,
    refuse_foreign_output,
    refuse_other_inputs,
    refuse_other_recipe,
)
from crafts.training.running.skips import put_back, refuse_divergence, refuse_no_step
from crafts.training.running.speed import Meter
from crafts.training.sources import NOTHING_HELD_OUT
from crafts.training.stages import Task, build_task


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


def run(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    *,
    resume: Literal["auto", "never"] = "auto",
) -> artifacts.Manifest:
    """Train to ``config.num_steps`` and write ``OUTPUT/model/``.

    Args:
        config: the resolved recipe.
        inputs: ``data`` and ``init_from`` override the folders that the recipe names.
        output: gets ``checkpoints/``, ``metrics.jsonl``, ``speed.jsonl``, ``samples/``, ``model/``,
            a manifest.
        resume: ``auto`` goes on from the newest checkpoint; ``never`` refuses an earlier run.

    Raises:
        ConfigError: the recipe, or a resume with another recipe.
        DataError: unusable data, or too many non-finite steps in a row.
        InterruptedRunError: SIGTERM or SIGINT came; a checkpoint was saved.
        RetryError: another process holds the output folder, or the disk is full.
    """
    config = _with_inputs(config, inputs)
    device = pick_device(config.device)
    refuse_foreign_output(output)
    if resume == "never":
        _refuse_earlier_run(output)
    with (
        processes(device) as group,
        held(output, group),
        interrupts() as interrupted,
        retry_when_full(output),
    ):
        if (output / artifacts.MANIFEST).exists():
            refuse_other_recipe(config, output)
            if group.first:
                prune_checkpoints(output / "checkpoints", config.keep_checkpoints)
            say(f"{output}: already finished")
            return artifacts.load_manifest(output)
        training = _start(config, output, device, group)
        _train(training, interrupted)
        return _finish(training)


def _train(run: Run, interrupted: list[int]) -> None:
    """The loop."""
    config, progress, group = run.config, run.progress, run.processes
    meter = Meter(run.task.network, config.global_batch_size, config.num_steps)
    meter.count(lambda: accumulate(run, progress.step))
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
        losses, names = accumulate(run, step)
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
            heldout = _validate(run)
            if heldout:
                metrics.append({"step": step, **heldout})
        if metrics and _due(config.sample_every, progress.step, last):
            _sample(run)
        if stop or _due(config.checkpoint_every, progress.step, last):
            _save(run)
        if stop:
            raise InterruptedRunError(
                str(run.output),
                came=f"a signal after step {progress.step}",
                allowed="the end of the run",
                do="The checkpoint is saved; the same command goes on from it.",
            )


def _refuse_earlier_run(output: Path) -> None:
    made = [
        name for name in ("checkpoints", "model", artifacts.MANIFEST) if (output / name).exists()
    ]
    if made:
        raise ConfigError(
            str(output),
            came=f"{made[0]} of an earlier run",
            allowed="an output folder without one",
            do="Use --resume auto to go on, or choose another --output.",
        )


def _start(config: TrainConfig, output: Path, device: torch.device, group: Processes) -> Run:
    """Build the parts; go on from the newest checkpoint, if there is one of this very recipe."""
    if config.global_batch_size % group.count:
        raise ConfigError(
            "train: global_batch_size",
            came=f"{config.global_batch_size} over {group.count} processes",
            allowed="the same number of samples for each process",
            do="Change global_batch_size or the number of processes.",
        )
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    task = build_task(
        config.stage,
        config.data,
        seed=config.seed,
        device=device,
        dtype=dtype,
        batches=Batches(config.global_batch_size, samples_of(config, group, 0)[2], group.count),
    )
    parameters = {name: p for name, p in task.network.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(config.optim, parameters)
    ema = Ema(trained_state(task.network), config.ema_decay)
    progress = Progress(threads=torch.get_num_threads())
    run = Run(config, output, task, task.network, optimizer, parameters, ema, progress, group)
    found = newest_checkpoint(output / "checkpoints")
    if found:
        _go_on(run, found)
    group.wait()  # all have read; now the first may write
    if group.first:
        if task.objective:
            say(task.objective.describe())
        if config.validate_every and not task.split.validation:
            say(NOTHING_HELD_OUT)
        set_aside_newer(output / "checkpoints", run.progress.step)
        prune_checkpoints(output / "checkpoints", config.keep_checkpoints)
        artifacts.write_bytes(output / CONFIG, dump_config(config).encode())
    if group.count > 1:
        devices = [torch.cuda.current_device()] if device.type == "cuda" else None
        run.network = DistributedDataParallel(
            task.network, device_ids=devices, broadcast_buffers=False
        )
    return run


def _go_on(run: Run, found: State) -> None:
    """Take weights, average, optimizer and progress from a checkpoint of this very run."""
    refuse_other_recipe(run.config, run.output)
    refuse_other_inputs(run.task.inputs, found.inputs, run.output)
    load_state(trained_state(run.task.network), found.weights)
    load_state(run.ema.weights, found.average)
    load_optimizer_tensors(run.optimizer, run.parameters, found.optimizer)
    if run.task.objective:
        run.task.objective.load(found.objective, run.task.device)
    run.progress = found.progress
    if found.progress.threads:  # another number of them adds up in another order
        torch.set_num_threads(found.progress.threads)
    if run.processes.first:
        say(f"{run.output}: resumed after step {run.progress.step}")


def _save(run: Run) -> None:
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
            write_model=lambda target: _write_model(run, target),
        )
        prune_checkpoints(folder.parent, run.config.keep_checkpoints)
    run.processes.wait()


def _write_model(run: Run, folder: Path) -> None:
    with run.ema.applied():
        run.task.save(folder)


def _finish(run: Run) -> artifacts.Manifest:
    """Write ``model/`` from the averaged weights, then the manifest of the run.

    Raises:
        DataError: every step was skipped, so that nothing was learnt.
    """
    refuse_no_step(run.progress, run.output)
    if run.processes.first:
        with artifacts.staging(run.output / "model") as temporary:
            _write_model(run, temporary)
        artifacts.finish(
            run.output,
            stage="train",
            config=run.config,
            inputs=run.task.inputs,
            counts={"steps": run.progress.step, "skipped": run.progress.skipped},
            only=[CONFIG, METRICS, "model/manifest.json"],
        )
    run.processes.wait()
    return artifacts.load_manifest(run.output)


def _validate(run: Run) -> dict[str, float]:
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


def _sample(run: Run) -> None:
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


def _with_inputs(config: TrainConfig, inputs: Mapping[str, Path]) -> TrainConfig:
    values = config.model_dump()
    if "data" in inputs:
        values["data"]["folder"] = str(inputs["data"])
    if "init_from" in inputs:
        values["stage"]["init_from"] = str(inputs["init_from"])
    return validate(TrainConfig, values, "train: inputs")


def _due(every: int, done: int, last: bool) -> bool:
    return last or (every > 0 and done % every == 0)
