"""Commands that make a model and draw from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crafts.commands.options import DryRun, Output, Overrides, done, drop_unset, fields_of, shown


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).", show_default=False)],
    output: Output,
    overrides: Overrides = [],
    resume: Annotated[
        Literal["auto", "never"], typer.Option(help="auto: go on from the newest checkpoint.")
    ] = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train a recipe: autoencoder, CLIP, denoiser, ControlNet or segmenter.

    --dry-run also counts parameters and, of denoiser and autoencoder, operations, memory and hours.
    """
    from crafts import api

    config = api.configure("train", recipe, overrides)
    if shown(config, dry_run):
        for line in api.estimate(config):
            typer.echo(f"# {line}")
    else:
        done(api.train(config, output, resume=resume), output)


def models(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="One of the package, or a folder.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for example tiles: two of each class, of seed 0."),
    ] = None,
) -> None:
    """What a model was trained on: classes, sets, licences, groups, words, with their counts."""
    from crafts import api

    for line in api.models(name):
        typer.echo(line)
    if output is not None:
        done(api.example_tiles(name, output), output)


@fields_of("generate")
def generate(
    output: Output, overrides: Overrides = [], dry_run: DryRun = False, **given: Any
) -> None:
    """Synthetic tiles from prompts, each with its provenance."""
    from crafts import api

    config = api.configure("generate", drop_unset(given), overrides)
    if shown(config, dry_run):
        typer.echo(f"# {api.describe_sampling(config)}")
    else:
        done(api.generate(config, output), output)
