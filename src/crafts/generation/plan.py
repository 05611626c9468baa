"""What a run asks for: its configuration, and from every row its images with their provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from crafts.captions.words import UnknownWord
from crafts.core.artifacts import sha256_bytes, tool_versions
from crafts.core.config import Config
from crafts.generation.control_inputs import ControlInput, parse_options
from crafts.generation.controls import (
    ControlFolders,
    FluorescenceOptions,
    MaskOptions,
    Steering,
)
from crafts.generation.export import Provenance
from crafts.generation.manifest import PromptRow, check_prompt, check_text
from crafts.sampling.conditioning import Draw
from crafts.sampling.presets import Preset

if TYPE_CHECKING:
    from crafts.model.bundle import Bundle

REQUEST_VERSION = 1
"""Raise it when a change of the sampler moves the pixels, so that old images are made again."""

TRIES = 20
"""Images that the quality gate sees at most for each one wanted."""


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


@dataclass(frozen=True)
class Item:
    """One image file to be made."""

    row_id: str
    draw: Draw
    provenance: Provenance
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Path in the output folder."""
        return f"images/{self.row_id}-{self.draw.k}.png"


class Plan:
    """From rows to the images they ask for.

    Args:
        config: of the run.
        bundle: the model.
        preset: resolved.
        source: manifest of prompts; paths in it start from its folder.
        control: controls of all rows, in place of those of the configuration.
    """

    def __init__(
        self,
        config: GenerateConfig,
        bundle: Bundle,
        preset: Preset,
        source: Path | None = None,
        *,
        control: Mapping[str, ControlInput] | None = None,
    ) -> None:
        self.config, self.bundle, self.preset = config, bundle, preset
        self.words = bundle.trained_on.known_words() if bundle.trained_on else None
        self.steering = Steering(
            bundle,
            parse_options(config.control) if control is None else control,
            Path() if source is None else source.parent,
            folders=config.controls,
            masks=config.masks,
            fluorescence=config.fluorescence,
        )
        self._checked: dict[str, tuple[UnknownWord, ...]] = {}
        mpp = bundle.mpp
        self.common = Provenance(
            prompt="", negative_prompt="", seed=None, k=None, model=bundle.name or config.model,
            model_sha256=bundle.fingerprint, licence=bundle.licence, preset=config.preset,
            num_steps=preset.num_steps, guidance_scale=preset.guidance_scale,
            mpp=float(mpp) if isinstance(mpp, int | float) else None,
            software=f"crafts {tool_versions().get('crafts', '(not installed)')}",
        )  # fmt: skip

    def unknown(self, row: PromptRow) -> tuple[UnknownWord, ...]:
        """Words of a row's prompts that the model has met with no picture."""
        return self._unknown(row.prompt, self.negative_of(row))

    def negative_of(self, row: PromptRow) -> str:
        """What a row is steered away from."""
        return self.config.negative_prompt if row.negative_prompt is None else row.negative_prompt

    def number(self, row: PromptRow) -> int:
        """Images that a row asks for."""
        return row.num_images or self.config.num_images

    def limit(self, row: PromptRow) -> int:
        """Number of its images that a row can bring into the folder."""
        return TRIES * self.config.keep if self.config.keep else self.number(row)

    def items(self, row: PromptRow, ks: range) -> Iterator[Item]:
        """The images of a row with the given indices."""
        scale = row.guidance_scale
        seed = self.config.seed if row.seed is None else row.seed
        for k in ks:
            draw = Draw(
                prompt=row.prompt,
                seed=seed,
                k=k,
                row="" if row.plain or self.config.same_noise else row.id,
                negative_prompt=self.negative_of(row),
                guidance_scale=self.preset.guidance_scale if scale is None else scale,
            )
            draw = replace(draw, controls=self.steering.uses(row, draw.number))
            yield Item(row.id, draw, self.provenance(draw), row.extra)

    def provenance(self, draw: Draw) -> Provenance:
        """What the file of a draw will say of itself, but for the cut (known later)."""
        return replace(
            self.common,
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt,
            seed=draw.seed,
            k=draw.k,
            row=draw.row,
            guidance_scale=draw.guidance_scale,
            request=self._request(draw),
            control=self.steering.describe(draw.controls),
            unknown_words=", ".join(
                found.word for found in self._unknown(draw.prompt, draw.negative_prompt)
            ),
        )

    def _unknown(self, *texts: str) -> tuple[UnknownWord, ...]:
        if self.words is None:
            return ()
        for text in texts:
            if text not in self._checked:
                self._checked[text] = self.words.unknown(text)
        return tuple(dict.fromkeys(word for text in texts for word in self._checked[text]))

    def _request(self, draw: Draw) -> str:
        decides = [
            REQUEST_VERSION,
            self.bundle.fingerprint,
            self.bundle.native_size,
            self.preset.solver,
            self.preset.num_steps,
            self.preset.interval,
            self.config.preset,
            draw.prompt,
            draw.negative_prompt,
            draw.seed,
            draw.k,
            draw.guidance_scale,
        ]
        if draw.row:
            decides.append({"row": draw.row})
        if draw.controls:
            decides += self.steering.identity(draw.controls)
        return sha256_bytes(json.dumps(decides, ensure_ascii=False).encode())
