"""Commands that run several stages one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output, Overrides, done, drop_unset, ready, shown


def finetune(
    tiles: Annotated[
        Path, typer.Argument(help="Your tiles, in any layout that pack reads.", show_default=False)
    ],
    output: Output,
    minutes: Annotated[
        float, typer.Option(help="For all of it, by the speed measured on this machine.")
    ] = 10.0,
    model: Annotated[
        str, typer.Option(help="To begin with: mini, a folder, or a hub id.")
    ] = "mini",
    method: Annotated[
        Literal["lora", "full"] | None,
        typer.Option(
            help="All weights, or low-rank additions.",
            show_default="full for small models such as mini, lora for others",
        ),
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """A model of your own from your tiles: pack, encode, train, before/after sheet, judge, audit.

    The same command goes on with a run that was stopped.
    """
    from crafts.workflows.finetuning.config import configure

    given = {"minutes": minutes, "model": model, "method": method}
    config = configure(drop_unset(given), overrides)
    if not shown(config, dry_run):
        ready(output, tiles, model=model)
        from crafts.workflows.finetuning import finetune as chain

        done(chain.run(config, tiles, output), output)


def dataset(
    output: Output,
    classes: Annotated[
        Path | None,
        typer.Option(help="csv label,prompt[,tissue].", show_default="those of the model"),
    ] = None,
    per_class: Annotated[int, typer.Option(help="Pictures of each class.")] = 100,
    layout: Annotated[
        Literal["imagefolder", "hf", "webdataset", "coco"],
        typer.Option("--format", help="Whose reader shall open it."),
    ] = "imagefolder",
    model: Annotated[str, typer.Option(help="mini, a folder, or a hub id.")] = "mini",
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """A labelled set of synthetic tiles: gate, nuclei, splits, audit and card on the way.

    The same command goes on with a run that was stopped.
    """
    from crafts.workflows.labelled.config import configure

    given = {"classes": classes, "per_class": per_class, "format": layout, "model": model}
    config = configure(drop_unset(given), overrides)
    if not shown(config, dry_run):
        ready(output, classes, model=model)
        from crafts.workflows.labelled import dataset as chain

        done(chain.run(config, output), output)
