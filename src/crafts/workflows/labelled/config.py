"""What ``crafts dataset`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from crafts.core.config import Config, load_config
from crafts.core.errors import ConfigError


class DatasetConfig(Config):
    """What ``crafts dataset`` takes."""

    classes: Path | None = Field(
        None, description="csv label,prompt[,tissue]; None: those of the model, where it has some"
    )
    per_class: int = Field(100, ge=1, le=100_000, description="pictures of each class")
    format: Literal["imagefolder", "hf", "webdataset", "coco"] = "imagefolder"
    model: str = Field("mini", min_length=1, description="mini, a checkpoint folder, or a hub id")
    masks: Literal["segmenter", "layout", "none"] = Field(
        "segmenter", description="nuclei as the segmenter finds them, or as a ControlNet was told"
    )
    gate: bool = Field(True, description="keep only what the quality gate passes")
    train: Path | None = Field(
        None,
        description="tiles that the model was trained on, for the audit; None: those beside "
        "a model of finetune, else no audit for copies",
    )
    validation: float = Field(0.1, ge=0, lt=1, description="share of each class")
    test: float = Field(0.1, ge=0, lt=1, description="share of each class")
    seed: int = Field(0, ge=0, lt=2**31)
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    batch_size: int = Field(4, ge=1, le=4096)
    device: str = Field("auto", description="auto, cpu, cuda")


def configure(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> DatasetConfig:
    """The validated configuration.

    Raises:
        ConfigError: a field is unknown or out of bounds, or fields that do not go together.
    """
    config = load_config(DatasetConfig, values, overrides)
    if config.format == "coco" and config.masks == "none":
        raise ConfigError(
            "dataset: format",
            came="coco and masks=none",
            allowed="masks=segmenter or masks=layout with coco, which holds outlines of nuclei",
            do="Choose masks, or another --format.",
        )
    return config
