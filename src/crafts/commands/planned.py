"""Commands that are not built yet: each says so in one line."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output

study = typer.Typer(
    help="Not built yet: reader study (prepare, serve, analyze).", rich_markup_mode=None
)


def benchmark(
    task: Annotated[
        Literal["classification", "retrieval", "ssl", "vqa"], typer.Argument(show_default=False)
    ],
    output: Output,
    dry_run: DryRun = False,
) -> None:
    """Not built yet: what generated tiles are worth in a downstream task."""
    from crafts import api

    api.benchmark({"task": task}, output)


@study.command("prepare")
def study_prepare(output: Output) -> None:
    """Not built yet: items for readers."""
    from crafts import api

    api.study({"step": "prepare"}, output)


@study.command("serve")
def study_serve(output: Output) -> None:
    """Not built yet: show items and record readings."""
    from crafts import api

    api.study({"step": "serve"}, output)


@study.command("analyze")
def study_analyze(output: Output) -> None:
    """Not built yet: report on the readings."""
    from crafts import api

    api.study({"step": "analyze"}, output)
