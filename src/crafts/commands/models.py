"""Commands that make a model and draw from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crafts.commands.options import DryRun, Output, Overrides, done, said, shown
from crafts.sampling.presets import describe_presets


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


def generate(
    output: Output,
    prompt: Annotated[list[str], typer.Option(metavar="TEXT", help="A prompt; repeatable.")] = [],
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="csv, jsonl, parquet: id,prompt[,negative_prompt,seed,num_images,guidance_scale,"
            "nuclei,fluorescence], or captions: file_name,text. A row's value holds before an "
            "option's; further columns go to metadata.csv."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="mini, a folder, or a hub id in the diffusers layout.")
    ] = "mini",
    num_images: Annotated[
        int | None,
        typer.Option(help="Images per prompt, where no column says it.", show_default="1"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same images.", show_default="0")
    ] = None,
    same_noise: Annotated[
        bool | None,
        typer.Option(
            "--same-noise",
            help="Rows of a manifest with one seed begin with one noise, to compare prompts; "
            "else the row's id decides it too.",
        ),
    ] = None,
    preset: Annotated[
        Literal["fast", "balanced", "paper"] | None,
        typer.Option(
            help=f"{describe_presets()}. A model with guidance of its own (mini: 3.5) takes that.",
            show_default="balanced",
        ),
    ] = None,
    num_steps: Annotated[
        int | None, typer.Option(help="Sampler steps.", show_default="the preset's")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="1.0 is off.", show_default="the model's or the preset's")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What to steer away from.", show_default="nothing")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="PX|WxH", help="In pixels.", show_default="the model's own"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images at once; changes speed, not images.", show_default="4"),
    ] = None,
    control: Annotated[
        list[str],
        typer.Option(
            metavar="KIND=IMAGE",
            help="nuclei=MASK or fluorescence=IMAGE decides where nuclei are, nuclei=sample:colon "
            "invents them for each image; repeatable. "
            "IMAGE@0.8,0-0.7: weight 0.8, in the first 70 % of the steps.",
        ),
    ] = [],
    shard: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Make the k-th of n shares; each needs its own --output."),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict", help="Refuse prompts with words that the model has met with no picture."
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Images a prompt that pass the quality gate, until N.")
    ] = None,
    overrides: Overrides = [],
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
        "same_noise": same_noise,
        "preset": preset,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "size": size,
        "batch_size": batch_size,
        "control": control or None,
        "shard": shard,
        "strict": strict,
        "keep": keep,
    }
    config = api.configure("generate", said(given), overrides)
    if shown(config, dry_run):
        typer.echo(f"# {api.describe_sampling(config)}")
    else:
        done(api.generate(config, output), output)
