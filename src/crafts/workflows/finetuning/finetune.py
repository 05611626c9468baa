"""``crafts finetune``: a folder of tiles in, a model that knows them out, with a judge's word.

Each part of the chain lies in a folder of its own, and what is finished there is not made again:
the same command goes on with a run that was stopped at any moment.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crafts import api
from crafts.core import artifacts
from crafts.core.artifacts import hold_to, mark_of
from crafts.core.config import load_config
from crafts.core.errors import ConfigError
from crafts.core.runtime import counted, pick_device, say
from crafts.data.listing.tilesets import list_items
from crafts.model.bundle import Bundle
from crafts.workflows.finetuning.clock import (
    VARIANTS,
    Pace,
    Plan,
    describe_plan,
    measure_step,
    plan_encoding,
)
from crafts.workflows.finetuning.config import (
    FinetuneConfig,
    Settings,
    build_recipe,
    settings_for,
    with_steps,
)
from crafts.workflows.finetuning.judge import Judged, judge
from crafts.workflows.finetuning.sheet import write_report, write_sheet
from crafts.workflows.finetuning.tiles import (
    Tiles,
    encode_config,
    pack_tiles,
    write_classes,
    write_prompts,
)

CONFIG, PLAN, PROMPTS = "finetune.yaml", "plan.json", "prompts.csv"
RESULT, SHEET, REPORT, CLASSES = "result.json", "sheet.png", "report.html", "classes.csv"


@dataclass
class Job:
    """One run.

    Attributes:
        config: of the run.
        output: its folder.
        parent: the model that is fine-tuned, on its device.
        settings: by the size of the model.
        started: clock when the run began, or went on.
        pictures: seconds that the pictures before took.
    """

    config: FinetuneConfig
    output: Path
    parent: api.Model
    settings: Settings
    started: float = field(default_factory=time.monotonic)
    pictures: float = 0.0


def run(config: FinetuneConfig, inputs: Path, output: Path) -> artifacts.Manifest:
    """Pack, encode, train, picture, judge and audit.

    Args:
        config: see :class:`FinetuneConfig`.
        inputs: tiles in any layout that ``crafts pack`` reads.
        output: gets ``model/`` (ready for use), ``sheet.png``, ``report.html``, ``result.json``,
            ``classes.csv``, ``audit/``, the pictures in ``before/`` and ``after/``, the tiles in
            ``shards/``, and last ``manifest.json``.

    Raises:
        ConfigError: no such model or tiles, or an output that was begun otherwise.
        DataError: unusable tiles.
        InterruptedRunError: a signal came in training; the same command goes on.
        RetryError: another process holds the output, or the disk is full.
    """
    artifacts.refuse_other_run(output, "finetune", begun=mark_of(output, CONFIG))
    with artifacts.lock(output):
        hold_to(config, output / CONFIG)
        if (output / artifacts.MANIFEST).is_file():
            say(f"{output}: already finished")
            return artifacts.load_manifest(output)
        job = _open(config, output)
        say("finetune 1/6: tiles")
        plan, tiles = _prepare(job, inputs)
        say("finetune 2/6: pictures of the model as it is")
        kinds = write_prompts(tiles, config.images, output / PROMPTS)
        started = time.monotonic()
        _picture(job, job.parent, "before")
        job.pictures = time.monotonic() - started
        say("finetune 3/6: training")
        child = _train(job, plan, tiles)
        say("finetune 4/6: the same pictures by the new model")
        _picture(job, child, "after")
        say("finetune 5/6: has it improved?")
        judged = _judge(job, tiles, child.bundle)
        say("finetune 6/6: is anything a copy of your tiles?")
        audit = _audit(job, tiles)
        return _finish(job, tiles, kinds, judged=judged, audit=audit)


def _open(config: FinetuneConfig, output: Path) -> Job:
    parent = api.load(config.model, device=config.device)
    number = sum(p.numel() for p in parent.bundle.denoiser.parameters())
    gpu = pick_device(config.device).type == "cuda"
    if config.precision is None and gpu:
        config = config.model_copy(update={"precision": "bf16"})
    return Job(config, output, parent, settings_for(config, number, gpu=gpu))


def _prepare(job: Job, source: Path) -> tuple[Plan, Tiles]:
    """Packed and encoded tiles, as many and in as many variants as there is time for."""
    path, bundle = job.output / PLAN, job.parent.bundle
    plan = load_config(Plan, path) if path.is_file() else _plan(job, source)
    tiles = pack_tiles(job.config, source, job.output, most=plan.tiles)
    if plan.shards and plan.shards != tiles.fingerprint:
        raise ConfigError(
            str(source),
            came="other tiles than those this output was begun with",
            allowed="the same tiles and texts",
            do="Restore them, or choose another --output.",
        )
    plan = _keep(job, plan.model_copy(update={"shards": tiles.fingerprint}))
    if (job.output / "model" / artifacts.MANIFEST).is_file():
        return plan, tiles
    encoding = encode_config(bundle.native_size, plan.variants)
    variants = counted(plan.variants, "variant")
    say(f"finetune: {len(tiles.rows)} tiles are encoded in {variants} each")
    api.encode(encoding, tiles.shards, job.output / "latents", model=job.config.model)
    return plan, tiles


def _plan(job: Job, source: Path) -> Plan:
    """What the clock allows of encoding; nothing is left out where the user sets the steps."""
    if job.config.variants or job.config.num_steps:
        return Plan(variants=job.config.variants or VARIANTS)
    return plan_encoding(job.parent.bundle, len(list_items(source)), job.config.minutes)


def _keep(job: Job, plan: Plan) -> Plan:
    artifacts.write_bytes(job.output / PLAN, plan.model_dump_json(indent=1).encode())
    return plan


def _picture(job: Job, model: api.Model, name: str) -> None:
    values = {"manifest": job.output / PROMPTS, "model": model.bundle.name, "batch_size": 4}
    api.generate(values | {"device": job.config.device}, job.output / name, model=model)


def _train(job: Job, plan: Plan, tiles: Tiles) -> api.Model:
    """The new model: trained now, or finished by an earlier run."""
    model, training = job.output / "model", job.output / "training"
    if not (model / artifacts.MANIFEST).is_file():
        recipe = build_recipe(
            job.settings,
            job.config,
            data=str(job.output / "latents"),
            licence=job.config.licence or job.parent.licence,
            mpp=tiles.mpp(job.parent.bundle.native_size),
        )
        steps = plan.num_steps or job.config.num_steps
        if steps is None:
            steps = _affordable(job, plan, tiles, measure_step(with_steps(recipe, 1)))
        _keep(job, plan.model_copy(update={"num_steps": steps}))
        number, batch = counted(steps, "step"), counted(job.settings.batch_size, "tile")
        say(f"finetune: {job.settings.method} training, {number} of {batch}")
        api.train(with_steps(recipe, steps), training)
        os.rename(training / "model", model)
    shutil.rmtree(training / "checkpoints", ignore_errors=True)
    return api.load(model, device=job.config.device)


def _affordable(job: Job, plan: Plan, tiles: Tiles, step: float) -> int:
    """Steps that there is time for, by the seconds of one; says what the run comes to."""
    around = time.monotonic() - job.started + job.pictures
    pace = Pace(job.config.minutes, around, step)
    for line in describe_plan(plan, len(tiles.rows), pace):
        say(line)
    return pace.num_steps


def _say_late(job: Job) -> None:
    """By how much the minutes were passed, where they set the steps."""
    took = (time.monotonic() - job.started) / 60
    over = took - job.config.minutes
    if job.config.num_steps is None and over >= 0.1:
        say(f"finetune: took {took:.1f} min, {over:.1f} more than --minutes {job.config.minutes:g}")


def _judge(job: Job, tiles: Tiles, child: Bundle) -> Judged:
    sides = [sorted((job.output / name / "images").glob("*.png")) for name in ("before", "after")]
    return judge(tiles, *sides, parent=job.parent.bundle, child=child, seed=job.config.seed)


def _audit(job: Job, tiles: Tiles) -> artifacts.Manifest:
    values: dict[str, Any] = {
        "generated": job.output / "after",
        "train": tiles.shards,
        "device": job.config.device,
    }
    if tiles.judged:
        values |= {"heldout": tiles.shards, "heldout_split": tiles.judged}
    return api.audit(values, job.output / "audit")


def _finish(
    job: Job, tiles: Tiles, kinds: list[str], *, judged: Judged, audit: artifacts.Manifest
) -> artifacts.Manifest:
    output, copies = job.output, audit.counts["copies"]
    artifacts.write_bytes(output / RESULT, judged.to_json().encode())
    classes = write_classes(tiles, output / CLASSES)
    write_sheet(tiles, kinds, output, size=job.parent.bundle.native_size)
    write_report(output, judged, copies=copies, prompts=classes)
    names = [CONFIG, PLAN, PROMPTS, RESULT, CLASSES, SHEET, REPORT]
    names += [f"{part}/{artifacts.MANIFEST}" for part in ("shards", "model", "audit", "after")]
    manifest = artifacts.finish(
        output,
        stage="finetune",
        config=job.config,
        inputs={"tiles": tiles.fingerprint, "model": job.parent.bundle.fingerprint},
        counts={"tiles": len(tiles.rows), "images": judged.images, "copies": copies},
        extra={"verdict": judged.verdict, "licence": job.config.licence or job.parent.licence},
        only=names,
    )
    _say_late(job)
    say(judged.says)
    say(
        f"{copies} of {judged.images} pictures are copies of your tiles: {output}/audit/report.html"
    )
    example = next(iter(classes.values()))
    say(f'Next: crafts generate --model {output}/model --prompt "{example}" --output out/')
    return manifest
