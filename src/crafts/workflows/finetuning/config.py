"""What ``crafts finetune`` takes, and what suits a model by its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from crafts.core.config import Config, load_config

SMALL = 100_000_000
"""Parameters of a denoiser up to which all of them are trained, on a laptop's CPU if need be."""


class FinetuneConfig(Config):
    """Minutes, model and method; the rest follows from the model's size and the clock."""

    minutes: float = Field(
        10.0, gt=0, le=100_000, description="of the whole command, by the speed measured here"
    )
    model: str = Field("mini", min_length=1, description="mini, a checkpoint folder, or a hub id")
    method: Literal["lora", "full"] | None = Field(
        None, description="None: full for small models such as mini, lora for others"
    )
    num_steps: int | None = Field(
        None, ge=1, description="optimizer steps; None: as many as the minutes allow"
    )
    variants: int | None = Field(
        None, ge=1, le=8, description="symmetries of a tile that are encoded; None: by the clock"
    )
    batch_size: int | None = Field(None, ge=1, description="tiles a step; None: by the model")
    lr: float | None = Field(None, gt=0, description="peak learning rate; None: by the model")
    heldout: float = Field(
        0.2, ge=0, lt=1, description="share of the patients kept for the judge, where no split is"
    )
    images: int = Field(
        32, ge=2, le=1000, description="pictures made before and after, of the same prompts"
    )
    untitled: str = Field(
        "{label}", description="prompt of tiles without text; {label} stands for their folder"
    )
    licence: str | None = Field(
        None, description="of the new weights; None: that of the model they come from"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    precision: Literal["fp32", "bf16"] | None = Field(
        None, description="None: bf16 on a GPU, fp32 elsewhere"
    )
    device: str = Field("auto", description="auto, cpu, cuda")
    max_reject_fraction: float = Field(
        0.1, ge=0, le=1, description="share of unusable tiles above which the run fails"
    )


def configure(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> FinetuneConfig:
    """The validated configuration.

    Raises:
        ConfigError: a field is unknown or out of bounds.
    """
    return load_config(FinetuneConfig, values, overrides)


class Settings(Config):
    """How a model is trained on few tiles."""

    method: Literal["lora", "full"]
    lr: float
    batch_size: int
    micro_batch_size: int
    min_snr_gamma: float | None
    ema_decay: float
    max_chunks: int
    gradient_checkpointing: bool


def settings_for(config: FinetuneConfig, num_parameters: int, *, gpu: bool) -> Settings:
    """Settings by the size of the denoiser; what the user said goes before.

    Args:
        config: of the run.
        num_parameters: of the denoiser.
        gpu: whether one is there.
    """
    small = num_parameters <= SMALL
    method = config.method or ("full" if small else "lora")
    rates = {("full", True): 3e-4, ("lora", True): 1e-3, ("full", False): 1e-5}
    batch = config.batch_size or 8
    return Settings(
        method=method,
        lr=config.lr or rates.get((method, small), 1e-4),
        batch_size=batch,
        micro_batch_size=batch if small else min(batch, 4 if gpu else 1),
        min_snr_gamma=None if small else 5.0,
        ema_decay=0.95 if small else 0.99,
        max_chunks=1 if small else 2,
        gradient_checkpointing=not small,
    )


def build_recipe(
    settings: Settings,
    config: FinetuneConfig,
    *,
    data: str,
    licence: str,
    mpp: float | None,
) -> dict[str, Any]:
    """The training recipe, as ``crafts train`` takes it; :func:`with_steps` makes it whole.

    Args:
        settings: by the model.
        config: of the run.
        data: folder of the latents.
        licence: of the trained weights.
        mpp: microns per pixel of the tiles as they were encoded; None: unknown.
    """
    stage = {
        "kind": "denoiser",
        "init_from": config.model,
        "lora": {"rank": 16} if settings.method == "lora" else None,
        "min_snr_gamma": settings.min_snr_gamma,
        "max_chunks": settings.max_chunks,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "licence": licence,
        "mpp": mpp,
    }
    return {
        "stage": stage,
        "data": {"kind": "latents", "folder": data},
        "optim": {
            "lr": settings.lr,
            "betas": [0.9, 0.99],
            "warmup_steps": 10,
            "schedule": "linear",
            "decay_from": 0.3,
            "final_fraction": 0.02,
        },
        "seed": config.seed,
        "global_batch_size": settings.batch_size,
        "micro_batch_size": settings.micro_batch_size,
        "ema_decay": settings.ema_decay,
        "precision": config.precision or "fp32",
        "device": config.device,
        "keep_checkpoints": 1,
    }


def with_steps(recipe: Mapping[str, Any], num_steps: int) -> dict[str, Any]:
    """A recipe for so many steps, with eight checkpoints on the way and forty lines of progress."""
    paced = {"checkpoint_every": -(-num_steps // 8), "say_every": max(1, num_steps // 40)}
    return {**recipe, "num_steps": num_steps, **paced}
