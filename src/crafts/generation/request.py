"""What is asked of a picture, spelled once: for the command line, Python, tables and a server.

**To add a field**: add it to :class:`ImageRequest` with its type, default, bounds and description.
The option of ``crafts generate``, the argument of ``Model.generate``, ``--set``, the JSON schema,
their help and their refusals follow from it. A field that only a run into a folder knows goes into
:class:`GenerateConfig`; one that a row of a manifest may set goes into :data:`COLUMNS`, too. Then
use it where pictures are drawn, and let it enter ``Plan``'s hash of a request if it moves pixels.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from crafts.conditions.config import ControlFolders, FluorescenceOptions, MaskOptions, as_text
from crafts.core.config import Config
from crafts.core.tabular.rows import is_encodable
from crafts.sampling.presets import describe_presets

MAX_PROMPT = 20_000
MAX_MPP = 16
MAX_ZOOM = 4

POWERS = r"^\d*\.?\d+(,\d*\.?\d+){0,3}$"

SIZE = r"^[1-9]\d{0,6}(x[1-9]\d{0,6})?$"

INCIDENTAL = ("num_workers", "runner")
"""Fields that decide nothing of the output; no manifest names them."""

COLUMNS = ("negative_prompt", "seed", "num_images", "guidance_scale", "size", "prompt_map", "mpp")
"""Fields that a row of a manifest may set; its value holds before that of the run."""


def is_missing(value: Any) -> bool:
    """Whether a cell of a table, or a value, says nothing."""
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and value != value)


def check_prompt(value: Any) -> str:
    """A usable prompt, or a :class:`ValueError` that says in words why it is none."""
    if is_missing(value):
        raise ValueError("empty prompt")
    return check_text("prompt", value)


def check_text(column: str, value: Any) -> str:
    """Text that an encoder and a file can hold, or a :class:`ValueError`."""
    if not isinstance(value, str):
        raise ValueError(f"{column} is {type(value).__name__}, not text")
    if len(value) > MAX_PROMPT:
        raise ValueError(f"{column} has {len(value)} characters; at most {MAX_PROMPT}")
    if "\x00" in value or not is_encodable(value):
        raise ValueError(f"{column} is not valid Unicode text")
    # a line that was written under Windows ends in \r\n, and a shell leaves the \r
    return value.replace("\r\n", "\n").replace("\r", "\n")


def parse_powers(text: str | None) -> tuple[float, ...]:
    """Microns per pixel of one or several pictures, or a :class:`ValueError` in words."""
    powers = tuple(float(part) for part in (text or "").split(",") if part)
    if any(not 1 / MAX_MPP <= mpp <= MAX_MPP for mpp in powers):
        raise ValueError(f"microns per pixel from {1 / MAX_MPP:g} to {MAX_MPP:g}")
    if any(not 1 < wide / mpp <= MAX_ZOOM for wide, mpp in pairwise(powers)):
        raise ValueError(f"powers that rise, each to at most {MAX_ZOOM} times the one before")
    return powers


def _powers_as_text(value: Any) -> Any:
    several = value if isinstance(value, list | tuple) else [value]
    numbers = all(isinstance(one, int | float) for one in several)
    return ",".join(f"{one:g}" for one in several) if several and numbers else value


def _powers_usable(value: str | None) -> str | None:
    parse_powers(value)
    return value


# checked by its type, so that it is checked where a server picks the field, too
_Powers = Annotated[str | None, BeforeValidator(_powers_as_text), AfterValidator(_powers_usable)]


class ImageRequest(Config):
    """What is asked of pictures, wherever they go: what ``Model.generate`` takes."""

    prompts: tuple[str, ...] = Field(
        (),
        description="A text to follow; repeatable.",
        json_schema_extra={"option": "--prompt", "metavar": "TEXT"},
    )
    num_images: int = Field(1, ge=1, le=100_000, description="Images a prompt.")
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="The same seed, prompt and preset give the same image."
    )
    preset: Literal["fast", "balanced", "paper"] = Field(
        "balanced",
        description=f"{describe_presets()}. A model with guidance of its own (mini: 3.5) takes "
        "that.",
    )
    num_steps: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Sampler steps.",
        json_schema_extra={"unset": "the preset's"},
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        le=100,
        description="How strongly a prompt is followed; 1 is off.",
        json_schema_extra={"unset": "the model's or the preset's"},
    )
    negative_prompt: str = Field(
        "", description="Text to be steered away from.", json_schema_extra={"metavar": "TEXT"}
    )
    size: str | None = Field(
        None,
        pattern=SIZE,
        description="In pixels. Beyond one tile a slide is made, of any height.",
        json_schema_extra={"metavar": "PX|WxH", "unset": "the model's own"},
    )
    batch_size: int = Field(
        4, ge=1, le=4096, description="Images a pass; moves no value by more than 2 of 255."
    )
    mpp: _Powers = Field(
        None,
        pattern=POWERS,
        description="Microns per pixel, of a model that was trained with powers. 1.0,0.5: the same "
        "place at each, every picture the middle of the one before.",
        json_schema_extra={"metavar": "M[,M...]", "unset": "the model's own"},
    )
    strict: bool = Field(
        False, description="Refuse prompts with words that the model has met with no picture."
    )
    reference: tuple[str, ...] = Field(
        (),
        description="A picture whose look is followed, of a model that was trained with "
        "references; repeatable. IMAGE,0.5: half of it, from the middle of all training tiles.",
        json_schema_extra={"metavar": "IMAGE[,W]"},
    )
    stain: Path | None = Field(
        None,
        description="A picture, or a folder of pictures, whose stain the pictures get.",
        json_schema_extra={"metavar": "IMAGE|DIR"},
    )
    lora: tuple[str, ...] = Field(
        (),
        description="Adapters of a site or stain; repeatable, they add up. DIR,0.5: half of them.",
        json_schema_extra={"metavar": "DIR[,W]"},
    )
    control: tuple[str, ...] = Field(
        (),
        description="nuclei=MASK or fluorescence=IMAGE decides where nuclei are, nuclei="
        "sample:TISSUE invents them for each image; repeatable. IMAGE@0.8,0-0.7: weight 0.8, in "
        "the first 70 % of the steps.",
        json_schema_extra={"metavar": "KIND=IMAGE"},
    )
    controls: ControlFolders = Field(
        ControlFolders(),
        description="Kind -> folder of its ControlNet; by default the shipped one.",
    )
    masks: MaskOptions = Field(MaskOptions(), description="How masks are read.")
    fluorescence: FluorescenceOptions = Field(
        FluorescenceOptions(), description="How fluorescence is read."
    )

    inpaint: Path | None = Field(
        None,
        description="A picture of which the region of --mask is made anew from the prompt; beyond "
        "the feather no bit changes.",
        json_schema_extra={"metavar": "IMAGE"},
    )
    mask: Path | None = Field(
        None,
        description="Of the size of --inpaint: white is made anew.",
        json_schema_extra={"metavar": "IMAGE"},
    )
    edit_nuclei: str | None = Field(
        None,
        description="Edit the nuclei of --inpaint, in --mask or everywhere, and make anew where "
        "they changed: more_lymphocytes, change_density, larger_nuclei=AMOUNT, "
        "remove=AMOUNT[:CLASS]. --control nuclei=MASK says where they are; else they are found.",
        json_schema_extra={"metavar": "EDIT=AMOUNT", "needs": "inpaint"},
    )
    feather: int = Field(
        8,
        ge=0,
        le=128,
        description="Pixels around the mask that pass from new to old.",
        json_schema_extra={"needs": "inpaint"},
    )
    counterfactual: str | None = Field(
        None,
        description="The same picture, had it another text: that of --prompt and its noise, or "
        "--inpaint as --prompt describes it. Pairs are written, with masks of what changed.",
        json_schema_extra={"metavar": "TEXT"},
    )
    strength: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the steps that may change what is there.",
        json_schema_extra={"unset": "1; of a counterfactual 0.9"},
    )

    @field_validator("size", mode="before")
    @classmethod
    def _size_as_text(cls, value: Any) -> Any:
        return as_text(value)

    @field_validator("reference", "lora", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else [value]
        return tuple(as_text(one) for one in several)

    @field_validator("prompts", mode="before")
    @classmethod
    def _one_prompt(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("prompts")
    @classmethod
    def _prompts_usable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_prompt(prompt) for prompt in value)

    @field_validator("counterfactual")
    @classmethod
    def _counterfactual_usable(cls, value: str | None) -> str | None:
        return None if value is None else check_prompt(value)

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt_usable(cls, value: str) -> str:
        return check_text("negative_prompt", value)


class CanvasOptions(Config):
    """How pictures beyond one tile are made and written."""

    overlap: float = Field(
        0.5, ge=0.1, le=0.9, description="share of a window that the next one overlaps with"
    )
    border: int = Field(
        64, ge=0, le=4096, description="pixels over which one prompt passes into the next"
    )
    jpeg_quality: int | None = Field(
        None, ge=1, le=100, description="of slide files; None keeps every value"
    )


class GenerateConfig(ImageRequest):
    """What ``crafts generate`` takes: pictures, and the folder that a run fills with them."""

    manifest: Path | None = Field(
        None,
        description="csv, jsonl, parquet: id,prompt[,negative_prompt,seed,num_images,"
        "guidance_scale,size,prompt_map,mpp,reference,stain,nuclei,fluorescence,inpaint,"
        "inpaint_mask,counterfactual], or captions: file_name,text. A row's value holds before an "
        "option's; further columns go to metadata.csv.",
    )
    model: str = Field(
        "mini", min_length=1, description="mini, a folder, or a hub id in the diffusers layout."
    )
    same_noise: bool = Field(
        False,
        description="Rows of a manifest with one seed begin with one noise, to compare their "
        "prompts; else their ids decide it too.",
    )
    shard: str | None = Field(
        None,
        pattern=r"^[1-9]\d*/[1-9]\d*$",
        description="Make rows K, K+N, ...; each share needs its own --output.",
        json_schema_extra={"metavar": "K/N"},
    )
    keep: int | None = Field(
        None, ge=1, le=100_000, description="So many images a prompt that pass the quality gate."
    )
    prompt_map: Path | None = Field(
        None,
        description="Where on a slide which prompt holds: GeoJSON regions with prompts, or a mask "
        "of numbers with a .json beside it. The prompt holds elsewhere.",
    )
    format: Literal["png", "tiff", "ome-tiff", "dicom"] | None = Field(
        None, description="Of pictures beyond one tile.", json_schema_extra={"unset": "tiff"}
    )
    canvas: CanvasOptions = Field(
        CanvasOptions(), description="How pictures beyond one tile are made."
    )
    device: str = Field("auto", description="auto, cpu, cuda.")
    num_workers: int = Field(
        0,
        ge=0,
        le=4096,
        description="Processes that make images side by side; 0: this one alone, or on Ray as "
        "many as it has room for.",
    )
    runner: Literal["processes", "ray"] = Field(
        "processes", description="Of this machine, or tasks of a Ray cluster (RAY_ADDRESS)."
    )
    max_reject_fraction: float = Field(
        0.5, ge=0, le=1, description="Share of bad rows that ends the run."
    )

    @property
    def parallel(self) -> bool:
        """Whether other processes make the images."""
        return self.num_workers > 0 or self.runner == "ray"

    @field_validator("shard")
    @classmethod
    def _shard_in_range(cls, value: str | None) -> str | None:
        if value and int(value.split("/")[0]) > int(value.split("/")[1]):
            raise ValueError("K/N with K from 1 to N")
        return value
