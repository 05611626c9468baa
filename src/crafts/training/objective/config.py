"""Options of what looks at samples together: relations, categories, strength."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crafts.core.config import Config


class FixedStrength(Config):
    """``stage.weights`` as they are."""

    kind: Literal["fixed"] = "fixed"
    every: int = Field(
        0, ge=0, description="steps between measurements of the gradient norms; 0: none"
    )


class RatioStrength(Config):
    """A weight above 0 in ``stage.weights`` switches a loss on; its size follows from a target.

    The target is the norm of the weighted loss's gradient as a share of that of the weighted
    denoising loss.
    """

    kind: Literal["ratio"] = "ratio"
    semantic: float = Field(0.1, gt=0, le=100, description="target of the semantic loss")
    category: float = Field(0.1, gt=0, le=100, description="target of the category loss")
    every: int = Field(20, ge=1, description="steps between measurements of the gradient norms")
    largest: float = Field(1000.0, gt=0, description="bound of the weights that follow")


StrengthConfig = Annotated[FixedStrength | RatioStrength, Field(discriminator="kind")]


class RelationOptions(Config):
    """How alike two images are, from the estimates of their clean latents."""

    pool: Literal["flatten", "moments", "grid", "midblock"] = Field(
        "flatten",
        description="what of an estimate is compared: all values, mean and deviation of each "
        "channel, means of cells, or in its place the features of the denoiser's middle block",
    )
    grid: int = Field(4, ge=1, le=64, description="cells along an edge, for pool: grid")
    projector: int = Field(
        0,
        ge=0,
        le=4096,
        description="width of a small network, trained along and thrown away, between the middle "
        "block and the comparison; 0: none. For pool: midblock",
    )
    centre: bool = Field(
        False, description="subtract the mean over the batch before the cosine is taken"
    )
    noise: Literal["none", "alpha", "cap", "floor"] = Field(
        "none",
        description="weight of a pair: 1, sqrt(a_i a_j) of the noise schedule, or 1 where both "
        "timesteps are at most (cap) or above (floor) max_timestep and else 0",
    )
    max_timestep: int = Field(500, ge=0, description="for noise: cap and floor")
    shared_timestep: bool = Field(
        False, description="one timestep for all samples of an optimizer step"
    )
    queue: int = Field(
        0, ge=0, le=65536, description="earlier samples that the present ones are compared with"
    )


class TextRelationOptions(Config):
    """How alike two samples should be for the semantic loss."""

    of: Literal["text", "sentence", "image", "label"] = Field(
        "text",
        description="by the pooled features of the text encoder that conditions, by a general "
        "sentence encoder (extra `sentences`), by the real tiles as a frozen image encoder sees "
        "them, or by the label in category.column: 1 for the same, else 0",
    )
    encoder: str = Field(
        "efficientnet-lite1",
        min_length=1,
        description="image encoder, for of: image; one that judges the model must not teach it",
    )
    centre: bool = Field(False, description="subtract the mean over the batch")


class CategoryOptions(Config):
    """How alike the categories of two samples are, and how much a pair counts."""

    classes: str | None = Field(
        None,
        description="file of classes: csv or yaml with code, name, organ, synonyms, or a json "
        "with prompts by class; null: the 30 cancers",
    )
    column: str = Field("label", description="column of the data that names the class of a row")
    relations: Literal["embedding", "identity"] = Field(
        "embedding", description="cosine of the classes' text features, or 1 for the same class"
    )
    weights: Literal["literal", "centred"] = Field(
        "literal", description="sigmoid(A), or sigmoid((A - mean A) / temperature)"
    )
    temperature: float | None = Field(
        1.0, gt=0, description="divides A; null: the deviation of A over the pairs, with centred"
    )
