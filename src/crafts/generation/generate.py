"""Stage: prompts or a manifest in, image files with provenance out. Interrupted runs go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from crafts.conditions.references import move_reference
from crafts.conditions.wishes import move_option, parse_given, parse_options
from crafts.core.artifacts import (
    Manifest,
    finish,
    lock,
    refuse_other_run,
    relative_to,
    sha256_file,
)
from crafts.core.config import takes, validate
from crafts.core.crew import Hands
from crafts.core.errors import ConfigError
from crafts.core.protocols import Accept, UnknownTo
from crafts.core.records import Ledger, rejects_beside
from crafts.generation.canvas import parse_size
from crafts.generation.editing import refuse_misfits
from crafts.generation.export import PROVENANCE
from crafts.generation.images import Make, keep_accepted, make, say_cut
from crafts.generation.manifest import PromptRow, read_rows
from crafts.generation.pairs import items_before, write_pairs
from crafts.generation.plan import Plan, fills_passes, open_model, with_loras_of
from crafts.generation.request import INCIDENTAL, GenerateConfig, ImageRequest
from crafts.generation.slides import (
    WORK,
    make_slides,
    plan_canvases,
    refuse_other_slides,
    refuse_wishes,
    region_rows,
)
from crafts.generation.wording import check_words, describe_words, leave_out_unjudged
from crafts.generation.workers import Workers, open_workers
from crafts.generation.writer import (
    Made,
    begin,
    refuse_other_request,
    refuse_other_shard,
    remove_stale,
    write_grid,
    write_masks,
    write_metadata,
)
from crafts.sampling.sampler import iter_images

if TYPE_CHECKING:
    from crafts.model.bundle import Bundle


def run(
    config: GenerateConfig,
    inputs: Path | None,
    output: Path,
    *,
    bundle: Bundle | None = None,
    accept: Accept | None = None,
    unknown_to: UnknownTo | None = None,
) -> Manifest:
    """Make the images that prompts and a manifest ask for.

    An image that lies in ``output`` and carries the hash of the same request is not made again, so
    an interrupted run goes on where it stopped. Images that a changed request does not ask for any
    more are removed, but never all of them.

    Args:
        config: see :class:`crafts.generation.request.GenerateConfig`.
        inputs: prompt manifest; ``config.manifest`` when None.
        output: gets ``images/<id>-<k>.png``, ``masks/<id>-<k>.png`` where nuclei control,
            ``metadata.csv``, ``grid.png``, ``rejects.jsonl`` and last ``manifest.json``. Beyond
            one tile a slide with ``labels/``, ``prompts.geojson``, ``preview.png`` and
            ``provenance.json``; each of several in a folder ``slides/<id>-<k>/``.
        bundle: the model; loaded from ``config.model`` when None.
        accept: quality gate of ``config.keep``.
        unknown_to: words that the gate cannot judge; rows whose prompt has one are left out.

    Raises:
        ConfigError: no prompts, an output folder that is foreign, of another shard or of another
            request, ``keep`` without a gate, words that the model cannot know under ``strict``, or
            a wish that it cannot meet, as a size that is no multiple of the latents.
        DataError: an unusable manifest, or too many bad rows, also such as the gate lets down;
            what is made stays in ``output``.
        RetryError: another run holds the output folder, or the disk is full.
    """
    _refuse_no_gate(config, accept)
    parse_options(config.control)  # what is wrong there is told before a model is opened
    source = inputs or config.manifest
    ledger = Ledger("generate", rejects_beside(output))
    rows = read_rows(config, source, ledger)
    refuse_other_run(output, "generate")
    refuse_other_shard(output, config.shard)
    hands = open_workers(config, in_memory=bundle is not None)
    plan = Plan(config, open_model(config, bundle), source, full_passes=fills_passes(config, rows))
    bundle = plan.bundle
    if parse_size(config.size, bundle) is not None:
        refuse_wishes(config)
    check_words(plan.wording, rows)
    usable = leave_out_unjudged(rows, unknown_to, ledger) if config.keep else rows
    usable = plan.prepare(usable, ledger)
    usable, canvases = plan_canvases(plan, usable, source.parent if source else Path(), ledger)
    if regions := region_rows(usable, canvases):
        check_words(plan.wording, regions)
    if len(usable) < len(rows):
        ledger.check(config.max_reject_fraction)
    fingerprints = {"model": bundle.fingerprint} | {
        f"control-{kind}": control.fingerprint for kind, control in plan.steering.networks.items()
    }
    if source:
        fingerprints["manifest"] = sha256_file(source)
    for name, path in (("inpaint", config.inpaint), ("mask", config.mask)):
        if path is not None:
            fingerprints[name] = sha256_file(path)
    if config.prompt_map and canvases:
        fingerprints["prompt_map"] = sha256_file(config.prompt_map)
    refuse_misfits(plan.editing, usable, canvas=bool(canvases))
    with lock(output):
        refuse_other_shard(output, config.shard)  # one may have ended while the model was opened
        refuse_other_slides(output, canvases)
        if not canvases:
            refuse_other_request(output, plan, usable)
        begin(output, config.shard, WORK if canvases else "images")
        made, tried = (
            (make_slides(canvases, output), {})
            if canvases
            else _make_all(plan, usable, output, ledger, accept=accept, hands=hands)
        )
        said = {**describe_words(plan.wording, [*usable, *regions]), **_yield(made, tried)}
        return _close(plan, made, said, output=output, ledger=ledger, inputs=fingerprints)


def _close(
    plan: Plan,
    made: Sequence[Made],
    said: Mapping[str, Any],
    *,
    output: Path,
    ledger: Ledger,
    inputs: Mapping[str, str],
) -> Manifest:
    """Bring the folder to its end: what lies beside the images, and last the manifest."""
    ledger.write(output / "rejects.jsonl")
    if "yield" in said:
        ledger.check(plan.config.max_reject_fraction)
        remove_stale(output, {entry.item.name for entry in made})
    items = [entry.item for entry in made]
    make(plan, items_before(plan, items), output)
    beside = write_pairs(output, items)
    masks = write_masks(output, plan.steering, {item.name: item.draw.conditions for item in items})
    for image, mask in masks.items():
        beside[image] = {"mask": mask} | beside.get(image, {})
    write_metadata(output / "metadata.csv", made, beside)
    write_grid(output, made, plan.steering)
    return finish(
        output,
        stage="generate",
        # a path says nothing of a model; its name and the fingerprint among the inputs do
        config=plan.config.model_dump(mode="json", exclude=set(INCIDENTAL))
        | {
            "model": plan.common.model,
            "control": [move_option(text, output) for text in plan.config.control],
            "lora": [Path(text).name for text in plan.config.lora],
            "stain": _as_seen_from(output, plan.config.stain),
            "reference": [move_reference(text, output) for text in plan.config.reference],
            "inpaint": _as_seen_from(output, plan.config.inpaint),
            "mask": _as_seen_from(output, plan.config.mask),
        },
        inputs=inputs,
        counts={**ledger.counts(), "images": len(made)},
        extra={**_facts(plan, made), **said},
    )


@takes(ImageRequest)
def generate_images(
    bundle: Bundle,
    prompts: Sequence[str] | str,
    *,
    control: Mapping[str, Any] | None = None,
    inpaint: Any = None,
    mask: Any = None,
    **options: Any,
) -> list[Image.Image]:
    """Images in memory: those of the first prompt, then those of the second, ...

    Args:
        bundle: the model, on its device.
        prompts: texts to follow.
        control: kind -> what steers all images; see ``parse_given``.
        inpaint: picture that is edited: a path, a Pillow image or uint8 [H, W, 3].
        mask: white or true where it is made anew: a path, a Pillow image or [H, W].
        **options: fields of :class:`ImageRequest`.

    Raises:
        ConfigError: an empty prompt, a value out of bounds, a control that cannot be used, or
            under ``strict`` a word that the model cannot know.
        DataError: an unusable control image.
    """
    request = validate(ImageRequest, {"prompts": prompts, **options}, "generate")
    config = GenerateConfig(**dict(request))
    ledger = Ledger("generate")
    rows = read_rows(config, None, ledger)
    _check_size(config, bundle)
    bundle = with_loras_of(bundle, config)
    plan = Plan(config, bundle, control=parse_given(control or {}), given=(inpaint, mask))
    check_words(plan.wording, rows)
    plan.prepare(rows, ledger)
    refuse_misfits(plan.editing, rows, canvas=False)
    items = [item for row in rows for item in plan.items(row, range(config.num_images))]
    draws = [item.draw for item in items]
    images: dict[int, Image.Image] = {}
    batches = iter_images(
        bundle,
        draws,
        plan.preset,
        batch_size=config.batch_size,
        conditioners=plan.steering.conditioners,
    )
    for batch in batches:
        for index, conditioning, pixels in batch:
            stained, provenance = items[index].finish(pixels, conditioning.cut)
            images[index] = Image.fromarray(stained)
            images[index].info[PROVENANCE] = provenance
            say_cut(draws[index], conditioning.cut, conditioning.negative_cut)
    return [images[index] for index in range(len(draws))]


def _refuse_no_gate(config: GenerateConfig, accept: Accept | None) -> None:
    if config.keep is not None and accept is None:
        raise ConfigError(
            "generate: keep",
            came=f"{config.keep} images to keep and no quality gate",
            allowed="a gate, handed in as `accept`",
            do="Call crafts.generate or the command line, which hand in the one in the package.",
        )


def _as_seen_from(folder: Path, path: Path | None) -> str | None:
    return None if path is None else relative_to(folder, str(path))


def _check_size(config: ImageRequest, bundle: Bundle) -> None:
    if parse_size(config.size, bundle) is not None:
        raise ConfigError(
            "generate: size",
            came=f"{config.size}, beyond one tile, for pictures in memory",
            allowed=f"{bundle.native_size}, the tile of this model",
            do="Use crafts.generate or `crafts generate`, which write slides to a folder.",
        )


def _make_all(
    plan: Plan,
    rows: Sequence[PromptRow],
    output: Path,
    ledger: Ledger,
    *,
    accept: Accept | None,
    hands: Hands | None,
) -> tuple[list[Made], dict[str, int]]:
    """All images of the run, and how many of each row the gate saw; none where there is no gate."""
    making: Make = Workers(hands, rows) if hands else make
    if accept and plan.config.keep:
        return keep_accepted(plan, rows, output, ledger, accept=accept, making=making)
    items = [item for row in rows for item in plan.items(row, range(plan.number(row)))]
    remove_stale(output, {item.name for item in items})  # before hours of work, as it may refuse
    return making(plan, items, output), {}


def _yield(made: Sequence[Made], tried: Mapping[str, int]) -> dict[str, Any]:
    """What the gate let pass of each row's images; nothing without a gate."""
    kept = Counter(entry.item.row_id for entry in made)
    rows = {name: {"listed": number, "kept": kept[name]} for name, number in tried.items()}
    return {"yield": rows} if rows else {}


def _facts(plan: Plan, made: Sequence[Made]) -> dict[str, Any]:
    preset, bundle = plan.preset, plan.bundle
    return {
        "model": {
            "name": plan.common.model,
            "fingerprint": bundle.fingerprint,
            "licence": bundle.licence,
        },
        "sampler": {
            "solver": preset.solver,
            "num_steps": preset.num_steps,
            "guidance_scale": preset.guidance_scale,
        },
        "images": [
            {
                "file": entry.item.name,
                "seed": entry.item.draw.seed,
                "k": entry.item.draw.k,
                "sha256": entry.sha256,
            }
            for entry in made
        ],
    }
