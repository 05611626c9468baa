"""Commands that are not built yet: each says so in one line."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output


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
