"""A recipe that trains in seconds: a very small model on painted tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crafts.core.config import load_config
from crafts.training.train import TrainConfig


@pytest.fixture
def recipe(tiny_model: Path) -> dict[str, Any]:
    """Eight steps of the denoiser, a checkpoint every two."""
    return {
        "stage": {"kind": "denoiser", "init_from": str(tiny_model)},
        "data": {"kind": "painted", "count": 12, "size": 32},
        "optim": {"lr": 1e-3, "warmup_steps": 2},
        "num_steps": 8,
        "global_batch_size": 4,
        "ema_decay": 0.9,
        "checkpoint_every": 2,
        "say_every": 4,
        "device": "cpu",
    }


def configure(recipe: dict[str, Any], *overrides: str) -> TrainConfig:
    """The validated recipe with overrides."""
    return load_config(TrainConfig, recipe, overrides)
