"""What the commands share: options with one meaning everywhere, and what is printed of a stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from crafts.core.artifacts import Manifest
    from crafts.core.config import Config

Output = Annotated[Path, typer.Option("--output", help="Folder to write.", show_default=False)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="A.B=C", help="Override one field of the configuration; repeatable."
    ),
]


def said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said; the rest keeps the defaults of the configuration class."""
    return {name: value for name, value in values.items() if value is not None}


def shown(config: Config, dry_run: bool) -> bool:
    """Print the resolved configuration when that is all that was asked for.

    Returns:
        ``dry_run``: nothing is left to do.
    """
    if dry_run:
        from crafts.core.config import dump_config

        typer.echo(dump_config(config), nl=False)
    return dry_run


def ready(output: Path, *inputs: Path | None, model: str) -> None:
    """Refuse paths and models that are not there, before anything heavy is loaded.

    Raises:
        ConfigError: names the first that is mistyped.
    """
    from crafts.core.paths import check_places
    from crafts.model.files.places import resolve_model

    check_places(output, *inputs)
    resolve_model(model, network=True)


def done(manifest: Manifest, output: Path) -> None:
    """Print where a result lies and what was counted; of several processes the first speaks."""
    if os.environ.get("RANK", "0") != "0":  # set by torchrun
        return
    counts = ", ".join(f"{value} {name}" for name, value in manifest.counts.items())
    typer.echo(f"{output}: {counts or 'done'}")
