"""``metrics.jsonl`` and ``speed.jsonl`` always, a tracker if asked for.

Speeds have a file of their own, which no manifest lists: equal runs give equal manifests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError
from crafts.core.parsing import parse_json

METRICS, SPEEDS = "metrics.jsonl", "speed.jsonl"


class Metrics:
    """Appends rows to files of a run; rows of steps to be run again are dropped first.

    Args:
        output: folder of the run.
        step: first step that will be run.
        tracker: "none" or "tensorboard".

    Raises:
        ConfigError: the tracker is not installed.
    """

    def __init__(self, output: Path, step: int, tracker: str) -> None:
        self.path, self.speeds = output / METRICS, output / SPEEDS
        for path in (self.path, self.speeds):
            kept = [line + "\n" for line, row in _rows(path) if row["step"] < step]
            write_bytes(path, "".join(kept).encode())
        self._writer = _tensorboard(output / "tensorboard") if tracker == "tensorboard" else None

    def append(self, row: Mapping[str, float]) -> None:
        """Write one row; it has ``step`` and at least one number more."""
        self._write(self.path, row)

    def append_speed(self, row: Mapping[str, float]) -> None:
        """As :meth:`append`, for what differs between equal runs."""
        self._write(self.speeds, row)

    def _write(self, path: Path, row: Mapping[str, float]) -> None:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({name: _finite(value) for name, value in row.items()}) + "\n")
        if self._writer is not None:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, int(row["step"]))
            self._writer.flush()


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _rows(path: Path) -> list[tuple[str, dict[str, float]]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = parse_json(line)
            rows += [(line, row)] if isinstance(row["step"], int) else []
        except (ValueError, TypeError, KeyError):
            continue  # cut short by a kill: this step has no checkpoint and is run again
    return rows


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "train: tracker",
            came="tensorboard, which is not installed",
            allowed="an installed tracker",
            do="Run: pip install 'crafts[track]'",
        ) from None
    return SummaryWriter(str(folder))
