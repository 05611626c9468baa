"""What ``crafts audit`` takes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from crafts.core.config import Config
from crafts.data.config import Links
from crafts.sets.splits import AUTO


class AuditConfig(Config):
    """What ``crafts audit`` takes."""

    generated: Path = Field(description="folder of generated tiles")
    train: Path = Field(description="tiles the model was trained on: a folder, or shards")
    heldout: Path | None = Field(
        None, description="tiles it has not seen, of other patients; set the limits"
    )
    model: str = Field("", description="mini, a folder, or a hub id: model to be attacked")
    fail_above: float | None = Field(
        None, ge=0, le=1, description="share of copies above which the command fails"
    )
    encoder: str = Field("mini", min_length=1, description="mini, a folder, or a hub id")
    train_split: str = Field(AUTO, description="auto: train, where rows name splits; '' for all")
    heldout_split: str = Field(AUTO, description="auto: heldout, where rows name it; '' for all")
    columns: Links = Links()
    correlation: float | None = Field(
        None, gt=0, lt=1, description="limit above which structure counts as copied"
    )
    members: int = Field(500, ge=10, description="tiles of each side in membership inference")
    timesteps: tuple[int, ...] = Field(
        (50, 100, 200, 300, 500), min_length=1, description="of the denoising loss, in [0, 1000)"
    )
    captions: int = Field(8, ge=0, description="most repeated captions tried for extraction")
    seeds: int = Field(16, ge=2, description="images drawn for each of them")
    num_workers: int = Field(2, ge=1, le=64, description="threads that decode and describe tiles")
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw")
    batch_size: int = Field(16, ge=1, le=4096, description="images encoded or denoised at once")
    device: str = Field("auto", description="auto, cpu, cuda")
    max_reject_fraction: float = Field(
        0.05, ge=0, le=1, description="share of unusable images of a set that ends the run"
    )
