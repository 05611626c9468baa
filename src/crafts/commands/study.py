"""Commands of a reader study, in the order in which they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from crafts.commands.options import (
    DryRun,
    Host,
    Output,
    Overrides,
    Port,
    done,
    drop_unset,
    require_extra,
    shown,
)

app = typer.Typer(
    help="Reader study: are generated tiles told from real ones, and what are they worth?",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Study = Annotated[Path, typer.Argument(help="Output of `study prepare`.", show_default=False)]


@app.command()
def prepare(
    output: Output,
    real: Annotated[Path, typer.Option(help="Held-out real tiles.", show_default=False)],
    generated: Annotated[Path, typer.Option(help="Generated tiles.", show_default=False)],
    readers: Annotated[int | None, typer.Option(help="Readers.", show_default="5")] = None,
    per_class: Annotated[
        int | None,
        typer.Option(help="Real items, and as many synthetic ones.", show_default="60"),
    ] = None,
    match: Annotated[
        Literal["label", "text", "none"] | None,
        typer.Option(
            help="Column that pairs share; shown beside the picture.", show_default="label"
        ),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="From 0.5: what would matter.", show_default="0.1")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all draws.", show_default="0")] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Blinded, matched items for readers; the plan fixed and the answers sealed."""
    given = {
        "real": real,
        "generated": generated,
        "readers": readers,
        "per_class": per_class,
        "match": match,
        "margin": margin,
        "seed": seed,
    }
    _run("prepare", given, overrides, output, dry_run)


@app.command()
def power(
    output: Output,
    half_width: Annotated[
        float | None, typer.Option(help="Wanted, of the 95 % interval.", show_default=False)
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Of equivalence with chance.", show_default=False)
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """How many readers and items a study needs."""
    _run("power", {"half_width": half_width, "margin": margin}, overrides, output, dry_run)


@app.command()
def simulate(
    study: Study,
    output: Output,
    seed: Annotated[int | None, typer.Option(help="Of all draws.", show_default="0")] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Simulated readers answer a study: to plan it, and to see its report beforehand."""
    _run("simulate", {"study": study, "seed": seed}, overrides, output, dry_run)


@app.command()
def serve(
    study: Study,
    output: Annotated[
        Path,
        typer.Option("--output", help="Folder of answers and of links.csv.", show_default=False),
    ],
    host: Host = None,
    port: Port = None,
    address: Annotated[
        str | None, typer.Option(help="How readers reach it, for the links.", show_default=False)
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Pages for readers, one secret link each; every answer is saved at once.

    The same command goes on with a study that was stopped.
    """
    from crafts import api

    given = {"study": study, "host": host, "port": port, "address": address}
    config = api.configure_study("serve", drop_unset(given), overrides)
    if not shown(config, dry_run):
        require_extra("crafts study serve", "serve")
        api.serve_study(config, output)


@app.command()
def close(
    study: Study,
    answers: Annotated[Path, typer.Option(help="Output of `study serve`.", show_default=False)],
    dry_run: DryRun = False,
) -> None:
    """Close a study for good, when its stopping rule says so; only then it can be analysed."""
    from crafts import api

    if dry_run:
        typer.echo(f"study: {study}\nanswers: {answers}")
        return
    done(api.close_study(study, answers), answers / "readings")


@app.command()
def analyze(
    study: Study,
    output: Output,
    readings: Annotated[
        Path, typer.Option(help="Output of serve, closed, or of simulate.", show_default=False)
    ],
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Figures with intervals, a report, and tables for other programs."""
    _run("analyze", {"study": study, "readings": readings}, overrides, output, dry_run)


def _run(
    step: str, given: Mapping[str, object], overrides: list[str], output: Path, dry_run: bool
) -> None:
    from crafts import api

    config = api.configure_study(step, drop_unset(given), overrides)
    if not shown(config, dry_run):
        done(api.study(config, output), output)
