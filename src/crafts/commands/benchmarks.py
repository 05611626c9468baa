"""The command that asks what generated tiles are worth in a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output, Overrides, done, drop_unset, shown


def benchmark(
    task: Annotated[
        Literal["classification", "retrieval", "ssl", "vqa"], typer.Argument(show_default=False)
    ],
    output: Output,
    real: Annotated[
        Path | None,
        typer.Option(help="Real tiles with labels, patients and splits.", show_default=False),
    ] = None,
    generated: Annotated[
        list[Path],
        typer.Option(help="Folder of generated tiles; repeatable.", show_default=False),
    ] = [],
    external: Annotated[
        Path | None, typer.Option(help="Real tiles of another place, never trained on.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="mini, a folder, or a hub id: whose features.", show_default="mini"),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Minutes instead of hours, with wider intervals.")
    ] = False,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Whether generated tiles help in a task, beside controls that must not.

    Refuses a generator that has seen a test patient, and copies of real tiles.
    """
    from crafts import api
    from crafts.downstream.config import fast_settings

    given = {"real": real, "generated": generated, "external": external, "encoder": encoder}
    quick = fast_settings(task) if fast else {}
    config = api.configure("benchmark", {**quick, **drop_unset(given), "task": task}, overrides)
    if not shown(config, dry_run):
        done(api.benchmark(config, output), output)
