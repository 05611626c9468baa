"""A resumed run must be the run that was begun; anything else is refused with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from crafts.core import artifacts
from crafts.core.config import Config
from crafts.core.errors import ConfigError

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
    }
)


def refuse_foreign_output(output: Path) -> None:
    """Refuse an output folder that holds something else than a run of training.

    Raises:
        ConfigError: files without the run's ``config.yaml``, or the artifact of another stage.
    """
    if not output.exists() or (output / CONFIG).exists():
        return
    if artifacts.list_files(output) or (output / artifacts.MANIFEST).exists():
        raise ConfigError(
            str(output),
            came="files that no training run wrote",
            allowed="a new or empty folder, or a run to go on with",
            do="Choose another --output.",
        )


def refuse_other_recipe(config: Config, output: Path) -> None:
    """Refuse a recipe that differs from the begun one in a field that decides numbers.

    The micro-batch decides no number of the denoiser; the losses of the other stages look at all
    samples of a pass together, so there it does.

    Raises:
        ConfigError: names the first such field.
    """
    path = output / CONFIG
    if not path.exists():
        return
    before, now = yaml.safe_load(path.read_text(encoding="utf-8")), config.model_dump(mode="json")
    free = FREE | ({"micro_batch_size"} if now["stage"]["kind"] == "denoiser" else set())
    changed = [name for name in now if name not in free and before.get(name) != now[name]]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{output}: {name}",
            came=f"{now[name]!r}",
            allowed=f"{before.get(name)!r}, with which this run was begun",
            do="Restore the recipe, or train in another --output with stage.init_from.",
        )


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
