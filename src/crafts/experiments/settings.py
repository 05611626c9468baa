"""How large an experiment is: its configuration, in full and in the fast version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from crafts.core.config import Config, load_config
from crafts.core.errors import ConfigError

Name = Literal[
    "losses", "ood", "label-noise", "stages", "caption-length", "text-encoder", "content",
    "guidance", "screening",
]  # fmt: skip
NAMES: tuple[str, ...] = get_args(Name)
PAINTED = "painted"
"""Value of ``data`` for tissue that is painted, which needs no files."""

FAST: Mapping[str, Any] = {
    "seeds": [0, 1, 2],
    "num_steps": 12,
    "batch_size": 16,
    "base": {"num_steps": 12},
    "second_steps": 8,
    "num_prompts": 16,
    "num_losses": 16,
    "sampler_steps": 6,
    "train_tiles": 96,
    "ema_decay": 0.8,
    "warmup_steps": 2,
}
"""What ``--fast`` changes: the machinery is that of the full version, the numbers say nothing."""

OWN: Mapping[str, Mapping[str, Any]] = {
    "guidance": {"base": {"forget_text": False, "num_steps": 0}, "crop": 32},  # whole tiles of mini
    "screening": {"seeds": [0, 1]},  # effects rest on all runs together
}
"""What an experiment begins with in place of the defaults below."""


class BaseConfig(Config):
    """The shared checkpoint that all arms begin with."""

    model: str = Field("mini", min_length=1, description="mini, a checkpoint folder, or a hub id")
    forget_text: bool = Field(
        True, description="set its cross-attention back, so that arms learn text from nothing"
    )
    num_steps: int = Field(
        600, ge=0, description="steps on training tiles before the fork; 0: none"
    )


class ExperimentConfig(Config):
    """One experiment; arms get equal data, steps and seeds."""

    name: Name
    data: str = Field(
        "runs/shards", min_length=1, description="folder of `crafts pack`, or painted"
    )
    seeds: tuple[int, ...] = Field(
        (0, 1, 2), min_length=2, description="each arm is trained once with each"
    )
    arms: tuple[str, ...] = Field((), description="only these arms; empty: all. The baseline stays")
    base: BaseConfig = BaseConfig()
    num_steps: int = Field(300, gt=1, description="optimizer steps of each arm, over all its legs")
    batch_size: int = Field(64, gt=1, description="samples a step")
    crop: int = Field(16, ge=4, description="edge of the crops of the latents; 16 is 128 px")
    lr: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(50, ge=0)
    ema_decay: float = Field(0.98, ge=0, lt=1)
    train_tiles: int | None = Field(None, gt=3, description="training tiles at most; None: all")
    num_prompts: int = Field(
        96, ge=8, description="prompts of held-out patients; one image of each, arm and seed"
    )
    num_losses: int = Field(128, ge=4, description="held-out tiles of the denoising loss")
    sampler_steps: int = Field(20, ge=1, le=1000)
    guidance_scale: float = Field(2.5, ge=1, le=100)
    judge: str = Field("mini", min_length=1, description="image and text encoder that measures")
    strength: float = Field(
        0.2, gt=0, description="gradient norm of a CRAFTS loss as a share of the denoising loss's"
    )
    encoder: str = Field(
        "efficientnet-lite1",
        min_length=1,
        description="image encoder whose relations `screening` teaches; never the judge",
    )
    wrong_labels: float = Field(0.2, ge=0, le=1, description="share of `label-noise`")
    wrong_captions: float = Field(0.3, ge=0, le=1, description="share of the first stage's texts")
    whole_reports: bool = Field(
        False,
        description="in `caption-length`, fill each budget with what reports say of the patient",
    )
    leave_out: tuple[str, ...] = Field(
        (), description="classes of `ood`; empty: every sixth, or every second of few"
    )
    second_steps: int = Field(500, gt=0, description="steps of the second text encoder")
    painted_tiles: int = Field(160, ge=32, description="tiles where data is painted")
    device: str = "auto"

    @model_validator(mode="after")
    def _seeds_differ(self) -> ExperimentConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds that differ")
        return self

    @model_validator(mode="after")
    def _judge_does_not_teach(self) -> ExperimentConfig:
        if self.encoder == self.judge:
            raise ValueError(f"encoder and judge that differ, not {self.judge} twice")
        return self


def configure(
    name: str, overrides: Sequence[str] = (), *, fast: bool = False, data: str | None = None
) -> ExperimentConfig:
    """The validated configuration of an experiment.

    Args:
        name: one of :data:`NAMES`.
        overrides: ``a.b=c`` strings; they go before ``fast``.
        fast: the small version, see :data:`FAST`.
        data: folder of shards, or "painted"; ``runs/shards`` by default.

    Raises:
        ConfigError: no such experiment, or a field is unknown or out of bounds.
    """
    if name not in NAMES:
        raise ConfigError(
            f"crafts experiment {name}",
            came="no such experiment",
            allowed=", ".join(NAMES),
            do="Choose one of these names.",
        )
    values: dict[str, Any] = {"name": name, **(FAST if fast else {}), **OWN.get(name, {})}
    if data is not None:
        values["data"] = data
    return load_config(ExperimentConfig, values, overrides)
