"""The stages that the loop can train, as one tagged union."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import nn

from crafts.core.errors import ConfigError
from crafts.training.data import LatentData, PaintedData, ShardData
from crafts.training.loader import Sample
from crafts.training.objective.objective import Batches, Objective
from crafts.training.sources import Split
from crafts.training.tasks.autoencoder import AutoencoderTask
from crafts.training.tasks.clip import ClipTask
from crafts.training.tasks.config import (
    AutoencoderStage,
    ClipStage,
    ControlStage,
    DenoiserStage,
    SegmenterStage,
    StageConfig,
)
from crafts.training.tasks.control import ControlTask
from crafts.training.tasks.denoiser import DenoiserTask
from crafts.training.tasks.segmenter import SegmenterTask


class Task(Protocol):
    """One stage, as the loop sees it.

    Attributes:
        device: where the batches are put.
        split: rows that are trained on, and those that are held out.
        inputs: names of the inputs and their fingerprints, for the manifest.
    """

    device: torch.device
    split: Split
    inputs: dict[str, str]

    @property
    def network(self) -> nn.Module:
        """Maps a batch to numbers by name, each []: losses, and what is only recorded."""
        ...

    @property
    def weights(self) -> dict[str, float]:
        """By which the losses are added in the present step."""
        ...

    @property
    def objective(self) -> Objective | None:
        """What looks at samples together and across steps; None: nothing does."""
        ...

    def sample(self, position: int) -> Sample:
        """Global sample ``position`` on the CPU, a pure function of it and the seed."""
        ...

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Joined samples as a batch on the device; ``keys`` names them."""
        ...

    def validate(self) -> dict[str, float]:
        """Held-out numbers by name; the network is in evaluation mode and carries the average."""
        ...

    def picture(self) -> Image.Image | None:
        """Something to look at, or None."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model into a folder, with its manifest."""
        ...


def build_task(
    stage: StageConfig,
    data: PaintedData | ShardData | LatentData,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    batches: Batches | None = None,
) -> Task:
    """The task of a stage configuration, with networks built or loaded and data opened.

    Args:
        stage: which task.
        data: where samples come from.
        seed: of the run.
        device: where the batches are put.
        dtype: of weights and batches.
        batches: how many samples come together; None: each is alone.

    Raises:
        ConfigError: the stage needs other batches, or its parts do not fit.
        DataError: unusable data.
    """
    if isinstance(stage, DenoiserStage):
        return DenoiserTask(stage, data, seed=seed, device=device, dtype=dtype, batches=batches)
    if isinstance(stage, ClipStage) and batches and batches.alone < batches.step:
        raise ConfigError(
            "train: stage.kind clip",
            came=f"{batches.processes} processes, micro-batches of {batches.alone}",
            allowed="one process and the whole batch in one pass",
            do="Start it without torchrun and leave micro_batch_size out.",
        )
    kinds: dict[type, Any] = {
        AutoencoderStage: AutoencoderTask,
        ClipStage: ClipTask,
        ControlStage: ControlTask,
        SegmenterStage: SegmenterTask,
    }
    return kinds[type(stage)](stage, data, seed=seed, device=device, dtype=dtype)
