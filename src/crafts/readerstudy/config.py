"""What the steps of a study take; torch-free, so that a mistake is answered at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from crafts.core.config import Config

Task = Literal["realness", "rating", "diagnosis", "artefact", "remark"]
Endpoint = Literal["area", "accuracy"]


class PrepareConfig(Config):
    """What ``crafts study prepare`` takes; margins and numbers go into the pre-registration."""

    real: Path = Field(description="real tiles: a folder or shards, held out from training")
    generated: Path = Field(description="generated tiles: a folder or shards")
    title: str = Field("Real or synthetic?", min_length=1, max_length=200)
    readers: int = Field(5, ge=1, le=200, description="links to be made")
    per_class: int = Field(60, ge=2, le=5000, description="real items, and as many synthetic ones")
    groups: int = Field(1, ge=1, le=20, description="of readers and items; above 1: split-plot")
    match: Literal["label", "text", "none"] = Field(
        "label", description="what a real and a synthetic item have in common; shown to rate"
    )
    split: str = Field("", description="rows of this split of the real tiles only; '' for all")
    size: int | None = Field(
        None, ge=16, le=4096, description="px: cut both classes to the middle; none: must be equal"
    )
    jpeg_quality: int | None = Field(
        None, ge=1, le=100, description="of real tiles whose files do not tell; none: not lossy"
    )
    last_quality: int = Field(90, ge=30, le=100, description="JPEG that all items pass in the end")
    per_patient: int = Field(1, ge=1, description="most real items of one patient")
    tasks: tuple[Task, ...] = Field(("realness", "rating"), min_length=1)
    choices: tuple[str, ...] = Field((), max_length=20, description="answers of task diagnosis")
    training: int = Field(6, ge=0, le=100, description="items with feedback before the test")
    repeats: float = Field(0.1, ge=0, le=0.5, description="share of items shown twice, hidden")
    plain_fakes: int = Field(4, ge=0, le=100, description="positive controls, plainly bad")
    attention: int = Field(2, ge=0, le=20, description="items that say what to answer")
    allow_changes: bool = Field(True, description="earlier answers may be looked at and changed")
    tell_share: bool = Field(True, description="readers are told that half of the items are real")
    min_seconds: float = Field(1.0, ge=0, description="an answer faster than this is marked")
    endpoint: Endpoint = Field("area", description="primary: area under the ROC curve, or accuracy")
    margin: float = Field(0.1, gt=0, lt=0.5, description="from 0.5: what would matter")
    rating_margin: float = Field(0.3, gt=0, lt=3, description="steps of the rating that matter")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="of each one-sided test")
    hypothesis: str = Field("", max_length=2000, description="in words; a sentence is made if none")
    stopping: str = Field(
        "The study is closed when every reader has answered every item.", max_length=2000
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw and order")
    max_reject_fraction: float = Field(0.05, ge=0, le=1, description="of opened tiles")

    @model_validator(mode="after")
    def _fits(self) -> PrepareConfig:
        if "realness" not in self.tasks and "rating" not in self.tasks:
            raise ValueError("tasks with realness or rating among them")
        if "diagnosis" in self.tasks and len(self.choices) < 2:
            raise ValueError("choices: at least two answers for the task diagnosis")
        if "rating" in self.tasks and self.match == "none":
            raise ValueError("match of label or text: a rating needs words that both classes share")
        if self.groups > self.readers or self.groups > self.per_class // 2:
            raise ValueError("no more groups than readers, and two items of each class a group")
        return self


class Readers(Config):
    """A population of simulated readers.

    An impression is ``(+-d'/2) + bias + case + own``, where the last two have variance 1 together;
    readers share the part of the case.
    """

    d_prime: float = Field(0.5, ge=-5, le=10, description="distance of the classes to the reader")
    d_prime_sd: float = Field(0.2, ge=0, le=5, description="of d' between readers")
    bias: float = Field(0.0, ge=-5, le=5, description="above 0: leans to synthetic")
    bias_sd: float = Field(0.3, ge=0, le=5, description="of the bias between readers")
    correlation: float = Field(0.3, ge=0, lt=1, description="of two readers' view of one item")
    steadiness: float = Field(0.7, ge=0, le=1, description="share of own that a repeat keeps")
    learning: float = Field(0.0, ge=-5, le=5, description="gain of d' from first to last item")
    drift: float = Field(0.0, ge=-5, le=5, description="gain of the bias from first to last item")
    rating: float = Field(3.3, ge=1, le=4, description="mean rating of synthetic items")
    rating_gap: float = Field(0.1, ge=-3, le=3, description="by which real items are rated higher")
    one_answer: int = Field(0, ge=0, description="readers who always say synthetic")
    hasty: int = Field(0, ge=0, description="readers who answer at random and at once")
    missing: float = Field(0.0, ge=0, lt=1, description="share of items not answered")


class SimulateConfig(Config):
    """What ``crafts study simulate`` takes."""

    study: Path = Field(description="output of prepare")
    readers: Readers = Readers()
    seed: int = Field(0, ge=0, lt=2**63)


class PowerConfig(Config):
    """What ``crafts study power`` takes."""

    readers: Readers = Readers(d_prime=0.0)
    endpoint: Endpoint = "area"
    half_width: float | None = Field(None, gt=0, lt=0.5, description="wanted, of the 95 % interval")
    margin: float | None = Field(None, gt=0, lt=0.5, description="of equivalence with 0.5")
    power: float = Field(0.8, gt=0.05, lt=1, description="wanted, of the equivalence test")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="of each one-sided test")
    num_readers: tuple[int, ...] = Field((3, 5, 8, 12, 20), min_length=1)
    per_class: tuple[int, ...] = Field((25, 50, 100, 200), min_length=1)
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _fits(self) -> PowerConfig:
        if min(self.num_readers) < 2 or min(self.per_class) < 2:
            raise ValueError("at least two readers and two items of each class")
        if max(self.num_readers) > 1000 or max(self.per_class) > 100_000:
            raise ValueError("at most 1,000 readers and 100,000 items of each class")
        return self


class AnalyzeConfig(Config):
    """What ``crafts study analyze`` takes; endpoint and margins come from the study itself."""

    study: Path = Field(description="output of prepare")
    readings: Path = Field(description="output of serve, closed, or of simulate")
    level: float = Field(0.95, gt=0.5, lt=1, description="of every interval")
    resamples: int = Field(2000, ge=200, le=100_000, description="draws of each bootstrap")
    seed: int = Field(0, ge=0, lt=2**63, description="of the bootstrap")


class ServeConfig(Config):
    """What ``crafts study serve`` takes."""

    study: Path = Field(description="output of prepare")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    address: str = Field("", description="how readers reach the server, for the links")
