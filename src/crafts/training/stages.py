"""The stages that the loop can train, as one tagged union."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from PIL import Image
from pydantic import Field
from torch import nn

from crafts.training.autoencoder import AutoencoderStage, AutoencoderTask
from crafts.training.clip import ClipStage, ClipTask
from crafts.training.denoiser import DenoiserStage, DenoiserTask
from crafts.training.sources import LatentData, PaintedData, ShardData

StageConfig = Annotated[AutoencoderStage | ClipStage | DenoiserStage, Field(discriminator="kind")]


class Task(Protocol):
    """One stage, as the loop sees it.

    Attributes:
        network: maps a batch to losses by name, each [] and a mean over the batch.
        weights: by which the losses are added.
        device: where the batches are put.
        inputs: names of the inputs and their fingerprints, for the manifest.
    """

    network: nn.Module
    weights: dict[str, float]
    device: torch.device
    inputs: dict[str, str]

    def batch(self, positions: Sequence[int]) -> dict[str, Any]:
        """The samples of global indices ``positions``; ``keys`` names them."""
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
    stage: AutoencoderStage | ClipStage | DenoiserStage,
    data: PaintedData | ShardData | LatentData,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Task:
    """The task of a stage configuration, with networks built or loaded and data opened."""
    kinds: dict[type, Any] = {
        AutoencoderStage: AutoencoderTask,
        ClipStage: ClipTask,
        DenoiserStage: DenoiserTask,
    }
    return kinds[type(stage)](stage, data, seed=seed, device=device, dtype=dtype)
