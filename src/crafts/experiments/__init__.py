"""The papers' own questions as experiments: arms that differ in one thing, judged side by side."""

from __future__ import annotations

from typing import Any

from crafts.experiments.settings import NAMES, PAINTED, ExperimentConfig, configure

__all__ = ["NAMES", "PAINTED", "ExperimentConfig", "configure", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":  # needs torch, which --help and --dry-run do without
        from crafts.experiments.experiment import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
