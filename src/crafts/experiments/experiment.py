"""Stage: an experiment from its name to a table, a picture and a verdict in plain words.

Each arm with each seed has a folder of its own, and what lies there is not made again, so that the
same command goes on with an experiment that was stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crafts.core import artifacts
from crafts.core.artifacts import hold_to
from crafts.core.runtime import say
from crafts.experiments.arms.starts import build_base, with_text
from crafts.experiments.arms.training import (
    StepCost,
    make_images,
    run_leg,
    step_costs,
    train_second_text,
)
from crafts.experiments.catalogue import Arm, Experiment, Leg, load_experiment
from crafts.experiments.corpus.tiles import (
    Tiles,
    encode_training,
    open_tiles,
    write_classes,
    write_view,
)
from crafts.experiments.corpus.views import Wishes, view_rows
from crafts.experiments.judging.measures import Judge, Measures
from crafts.experiments.judging.results import Outcomes, write_results
from crafts.experiments.settings import ExperimentConfig
from crafts.model.bundle import Bundle, load_bundle

CONFIG, MEASURES = "experiment.yaml", "measures.json"
_BASE_SEED = 9_000
_LEG_SEED = 100_000  # between legs, so that a second one does not repeat the draws of the first
_RECORDED = (
    "ratio_semantic", "ratio_category", "effective_pairs", "weight_spread", "likeness",
)  # fmt: skip


@dataclass(frozen=True)
class Lab:
    """All that the arms share."""

    config: ExperimentConfig
    experiment: Experiment
    output: Path
    bundle: Bundle
    tiles: Tiles
    wishes: Wishes
    judge: Judge


def run(config: ExperimentConfig, output: Path) -> artifacts.Manifest:
    """Train every arm with every seed from one checkpoint, judge them, compare them.

    Args:
        config: see :class:`crafts.experiments.settings.ExperimentConfig`.
        output: gets ``results.json``, ``table.md``, ``montage.png``, and ``data``, ``base`` and
            ``runs``, from which a stopped experiment goes on.

    Raises:
        ConfigError: the configuration, or another experiment's output.
        DataError: tiles without classes or held-out patients.
        InterruptedRunError: a signal came; the same command goes on.
        RetryError: another process holds the output, or the disk is full.
    """
    experiment = load_experiment(config)
    artifacts.refuse_other_run(output, "experiment")
    with artifacts.lock(output):
        hold_to(config, output / CONFIG)
        if (output / artifacts.MANIFEST).is_file():
            say(f"{output}: already finished")
            return artifacts.load_manifest(output)
        lab = _open(config, experiment, output)
        _say_plan(lab)
        base = _train_base(lab)
        found = _run_arms(lab, base)
        for line in write_results(lab.config, experiment, found=found, output=output):
            print(line)
        names = ["results.json", "table.md", "montage.png", CONFIG]
        return artifacts.finish(
            output,
            stage="experiment",
            config=config,
            inputs={"data": artifacts.fingerprint(lab.tiles.shards.folder)},
            counts={
                "arms": len(experiment.arms),
                "seeds": len(config.seeds),
                "prompts": len(lab.tiles.prompts),
                "training": len(lab.tiles.training),
            },
            only=names,
        )


def _open(config: ExperimentConfig, experiment: Experiment, output: Path) -> Lab:
    """Start checkpoint, tiles, judge."""
    bundle = load_bundle(build_base(config, output))
    tiles = open_tiles(
        config,
        output,
        factor=bundle.codec.factor,
        only_left_out=experiment.only_left_out,
        split=experiment.split,
    )
    write_classes(tiles, output)
    wishes = Wishes(
        config.wrong_labels, config.wrong_captions, tiles.left_out, bundle.text.count_tokens
    )
    return Lab(config, experiment, output, bundle, tiles, wishes, Judge(config, tiles))


def _train_base(lab: Lab) -> Path:
    """The shared checkpoint."""
    model = lab.output / "base" / "start"
    steps = lab.config.base.num_steps
    if steps:
        config = lab.config.model_copy(update={"num_steps": steps})
        for number, leg in enumerate(lab.experiment.base_legs, 1):
            folder = lab.output / "base" / f"leg-{number}"
            seed = _BASE_SEED + _LEG_SEED * (number - 1)
            model = _train(lab, leg, config, start=model, seed=seed, folder=folder)
    return model


def _train(
    lab: Lab, leg: Leg, config: ExperimentConfig, *, start: Path, seed: int, folder: Path
) -> Path:
    degraded = leg.view == "figures"
    latents = encode_training(lab.tiles, lab.output, codec=lab.bundle.codec, degraded=degraded)
    data = write_view(leg.view, latents, lab.output, lab.wishes)
    return run_leg(leg, config, start=start, data=data, seed=seed, output=folder)


def _run_arms(lab: Lab, base: Path) -> Outcomes:
    """Seed by seed, all arms, so that a stopped experiment has whole comparisons."""
    values: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in lab.experiment.arms}
    files: dict[str, list[list[Path]]] = {arm.name: [] for arm in lab.experiment.arms}
    total, done = len(values) * len(lab.config.seeds), 0
    for seed in lab.config.seeds:
        for arm in lab.experiment.arms:
            folder = lab.output / "runs" / arm.name.replace(" ", "-") / f"seed-{seed}"
            done += 1
            say(f"arm {arm.name!r}, seed {seed} ({done} of {total})")
            values[arm.name].append(_run_arm(lab, arm, base, seed=seed, folder=folder))
            files[arm.name].append(_images(lab, folder))
    for arm in lab.experiment.arms:
        measured = lab.judge.measure(files[arm.name])
        for value, measures in zip(values[arm.name], measured, strict=True):
            value["measures"] |= measures
    first = {name: seeds[0] for name, seeds in files.items()}
    references = lab.judge.references(first[lab.experiment.baseline.name])
    references["shared checkpoint"] = _judge_base(lab, base)
    prompts = {
        arm.name: [row["text"] for row in _rows_of(lab, arm.prompts, lab.judge.rows)]
        for arm in lab.experiment.arms
    }
    return Outcomes(lab.tiles, values, references, first, prompts, _costs(lab, base))


def _run_arm(lab: Lab, arm: Arm, base: Path, *, seed: int, folder: Path) -> dict[str, Any]:
    """Images of one arm with one seed; its losses, and what its training recorded."""
    path = folder / MEASURES
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    model = _text_start(lab, arm, base)
    for number, leg in enumerate(arm.legs, 1):
        inner = folder / f"leg-{number}"
        drawn = seed + _LEG_SEED * (number - 1)
        model = _train(lab, leg, lab.config, start=model, seed=drawn, folder=inner)
    texts = [str(row["text"]) for row in _rows_of(lab, arm.prompts, lab.judge.rows)]
    config = lab.config.model_copy(
        update={"guidance_scale": arm.guidance or lab.config.guidance_scale}
    )
    make_images(texts, config, model=model, seed=seed, output=folder / "images")
    words = [str(row["text"]) for row in _rows_of(lab, arm.prompts, lab.judge.loss_rows)]
    measures = lab.judge.losses(model, words, seed=seed)
    counts = [lab.wishes.count_tokens(text) for text in texts]
    training = _recorded(folder / f"leg-{len(arm.legs)}") if arm.legs else {}
    value = {
        "measures": measures,
        "training": training | {"prompt_tokens": sum(counts) / len(counts)},
    }
    artifacts.write_bytes(path, json.dumps(value, indent=1).encode())
    return value


def _text_start(lab: Lab, arm: Arm, base: Path) -> Path:
    second = None
    if arm.text == "second":
        encode_training(lab.tiles, lab.output, codec=lab.bundle.codec)
        second = train_second_text(lab.config, lab.output)
    return with_text(arm.text, base, lab.output, second=second)


def _judge_base(lab: Lab, base: Path) -> Measures:
    """Images of the shared checkpoint, before any arm."""
    view, seed = lab.experiment.baseline.prompts, lab.config.seeds[0]
    texts = [str(row["text"]) for row in _rows_of(lab, view, lab.judge.rows)]
    folder = lab.output / "base" / "images"
    images = make_images(texts, lab.config, model=base, seed=seed, output=folder)
    return lab.judge.measure([images])[0]


def _images(lab: Lab, folder: Path) -> list[Path]:
    return [
        folder / "images" / "images" / f"{number:04d}-0.png"
        for number in range(len(lab.tiles.prompts))
    ]


def _rows_of(lab: Lab, view: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return view_rows(view, rows, lab.wishes)


def _costs(lab: Lab, base: Path) -> list[StepCost]:
    if not lab.experiment.with_cost:
        return []
    tokens = sorted(int(arm.prompts.partition(":")[2]) for arm in lab.experiment.arms)
    return step_costs(base, tokens, batch_size=lab.config.batch_size)


def _recorded(leg: Path) -> dict[str, float]:
    """Means over a leg of what the losses recorded, where they did."""
    rows = [
        json.loads(line)
        for line in (leg / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    found = {}
    for name in _RECORDED:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            found[name] = sum(values) / len(values)
    return found


def _say_plan(lab: Lab) -> None:
    """What will be done, and how long it takes by a few steps timed here."""
    config, experiment, tiles = lab.config, lab.experiment, lab.tiles
    runs = len(experiment.arms) * len(config.seeds)
    steps = (
        f" of {config.num_steps} steps of {config.batch_size} crops" if experiment.trains else ""
    )
    say(f"{config.name}: {experiment.question}")
    say(f"  arms: {', '.join(arm.name for arm in experiment.arms)} (the first is the baseline)")
    say(
        f"  {runs} runs{steps}, "
        f"{len(tiles.training)} training tiles, {len(tiles.classes)} classes, "
        f"{len(tiles.prompts)} prompts of held-out patients"
    )
    if experiment.only_left_out:
        say(f"  left out: {', '.join(tiles.left_out)}")
    say(f"  about {estimate_minutes(lab):.0f} minutes where nothing else runs")


def estimate_minutes(lab: Lab) -> float:
    """Minutes of all runs, from the time of a step and of a tile on this machine."""
    config = lab.config
    runs = len(lab.experiment.arms) * len(config.seeds)
    (cost,) = step_costs(lab.output / "base" / "start", [77], batch_size=config.batch_size)
    base = config.base.num_steps * len(lab.experiment.base_legs)
    steps = base + (runs * config.num_steps if lab.experiment.trains else 0)
    tile = torch.zeros(1, 3, 2 * lab.tiles.size, 2 * lab.tiles.size)
    started = time.perf_counter()
    with torch.inference_mode():
        lab.bundle.codec.encode(tile)
    encoding = (time.perf_counter() - started) * len(lab.tiles.training)
    passes = (runs + 1) * len(lab.tiles.prompts) * 2 * config.sampler_steps
    passes += runs * config.num_losses * 10
    seconds = 1.2 * steps * cost.seconds + passes * cost.seconds / (3 * config.batch_size)
    return (seconds + encoding + 5 * runs) / 60
