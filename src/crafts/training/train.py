"""The training stage: one loop for every network.

Everything random about a sample is a function of (seed, global sample index), the learning rate
is a function of the step, and a checkpoint holds weights, average and optimizer. So a run that was
killed and resumed, or that ran on another number of processes, gives the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch.nn.parallel import DistributedDataParallel

from crafts.core import artifacts
from crafts.core.config import dump_config, validate
from crafts.core.disk import retry_when_full
from crafts.core.errors import ConfigError
from crafts.core.runtime import pick_device, say
from crafts.training.config import TrainConfig
from crafts.training.ema import Ema, load_state, trained_state
from crafts.training.loop import Run, pass_sizes, train, write_model
from crafts.training.objective.objective import Batches
from crafts.training.optim import (
    build_optimizer,
    load_optimizer_tensors,
)
from crafts.training.session.checkpoints import (
    Progress,
    State,
    newest_checkpoint,
    prune_checkpoints,
    set_aside_newer,
)
from crafts.training.session.interrupts import interrupts
from crafts.training.session.metrics import METRICS
from crafts.training.session.processes import Processes, held, processes
from crafts.training.session.resume import (
    CONFIG,
    refuse_foreign_output,
    refuse_other_inputs,
    refuse_other_recipe,
)
from crafts.training.session.skips import refuse_no_step
from crafts.training.sources import NOTHING_HELD_OUT
from crafts.training.tasks.task import build_task


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
        train(training, interrupted)
        return _finish(training)


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
        batches=Batches(config.global_batch_size, pass_sizes(config, group)[0], group.count),
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


def _finish(run: Run) -> artifacts.Manifest:
    """Write ``model/`` from the averaged weights, then the manifest of the run.

    Raises:
        DataError: every step was skipped, so that nothing was learnt.
    """
    refuse_no_step(run.progress, run.output)
    if run.processes.first:
        with artifacts.staging(run.output / "model") as temporary:
            write_model(run, temporary)
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


def _with_inputs(config: TrainConfig, inputs: Mapping[str, Path]) -> TrainConfig:
    values = config.model_dump()
    if "data" in inputs:
        values["data"]["folder"] = str(inputs["data"])
    if "init_from" in inputs:
        values["stage"]["init_from"] = str(inputs["init_from"])
    return validate(TrainConfig, values, "train: inputs")
