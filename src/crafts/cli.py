"""The command line: a thin skin over :mod:`crafts.api`.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once. Exit codes:
0 done, 2 wrong usage or configuration, 3 unusable input data, 75 trying again may help,
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from crafts.core.errors import (
    EXIT_DATA,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_RETRY,
    CraftsError,
)

app = typer.Typer(
    name="crafts",
    help="Text-to-image generation of histology tiles. For research only; not a medical device.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
study_app = typer.Typer(
    help="Not built yet: reader study (prepare, serve, analyze).", rich_markup_mode=None
)
app.add_typer(study_app, name="study")

# what the libraries below would say of their own inner life; a user may set it otherwise
QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}

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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every foreseen fault becomes one line on standard error.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app(arguments, prog_name="crafts")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_OK
    except CraftsError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _complain(str(error), EXIT_RETRY if full else EXIT_DATA)
    return EXIT_OK


@app.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of lines.")
    ] = False,
) -> None:
    """What is installed, what is missing, what adds it.

    Exits 2 when a package of the core is missing, 3 when shipped weights are damaged.
    """
    import json

    from crafts.doctor import compute_report, exit_code, format_report

    report = compute_report()
    typer.echo(json.dumps(report, indent=2) if as_json else format_report(report))
    raise typer.Exit(exit_code(report))


@app.command()
def generate(
    output: Output,
    prompt: Annotated[list[str], typer.Option(metavar="TEXT", help="A prompt; repeatable.")] = [],  # noqa: B006
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="csv, jsonl, parquet: id,prompt[,negative_prompt,seed,num_images,guidance_scale,"
            "nuclei,fluorescence]"
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="mini, a folder, or a hub id in the diffusers layout.")
    ] = "mini",
    num_images: Annotated[int | None, typer.Option(help="Images per prompt.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same images.")] = None,
    preset: Annotated[
        Literal["fast", "balanced", "paper"] | None,
        typer.Option(help="Sampler, steps and guidance together."),
    ] = None,
    num_steps: Annotated[
        int | None, typer.Option(help="Sampler steps, instead of the preset's.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="1.0 is off; instead of the preset's.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to steer away from.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="PX|WxH", help="In pixels; the model's own size.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images at once; changes speed, not images.")
    ] = None,
    control: Annotated[
        list[str],
        typer.Option(
            metavar="KIND=IMAGE",
            help="nuclei=MASK or fluorescence=IMAGE decides where nuclei are; repeatable. "
            "IMAGE@0.8,0-0.7: weight 0.8, in the first 70 % of the steps.",
        ),
    ] = [],  # noqa: B006
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Make the k-th of n shares.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Images a prompt that pass the quality gate, until N.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Synthetic tiles from prompts, each with its provenance."""
    from crafts import api

    given = {
        "prompts": prompt or None,
        "manifest": manifest,
        "model": model,
        "num_images": num_images,
        "seed": seed,
        "preset": preset,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "size": size,
        "batch_size": batch_size,
        "control": control or None,
        "shard": shard,
        "keep": keep,
    }
    config = api.configure("generate", _said(given), overrides)
    if not _shown(config, dry_run):
        _done(api.generate(config, output), output)


@app.command()
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
    overrides: Overrides = [],  # noqa: B006
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
    config = api.configure("tile", _said(given), overrides)
    if not _shown(config, dry_run):
        _done(api.tile(config, slides, output), output)


