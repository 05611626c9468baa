"""A resumed run must be the run that was begun; anything else is refused with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crafts.core import artifacts
from crafts.core.config import Config, load_config
from crafts.core.errors import ConfigError
from crafts.training.objective.strength import STEERED
from crafts.training.session.checkpoints import list_checkpoints

CONFIG = "config.yaml"
# Fields that may differ between the legs of one run without changing its numbers.
FREE = frozenset(
    {
        "checkpoint_every",
        "keep_checkpoints",
        "validate_every",
        "sample_every",
        "say_every",
        "device",
        "tracker",
        "num_workers",
        "max_skipped_in_a_row",
    }
)


def refuse_foreign_output(output: Path) -> None:
    """Refuse an output folder that holds something else than a run of training.

    Raises:
        ConfigError: files without a checkpoint or the lock of a run, or the artifact of another
            stage.
    """
    if not list_checkpoints(output / "checkpoints") or (output / artifacts.MANIFEST).exists():
        artifacts.refuse_other_run(output, "train")


def refuse_other_recipe(config: Config, output: Path) -> None:
    """Refuse a recipe that differs from the begun one in a field that decides numbers.

    The micro-batch decides no number of the denoising loss; the other losses look at all samples of
    a pass together, so there it does.

    Raises:
        ConfigError: names the first such field.
    """
    path = output / CONFIG
    if not path.exists():
        return
    # fields that this version has and the file has not take the value that means "as before"
    begun = load_config(type(config), path)
    before, now = _leaves(begun.model_dump(mode="json")), _leaves(config.model_dump(mode="json"))
    together = now["stage.kind"] not in ("control", "denoiser") or any(
        now.get(f"stage.weights.{name}") for name in STEERED
    )
    free = FREE if together else FREE | {"micro_batch_size"}
    names = [name for name in {**before, **now} if name not in free]
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{output}: {name}",
            came=f"{now.get(name)!r}",
            allowed=f"{before.get(name)!r}, with which this run was begun",
            do="Restore the recipe, or train in another --output with stage.init_from.",
        )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names like ``stage.weights.l1``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and value
        found |= _leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def refuse_other_inputs(now: Mapping[str, str], before: Mapping[str, str], output: Path) -> None:
    """Refuse data or models that changed since the checkpoint was written.

    Raises:
        ConfigError: names the first input whose fingerprint differs.
    """
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{output}: input {name!r}",
            came=f"fingerprint {now[name][:12]}",
            allowed=f"{str(before.get(name))[:12]}, with which this run was begun",
            do="Restore it, or train in another --output with stage.init_from.",
        )
