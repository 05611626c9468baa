"""The ``data`` section of a recipe: which samples are shown, and how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crafts.core.config import Config


class Balance(Config):
    """Which rows are shown, and how often."""

    balance: float = Field(
        0.0, ge=0, le=1, description="0: natural shares of the classes, 1: equal shares"
    )
    balance_by: str = Field("label", description="column whose values are balanced")
    spread_groups: bool = Field(
        False,
        description="within a class every patient is drawn equally often, not every tile; a tile "
        "without patient stands for itself",
    )
    sets: tuple[str, ...] = Field(
        (), description="use only these values of the column `set`; empty: all"
    )


class PaintedData(Balance):
    """Tissue painted on the fly; needs no files."""

    kind: Literal["painted"] = "painted"
    count: int = Field(64, gt=0, description="number of training tiles")
    size: int = Field(64, gt=0, description="edge of a tile in pixels")
    seed: int = Field(0, ge=0)


class ShardData(Balance):
    """Tiles packed by ``crafts pack``."""

    kind: Literal["shards"] = "shards"
    folder: str


class LatentData(Balance):
    """Latents cached by ``crafts encode``."""

    kind: Literal["latents"] = "latents"
    folder: str


DataConfig = Annotated[PaintedData | ShardData | LatentData, Field(discriminator="kind")]
