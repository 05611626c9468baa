"""The command that opens the studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crafts.commands.options import DryRun, Host, Overrides, Port, drop_unset, require_extra, shown


def serve(
    host: Host = None,
    port: Port = None,
    model: Annotated[
        str | None,
        typer.Option(help="mini, a folder, or a hub id on this disk.", show_default="mini"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the queue, the results and what is to be judged.",
            show_default="studio",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="One token a line; each sees its own only. Needed beyond loopback."),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(help="Output of `study prepare`; its readers come to /study/."),
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """The studio in the browser, and its HTTP interface under /api/v1."""
    from crafts.core.config import load_config
    from crafts.server.config import ServeConfig

    given = {
        "host": host,
        "port": port,
        "model": model,
        "data": data,
        "token_file": token_file,
        "study": study,
    }
    config = load_config(ServeConfig, drop_unset(given), overrides)
    if not shown(config, dry_run):
        require_extra("crafts serve", "serve")
        from crafts.server.serve import run

        run(config)
