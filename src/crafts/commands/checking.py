"""Commands that look at what there is: the installation, generated tiles, the papers' questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crafts.commands.options import (
    DryRun,
    Output,
    Overrides,
    concluded,
    done,
    drop_unset,
    ready,
    shown,
)


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
    masks: Annotated[
        Path | None,
        typer.Option(help="Table file_name, mask: the nuclei that generated tiles should show."),
    ] = None,
    real_masks: Annotated[
        Path | None, typer.Option(help="Table file_name, mask: the nuclei of the real tiles.")
    ] = None,
    overrides: Overrides = [],
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
        "masks": masks,
        "real_masks": real_masks,
    }
    config = api.configure("evaluate", drop_unset(given), overrides)
    if not shown(config, dry_run):
        done(api.evaluate(config, output), output)

        from crafts.evaluation.page.verdict import sum_up
        from crafts.evaluation.results import Results

        found = (output / "metrics.json").read_text(encoding="utf-8")
        concluded(f"{sum_up(Results.model_validate_json(found))} Open", output)


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
    overrides: Overrides = [],
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
    config = api.configure("audit", drop_unset(given), overrides)
    if not shown(config, dry_run):
        done(api.audit(config, output), output)

        from crafts.auditing.page.verdict import sum_up
        from crafts.auditing.results import Results

        found = (output / "audit.json").read_text(encoding="utf-8")
        concluded(f"{sum_up(Results.model_validate_json(found))}; open", output)


def experiment(
    name: Annotated[
        str,
        typer.Argument(
            help="losses, ood, label-noise, stages, caption-length, text-encoder, content, "
            "guidance or screening.",
            show_default=False,
        ),
    ],
    output: Output,
    fast: Annotated[
        bool, typer.Option("--fast", help="Minutes instead of hours; the numbers say nothing.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Output of pack, or painted.", show_default="runs/shards"),
    ] = None,
    overrides: Overrides = [],
    dry_run: DryRun = False,
) -> None:
    """One of the papers' own questions: arms trained alike and judged side by side.

    The same command goes on with an experiment that was stopped.
    """
    from crafts import experiments

    config = experiments.configure(name, overrides, fast=fast, data=data)
    if not shown(config, dry_run):
        source = None if config.data == experiments.PAINTED else Path(config.data)
        ready(output, source, model=config.base.model)
        done(experiments.run(config, output), output)
