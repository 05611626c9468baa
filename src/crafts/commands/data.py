"""Commands from slides and reports to latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output, Overrides, done, drop_unset, shown


def tile(
    slides: Annotated[
        Path, typer.Argument(help="Folder of slides, or one slide.", show_default=False)
    ],
    output: Output,
    mpp: Annotated[float, typer.Option(help="Microns per pixel of the tiles.")] = 0.5,
    size: Annotated[int, typer.Option(help="Edge of a tile in pixels.")] = 512,
    overlap: Annotated[int, typer.Option(help="Pixels shared by neighbours.")] = 0,
    mpp_csv: Annotated[
        Path | None, typer.Option(help="slide,mpp for slides that do not say it.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="slide,patient, so that splits are by patient.")
    ] = None,
    coordinates: Annotated[
        Path | None,
        typer.Option(help="Places to cut: folder of h5 (TRIDENT, CLAM), or csv: slide,x,y[,size]."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Tile the k-th of n shares.")
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Whole-slide images into tiles of a physical size, with coordinates."""
    from crafts import api

    given = {
        "mpp": mpp,
        "size": size,
        "overlap": overlap,
        "mpp_csv": mpp_csv,
        "patients": patients,
        "coordinates": coordinates,
        "shard": shard,
    }
    config = api.configure("tile", drop_unset(given), overrides)
    if not shown(config, dry_run):
        done(api.tile(config, slides, output), output)


def summarise(
    reports: Annotated[Path, typer.Argument(help="Folder or file of reports.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", help="File to write (jsonl).", show_default=False)
    ],
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a summary at most.", show_default="35")
    ] = None,
    backend: Annotated[
        Literal["extractive", "openai"] | None,
        typer.Option(help="Who summarises; extractive: rules, offline.", show_default="extractive"),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="mini, a folder, or a hub id: whose tokens count.", show_default="mini"),
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Short de-identified summaries of pathology reports, within a budget of tokens."""
    from crafts import api

    given = {"tokens": tokens, "backend": backend, "tokenizer": tokenizer}
    config = api.configure("summarise", drop_unset(given), overrides)
    if not shown(config, dry_run):
        done(api.summarise(config, reports, output), output)


def caption(
    tiles: Annotated[
        Path, typer.Argument(help="Output of tile, or tiles with metadata.", show_default=False)
    ],
    output: Output,
    summaries: Annotated[Path | None, typer.Option(help="Output of summarise.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Scores of tiles: csv, h5, GeoJSON, or a folder of them.")
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Captions for tiles, from summaries of their reports and scores; for pack to read."""
    from crafts import api

    config = api.configure("caption", {}, overrides)
    if not shown(config, dry_run):
        done(api.caption(config, tiles, output, summaries=summaries, scores=scores), output)


def pack(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of tiles with metadata, a csv, or WebDataset tars.", show_default=False
        ),
    ],
    output: Output,
    splits: Annotated[
        Path | None, typer.Option(help="patient,split for patients whose split is given.")
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Tiles and their text into hashed shards."""
    from crafts import api

    config = api.configure("pack", {}, overrides)
    if not shown(config, dry_run):
        done(api.pack(config, source, output, splits=splits), output)


def encode(
    shards: Annotated[Path, typer.Argument(help="Output of pack.", show_default=False)],
    output: Output,
    model: Annotated[
        str, typer.Option(help="Whose autoencoder: mini, a folder, or a hub id.")
    ] = "mini",
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """Shards into latents, once for all training."""
    from crafts import api

    config = api.configure("encode", {}, overrides)
    if not shown(config, dry_run):
        done(api.encode(config, shards, output, model=model), output)