@app.command()
def summarise(
    reports: Annotated[Path, typer.Argument(help="Folder or file of reports.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", help="File to write (jsonl).", show_default=False)
    ],
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a summary at most; 35 by default.")
    ] = None,
    backend: Annotated[
        Literal["extractive", "openai"] | None,
        typer.Option(help="Who summarises; extractive (rules, offline) by default."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="mini, a folder, or a hub id: whose tokens count.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Short de-identified summaries of pathology reports, within a budget of tokens."""
    from crafts import api

    given = {"tokens": tokens, "backend": backend, "tokenizer": tokenizer}
    config = api.configure("summarise", _said(given), overrides)
    if not _shown(config, dry_run):
        _done(api.summarise(config, reports, output), output)


@app.command()
def caption(
    tiles: Annotated[
        Path, typer.Argument(help="Output of tile, or tiles with metadata.", show_default=False)
    ],
    output: Output,
    summaries: Annotated[Path | None, typer.Option(help="Output of summarise.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Scores of tiles: csv, h5, GeoJSON, or a folder of them.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Captions for tiles, from summaries of their reports and scores; for pack to read."""
    from crafts import api

    config = api.configure("caption", {}, overrides)
    if not _shown(config, dry_run):
        _done(api.caption(config, tiles, output, summaries=summaries, scores=scores), output)


@app.command()
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
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Tiles and their text into hashed shards."""
    from crafts import api

    config = api.configure("pack", {}, overrides)
    if not _shown(config, dry_run):
        _done(api.pack(config, source, output, splits=splits), output)


@app.command()
def encode(
    shards: Annotated[Path, typer.Argument(help="Output of pack.", show_default=False)],
    output: Output,
    model: Annotated[
        str, typer.Option(help="Whose autoencoder: mini, a folder, or a hub id.")
    ] = "mini",
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Shards into latents, once for all training."""
    from crafts import api

    config = api.configure("encode", {}, overrides)
    if not _shown(config, dry_run):
        _done(api.encode(config, shards, output, model=model), output)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).", show_default=False)],
    output: Output,
    overrides: Overrides = [],  # noqa: B006
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
    if _shown(config, dry_run):
        for line in api.estimate(config):
            typer.echo(f"# {line}")
    else:
        _done(api.train(config, output, resume=resume), output)


@app.command()
def evaluate(
    output: Output,
    generated: Annotated[Path, typer.Option(help="Folder of generated tiles.", show_default=False)],
    real: Annotated[
        Path, typer.Option(help="Held-out real tiles, or .npz statistics.", show_default=False)
    ],
    training: Annotated[
        Path | None, typer.Option("--train", help="Folder of training tiles.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="mini, a folder, a hub id, or weights of the FID Inception.")
    ] = "mini",
    only_good: Annotated[
        bool, typer.Option("--filter", help="Also keep what the quality gate passes, in kept/.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """How good generated tiles are, always beside real ones."""
    from crafts import api

    given = {
        "generated": generated,
        "real": real,
        "train": training,
        "encoder": encoder,
        "filter": only_good,
    }
    config = api.configure("evaluate", _said(given), overrides)
    if not _shown(config, dry_run):
        _done(api.evaluate(config, output), output)


@app.command()
def audit(
    output: Output,
    generated: Annotated[Path, typer.Option(help="Folder of generated tiles.", show_default=False)],
    training: Annotated[
        Path, typer.Option("--train", help="Folder of training tiles.", show_default=False)
    ],
    heldout: Annotated[
        Path | None, typer.Option(help="Folder of tiles the model has not seen.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to be attacked: mini, a folder, or a hub id.")
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Exit 3 above this share of copies, 0 to 1."),
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """Copies of training tiles among generated ones, and what a model gives away of them."""
    from crafts import api

    given = {
        "generated": generated,
        "train": training,
        "heldout": heldout,
        "model": model,
        "fail_above": fail_above,
    }
    config = api.configure("audit", _said(given), overrides)
    if not _shown(config, dry_run):
        _done(api.audit(config, output), output)


@app.command()
def experiment(
    name: Annotated[
        str,
        typer.Argument(
            help="losses, ood, label-noise, stages, caption-length, text-encoder or content.",
            show_default=False,
        ),
    ],
    output: Output,
    fast: Annotated[
        bool, typer.Option("--fast", help="Minutes instead of hours; the numbers say nothing.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Output of pack, or painted; runs/shards by default.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    dry_run: DryRun = False,
) -> None:
    """One of the papers' own questions: arms trained alike and judged side by side.

    The same command goes on with an experiment that was stopped.
    """
    from crafts import experiments

    config = experiments.configure(name, overrides, fast=fast, data=data)
    if not _shown(config, dry_run):
        _done(experiments.run(config, output), output)


@app.command()
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


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Not built yet: a server with a page and a REST interface."""
    from crafts import api

    api.not_yet("crafts serve", "the server")


@study_app.command("prepare")
def study_prepare(output: Output) -> None:
    """Not built yet: items for readers."""
    from crafts import api

    api.study({"step": "prepare"}, output)


@study_app.command("serve")
def study_serve(output: Output) -> None:
    """Not built yet: show items and record readings."""
    from crafts import api

    api.study({"step": "serve"}, output)


@study_app.command("analyze")
def study_analyze(output: Output) -> None:
    """Not built yet: report on the readings."""
    from crafts import api

    api.study({"step": "analyze"}, output)


def _complain(message: str, code: int) -> int:
    print(f"crafts: {' '.join(message.split())}", file=sys.stderr)
    return code


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said; the rest keeps the defaults of the configuration class."""
    return {name: value for name, value in values.items() if value is not None}


def _shown(config: Any, dry_run: bool) -> bool:
    """Print the resolved configuration when that is all that was asked for."""
    if dry_run:
        from crafts.core.config import dump_config

        typer.echo(dump_config(config), nl=False)
    return dry_run


def _done(manifest: Any, output: Path) -> None:
    counts = ", ".join(f"{value} {name}" for name, value in manifest.counts.items())
    typer.echo(f"{output}: {counts or 'done'}")


if __name__ == "__main__":
    main()
