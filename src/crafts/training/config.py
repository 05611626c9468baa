"""A recipe: what is trained, on what, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crafts.core.config import Config
from crafts.training.data import DataConfig
from crafts.training.tasks.config import StageConfig

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    """AdamW with warm-up and decay."""

    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: float = Field(
        0.01, ge=0, description="on matrices and kernels; biases and norms have none"
    )
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    decay_from: float = Field(
        0.0, ge=0, lt=1, description="fraction of the run after which decay begins"
    )
    final_fraction: float = Field(
        0.0, ge=0, le=1, description="learning rate at the end as a fraction of the peak"
    )
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")


class TrainConfig(Config):
    """A training run; a recipe is this as YAML."""

    stage: StageConfig
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    seed: int = Field(0, ge=0)
    num_steps: int = Field(gt=0, description="optimizer steps of the whole run")
    global_batch_size: int = Field(
        gt=0, description="samples per optimizer step over all processes"
    )
    micro_batch_size: int | None = Field(
        None, gt=0, description="samples per device pass; None: all at once"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1)
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    device: str = "auto"
    checkpoint_every: int = Field(500, gt=0, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    validate_every: int = Field(
        0, ge=0, description="steps between held-out losses; 0: only at the end"
    )
    sample_every: int = Field(
        0, ge=0, description="steps between grids of fixed prompts; 0: only at the end"
    )
    say_every: int = Field(20, gt=0, description="steps between lines of progress")
    max_skipped_in_a_row: int = Field(
        10, gt=0, description="steps with a non-finite gradient before giving up"
    )
    num_workers: int = Field(
        0,
        ge=0,
        le=64,
        description="processes that read, decode and move samples ahead of the step, for each "
        "process of training; 0: none. The weights do not depend on it",
    )
    tracker: Literal["none", "tensorboard"] = "none"
