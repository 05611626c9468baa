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


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Not built yet: a server with a page and a REST interface."""
    from crafts import api

    api.not_yet("crafts serve", "the server")
