"""What is sent and answered. Fields of pictures are those of ``crafts generate``, spelled there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, create_model

from crafts.core.config import Config
from crafts.generation.request import ImageRequest

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[0-9]{3,6}-[0-9]{1,6}(-[0-9.]{1,12}mpp)?$")]

FIELDS: dict[str, dict[str, Any]] = ImageRequest.model_json_schema()["properties"]
_FILES = ("IMAGE", "MASK", "DIR", "FILE", "PATH")


def is_plain(field: dict[str, Any]) -> bool:
    """Whether a field may come over HTTP as it is, since it can name no file of this machine.

    A new number or choice is taken up by itself. Text needs a pattern, or a metavar that speaks of
    no file.

    Args:
        field: its JSON schema.
    """
    kinds = [field, *field.get("anyOf", ()), field.get("items", {})]
    if "needs" in field:  # a field that names a file
        return False
    if any("$ref" in kind or kind.get("format") == "path" for kind in kinds):
        return False
    bound = any("pattern" in kind or "enum" in kind for kind in kinds)
    metavar = field.get("metavar", "")
    harmless = bool(metavar) and not any(word in metavar for word in _FILES)
    return bound or harmless or all(kind.get("type") != "string" for kind in kinds)


SHARED = tuple(name for name, field in FIELDS.items() if is_plain(field))
"""Fields of a request for pictures that mean what they mean to ``crafts generate``."""


class Control(Config):
    """A mask or an image that steers all pictures of a job."""

    kind: Literal["nuclei", "fluorescence"] = "nuclei"
    upload: Id | None = Field(None, description="An image that was uploaded.")
    sample: str | None = Field(
        None, pattern=r"^[a-z][a-z0-9_-]{0,39}$", description="Tissue whose nuclei are invented."
    )
    weight: float = Field(1.0, ge=0, le=4, description="0 is off.")
    start: float = Field(0.0, ge=0, le=1, description="Share of the steps where it begins to act.")
    stop: float = Field(1.0, ge=0, le=1, description="Share of the steps where it ends.")


def _picked(names: tuple[str, ...]) -> dict[str, Any]:
    fields = ImageRequest.model_fields
    return {name: (fields[name].annotation, fields[name]) for name in names}


_Shared = create_model("_Shared", __base__=Config, **_picked(SHARED))

_EXAMPLE: Any = {
    "kind": "pictures",
    "prompts": ["Colon adenocarcinoma, moderately differentiated, high power view."],
    "num_images": 4,
    "seed": 7,
    "preset": "fast",
}


class PicturesRequest(_Shared):
    """Pictures from prompts."""

    model_config = {**Config.model_config, "json_schema_extra": {"examples": [_EXAMPLE]}}
    kind: Literal["pictures"] = "pictures"
    control: tuple[Control, ...] = Field((), max_length=2)


class ClassRow(Config):
    """One class of a data set and its wording."""

    label: str = Field(min_length=1, max_length=80, pattern=r"^[^\s./\\-][^/\\\x00-\x1f\x7f]*$")
    prompt: str = Field(min_length=1, max_length=2000)


class DatasetRequest(Config):
    """A labelled set: what ``crafts dataset`` makes."""

    kind: Literal["dataset"]
    classes: tuple[ClassRow, ...] = Field((), max_length=200, description="None: the model's own.")
    per_class: int = Field(10, ge=1, le=10_000)
    format: Literal["imagefolder", "hf", "webdataset", "coco"] = "imagefolder"
    masks: Literal["segmenter", "layout", "none"] = "none"
    gate: bool = True
    seed: int = Field(0, ge=0, le=2**63 - 1)
    preset: Literal["fast", "balanced", "paper"] = "balanced"


class EvaluateRequest(Config):
    """Generated tiles beside real ones: what ``crafts evaluate`` does."""

    kind: Literal["evaluate"]
    generated: Id = Field(description="A folder of /api/v1/folders.")
    real: Id
    train: Id | None = None


class AuditRequest(Config):
    """Copies of training tiles among generated ones: what ``crafts audit`` does."""

    kind: Literal["audit"]
    generated: Id
    train: Id
    heldout: Id | None = None


class Deadline(BaseModel):
    """How long a job may take at most, waiting included."""

    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False)


JobRequest = Annotated[
    PicturesRequest | DatasetRequest | EvaluateRequest | AuditRequest,
    Field(discriminator="kind"),
]


class Fault(BaseModel):
    """Every error: where, what came, what was allowed, what to do."""

    where: str
    came: str
    allowed: str
    do: str


class PictureView(BaseModel):
    """A finished picture and where it comes from."""

    name: str
    url: str
    seed: int
    k: int
    prompt: str
    width: int
    height: int
    sha256: str
    provenance: dict[str, Any]


class JobView(BaseModel):
    """A job as its owner sees it; times are seconds since 1970."""

    id: str
    number: int
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    request: dict[str, Any]
    at: float = Field(description="When this was so; what is later replaces it.")
    created: float
    started: float | None
    ended: float | None
    total: int = Field(description="Pictures asked for; 0 where it is not pictures.")
    done: int
    share: float = Field(description="How much is done, 0 to 1.")
    step: int = Field(description="Sampler step of the pictures in work.")
    num_steps: int
    ahead: int = Field(description="Jobs that run or wait before it.")
    eta_s: float | None = Field(description="Seconds until it ends; null where nobody knows.")
    note: str = Field(description="Its last line of progress.")
    error: Fault | None
    command: str = Field(description="The same on a command line.")
    python: str
    report: str | None = Field(description="Address of the report of a judging job.")
    download: str | None
    facts: dict[str, Any]
    pictures: list[PictureView]
    slide: str | None = Field(description="Id of the slide that it made.")


class Queue(BaseModel):
    """Your part of the queue."""

    paused: bool = Field(description="Your jobs wait; finished pictures stay.")


class Jobs(BaseModel):
    """A page of jobs, the newest first."""

    jobs: list[JobView]
    next: int | None = Field(description="`before` of the next page.")
