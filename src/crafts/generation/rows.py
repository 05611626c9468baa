"""The rows of a run: those of its prompts and those of its manifest, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crafts.core.errors import ConfigError
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.config import GenerateConfig
from crafts.generation.manifest import (
    PromptRow,
    check_rows,
    load_rows,
    prompt_rows,
    unknown_columns,
)


def read_rows(config: GenerateConfig, source: Path | None, ledger: Ledger) -> list[PromptRow]:
    """Usable rows of this shard; the ledger is checked here, before hours go into sampling.

    Args:
        config: of the run; its prompts come first.
        source: manifest of prompts, if there is one.
        ledger: gets the rows that are not usable.

    Raises:
        ConfigError: neither prompts nor a manifest.
        DataError: an unusable manifest, or too many bad rows.
    """
    require_prompts(config, source)
    raw: list[Any] = list(prompt_rows(config.prompts))
    if source is not None:
        raw += load_rows(source)
        unknown = unknown_columns(raw)
        if unknown:
            shown = ", ".join(unknown)
            say(f"generate: {source}: columns that mean nothing here go to metadata.csv: {shown}")
    shard, _, shards = (config.shard or "1/1").partition("/")
    rows = check_rows(raw, ledger, (int(shard), int(shards)), len(config.prompts))
    for reject in ledger.rejects:
        say(f"generate: {reject['item']} is left out: {reject['reason']}")
    _say_overruled(config, rows)
    if ledger.num_listed or not raw:  # a shard beyond the last row is empty and fine
        ledger.check(config.max_reject_fraction)
    return rows


def require_prompts(config: GenerateConfig, source: Path | None) -> None:
    """Refuse a run that asks for nothing.

    Raises:
        ConfigError: neither prompts nor a manifest.
    """
    if not config.prompts and source is None:
        raise ConfigError(
            "generate",
            came="no prompt",
            allowed="--prompt TEXT or --manifest FILE",
            do="Say what to generate.",
        )


def _say_overruled(config: GenerateConfig, rows: Sequence[PromptRow]) -> None:
    """Say where a row's own value holds before one that was given for the run."""
    for name in ("seed", "num_images", "guidance_scale", "negative_prompt"):
        number = sum(getattr(row, name) is not None for row in rows)
        if number and name in config.model_fields_set:
            given = f"{getattr(config, name)!r} of the run, in {number} of {len(rows)} rows"
            say(f"generate: {name}: the column holds before {given}")
