"""Checkpoints on the way: a model folder plus ``training/``, manifest last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from crafts.core import artifacts
from crafts.core.disk import remove_folder, sweep_removed
from crafts.core.errors import CraftsError, DataError
from crafts.core.parsing import parse_json
from crafts.core.runtime import say
from crafts.model.files.folders import save_tensors

_ALWAYS = ("weights", "average", "optimizer")
_OBJECTIVE = "objective"  # only of a run whose losses look across steps


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        skipped: steps skipped for a non-finite gradient.
        skipped_in_a_row: those of them since the last good one.
        threads: of a process on a CPU. They decide the order of sums, so a resumed run takes as
            many; 0: not known.
    """

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    threads: int = 0


@dataclass
class State:
    """All that a run needs to go on exactly."""

    progress: Progress
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    objective: dict[str, torch.Tensor] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    state: State,
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    write_model: Callable[[Path], None],
) -> None:
    """Write a checkpoint so that it is there whole or not at all.

    Args:
        folder: ``OUTPUT/checkpoints/step-0000005``.
        state: what to keep.
        config: resolved configuration of the run.
        inputs: fingerprints of data and models; a resumed run must have the same.
        write_model: writes the model folder with averaged weights into the folder it is given.
    """
    with artifacts.staging(folder) as temporary:
        write_model(temporary)
        training = temporary / "training"
        training.mkdir()
        for name in (*_ALWAYS, *([_OBJECTIVE] if state.objective else [])):
            save_tensors(getattr(state, name), training / f"{name}.safetensors")
        (training / "progress.json").write_text(json.dumps(asdict(state.progress)))
        inner = temporary / artifacts.MANIFEST
        extra = json.loads(inner.read_text()).get("extra", {}) if inner.exists() else {}
        artifacts.finish(temporary, stage="train", config=config, inputs=inputs, extra=extra)


def load_checkpoint(folder: Path) -> State:
    """Read a checkpoint after checking every file.

    Raises:
        IntegrityError: a file is missing, cut short or changed; named.
    """
    manifest = artifacts.verify(folder)
    training = folder / "training"
    progress = _read_progress(training / "progress.json")
    tensors = {name: load_file(training / f"{name}.safetensors") for name in _ALWAYS}
    if (training / f"{_OBJECTIVE}.safetensors").exists():
        tensors[_OBJECTIVE] = load_file(training / f"{_OBJECTIVE}.safetensors")
    return State(progress, **tensors, inputs=manifest.inputs)


def _read_progress(path: Path) -> Progress:
    try:
        return Progress(**parse_json(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise DataError(
            str(path),
            came=f"no progress of a run ({error})",
            allowed="the file as it was written",
            do="Restore the checkpoint, or remove it: the run goes on from an earlier one.",
        ) from None


def newest_checkpoint(checkpoints: Path) -> State | None:
    """The newest whole checkpoint, or None; a damaged one is named and passed over.

    Raises:
        DataError: there are checkpoints, and none of them can be used.
    """
    folders = list_checkpoints(checkpoints)
    for folder in reversed(folders):
        try:
            return load_checkpoint(folder)
        except CraftsError as error:
            say(f"REFUSED {error}")
    if folders:
        raise DataError(
            str(checkpoints),
            came=f"{len(folders)} checkpoints, all damaged",
            allowed="at least one whole checkpoint",
            do="Restore one, or start anew with --resume never in another folder.",
        )
    return None


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    folders = (path for path in checkpoints.glob("step-*") if path.is_dir())
    return sorted(path for path in folders if path.name.removeprefix("step-").isdecimal())


def set_aside_newer(checkpoints: Path, step: int) -> None:
    """Rename checkpoints after ``step`` to ``damaged-*``: their steps are run and saved again."""
    for folder in list_checkpoints(checkpoints):
        if int(folder.name.removeprefix("step-")) > step:
            damaged = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(damaged, ignore_errors=True)
            folder.rename(damaged)


def prune_checkpoints(checkpoints: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints, and rests of interrupted saves and prunes."""
    for folder in list_checkpoints(checkpoints)[:-keep]:
        remove_folder(folder)
    sweep_removed(checkpoints)
    for rest in [*checkpoints.glob(".step-*.tmp"), *checkpoints.glob(".step-*.old")]:
        shutil.rmtree(rest, ignore_errors=True)
