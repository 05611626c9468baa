"""What ``crafts benchmark`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from crafts.core.config import Config
from crafts.data.config import Links

TASKS = ("classification", "retrieval", "ssl", "vqa")

FAST: dict[str, Any] = {
    "seeds": 3,
    "fractions": (0.05, 1.0),
    "ratios": (1.0, 5.0),
    "max_synthetic": 500,
    "resamples": 500,
    "steps": 100,
}
"""What ``--fast`` sets: minutes in place of hours, and wider intervals."""


COSTLY: dict[str, Any] = {"fractions": (0.05, 1.0), "ratios": (5.0,)}
"""Of tasks that train networks: fewer arms, where nothing else is asked for."""


def fast_settings(task: str) -> dict[str, Any]:
    """What ``--fast`` sets in a task."""
    return FAST if task == TASKS[0] else {**FAST, **COSTLY}


class BenchmarkConfig(Config):
    """What ``crafts benchmark`` takes."""

    task: Literal["classification", "retrieval", "ssl", "vqa"] = Field(
        "classification", description="what the tiles shall help in"
    )

    real: Path = Field(description="real tiles with labels, patients and splits")
    generated: tuple[Path, ...] = Field(
        min_length=1, description="folders of generated tiles, each compared by itself"
    )
    external: Path | None = Field(
        None, description="real tiles of another place, never trained on, scored as well"
    )
    encoder: str = Field("mini", min_length=1, description="mini, a folder, or a hub id")
    model: str = Field(
        "", description="mini or a folder: model that made the tiles, where they do not say"
    )
    trained: Path | None = Field(
        None, description="tiles that model was trained on, a folder or shards: patients compared"
    )
    codec: str = Field(
        "", description="mini or a folder: a row of real tiles sent through its autoencoder"
    )
    fractions: tuple[float, ...] = Field(
        (0.01, 0.05, 0.1, 1.0), min_length=1, description="shares of the training patients"
    )
    ratios: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0, 2.0, 5.0), min_length=1, description="generated tiles to each real one"
    )
    max_synthetic: int = Field(2000, ge=1, description="most generated tiles in an arm")
    seeds: int = Field(5, ge=2, le=100, description="draws of patients and of generated tiles")
    neighbours: int = Field(5, ge=1, description="of the nearest-neighbour classifier")
    test_share: float = Field(
        0.3, gt=0, lt=1, description="share of the patients to test on where no splits are named"
    )
    visible: float = Field(
        0.2,
        gt=0,
        le=1,
        description="gain in balanced accuracy that the test tiles must at least be able to show",
    )
    margin: float = Field(
        0.05,
        gt=0,
        le=1,
        description="largest difference at which generated tiles alone count as good as real ones",
    )
    steps: int = Field(300, ge=1, description="optimizer steps of each network, alike in all arms")
    pixels: int = Field(64, ge=32, le=512, multiple_of=8, description="side that networks see")
    finetune: bool = Field(
        False, description="classification: also a small ResNet, trained from pixels"
    )
    rare: str = Field(
        "", description="classification: a class; how many generated tiles of it are worth while"
    )
    questions: Path | None = Field(
        None, description="vqa: a table image,question,answer, as PathVQA and Quilt-VQA have it"
    )
    resamples: int = Field(1000, ge=100, description="bootstrap draws of patients")
    columns: Links = Links()
    cache: Path | None = Field(None, description="folder that keeps features between runs")
    seed: int = Field(0, ge=0, lt=2**31, description="of every draw")
    batch_size: int = Field(32, ge=1, le=4096, description="images encoded at once")
    device: str = Field("auto", description="auto, cpu, cuda")
    max_reject_fraction: float = Field(
        0.05, ge=0, le=1, description="share of unusable images of a set that ends the run"
    )

    @model_validator(mode="before")
    @classmethod
    def _fewer_arms(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("task", TASKS[0]) != TASKS[0]:
            return {**COSTLY, **values}
        return values

    @model_validator(mode="after")
    def _rare_class_only_there(self) -> BenchmarkConfig:
        if self.rare and self.task != TASKS[0]:
            raise ValueError("rare goes with the task classification")
        return self

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < one <= 1 for one in value):
            raise ValueError("each share lies above 0 and is at most 1")
        return tuple(sorted(set(value)))

    @field_validator("ratios")
    @classmethod
    def _above_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < one <= 100 for one in value):
            raise ValueError("each ratio lies above 0 and is at most 100")
        return tuple(sorted(set(value)))
