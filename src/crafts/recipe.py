"""Recipes: the YAML of a training run, with a header that says command, cost and expectation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crafts.core.config import load_config

if TYPE_CHECKING:
    from crafts.training.config import TrainConfig


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe.

    Args:
        path: a YAML file.
        overrides: ``a.b=c`` strings.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown or out of bounds.
    """
    from crafts.training.config import TrainConfig

    return load_config(TrainConfig, Path(path), overrides)


def read_header(path: Path) -> str:
    """The comment lines that a recipe begins with, without their marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines)
