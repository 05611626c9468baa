"""What ``crafts generate`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from crafts.core.config import Config
from crafts.generation.manifest import check_prompt, check_text


class ControlFolders(Config):
    """ControlNets; a kind without one takes the shipped one."""

    nuclei: str | None = Field(None, description="folder of a ControlNet for masks of nuclei")
    fluorescence: str | None = Field(None, description="folder of a ControlNet for fluorescence")


class MaskOptions(Config):
    """How masks of nuclei are read; see ``crafts.controls.masks.load_mask``."""

    values: Literal["instances", "classes", "foreground"] | None = Field(
        None, description="what the numbers of an image mean; None: as the file tells"
    )
    table: str | None = Field(None, description="classes of the source: lizard, pannuke, ...")
    mpp: float | None = Field(None, gt=0, description="microns per pixel; None: as the file tells")
    frame: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height of the field, for outlines"
    )
    index: int | None = Field(None, ge=0, description="which field of a .npy with many")
    resize: bool = Field(False, description="bring masks of another size to that of the image")
    layouts: Path | None = Field(
        None, description="statistics that sample:TISSUE follows; None: those of the package"
    )


class FluorescenceOptions(Config):
    """How fluorescence is read; see ``crafts.controls.fluorescence.load_fluorescence``."""

    channels: tuple[str | int, ...] | None = Field(
        None, description="names or indices; None: all of the file"
    )
    region: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height in pixels of the finest level; None: the whole"
    )
    resize: bool = Field(False, description="bring images of another size to that of the tile")


class GenerateConfig(Config):
    """What ``crafts generate`` takes; a value in a manifest row goes before the value here."""

    prompts: tuple[str, ...] = Field((), description="texts to follow; their ids are 000, 001, ...")
    manifest: Path | None = Field(
        None,
        description="csv, jsonl or parquet with the columns id and prompt (or file_name and text)",
    )
    model: str = Field("mini", min_length=1, description="mini, a checkpoint folder, or a hub id")
    num_images: int = Field(1, ge=1, le=100_000, description="images a prompt")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every prompt without its own")
    same_noise: bool = Field(
        False,
        description="rows of a manifest with one seed begin with one noise, to compare their "
        "prompts; else their ids decide it too",
    )
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    num_steps: int | None = Field(
        None, ge=1, le=1000, description="sampler steps; the preset's by default"
    )
    guidance_scale: float | None = Field(
        None, ge=1, le=100, description="1 = off; the model's by default"
    )
    negative_prompt: str = Field("", description="text to be steered away from")
    size: str | None = Field(
        None, pattern=r"^[1-9]\d*(x[1-9]\d*)?$", description="pixels, PX or WxH"
    )
    batch_size: int = Field(
        4, ge=1, le=4096, description="images a pass; no image differs by more than 2 of 255"
    )
    control: tuple[str, ...] = Field(
        (),
        description="KIND=IMAGE[@WEIGHT[,START-STOP]]; KIND is nuclei or fluorescence, START and "
        "STOP are shares of the steps; nuclei=sample:TISSUE invents nuclei for each image",
    )
    controls: ControlFolders = ControlFolders()
    masks: MaskOptions = MaskOptions()
    fluorescence: FluorescenceOptions = FluorescenceOptions()
    shard: str | None = Field(
        None,
        pattern=r"^[1-9]\d*/[1-9]\d*$",
        description="K/N: rows K, K+N, ...; each shard needs its own --output, no file names clash",
    )
    strict: bool = Field(
        False, description="refuse prompts with words that stood beside no training picture"
    )
    keep: int | None = Field(
        None, ge=1, le=100_000, description="images a prompt that pass the quality gate"
    )
    device: str = Field("auto", description="auto, cpu, cuda")
    max_reject_fraction: float = Field(
        0.5, ge=0, le=1, description="share of bad rows that ends the run"
    )

    @field_validator("size", mode="before")
    @classmethod
    def _size_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("prompts")
    @classmethod
    def _prompts_usable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_prompt(prompt) for prompt in value)

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt_usable(cls, value: str) -> str:
        return check_text("negative_prompt", value)

    @field_validator("shard")
    @classmethod
    def _shard_in_range(cls, value: str | None) -> str | None:
        if value and int(value.split("/")[0]) > int(value.split("/")[1]):
            raise ValueError("K/N with K from 1 to N")
        return value
