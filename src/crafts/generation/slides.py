"""The slides of a run: which rows ask for one, what of them is there, and the rest made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crafts.core.disk import remove_folder
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.canvas import Canvas, check_disk, paint, parse_size
from crafts.generation.manifest import PromptRow
from crafts.generation.plan import Plan
from crafts.generation.prompt_map import PromptMap, load_prompt_map
from crafts.generation.request import GenerateConfig
from crafts.generation.slide_writer import (
    DONE,
    PREVIEW,
    check_format,
    file_of,
    find_slide,
    remove_slide,
    write_slide,
)
from crafts.generation.writer import Made

SLIDES, WORK = "slides", ".work"


def plan_canvases(
    plan: Plan, rows: Sequence[PromptRow], folder: Path, ledger: Ledger
) -> tuple[list[PromptRow], list[Canvas]]:
    """Usable rows, and the canvases that they ask for; none where they ask for tiles.

    Args:
        plan: of the run.
        rows: usable so far.
        folder: that paths in rows start from.
        ledger: gets the rows whose size or prompt map is of no use.

    Raises:
        ConfigError: tiles and slides in one run, or an option that slides do not know.
        CraftsError: the size or the prompt map of all rows is of no use.
    """
    config = plan.config
    usable: list[PromptRow] = []
    drawn: dict[str, PromptMap] = {}
    for row in rows:
        path = config.prompt_map if row.prompt_map is None else folder / row.prompt_map
        try:
            size = parse_size(row.size or config.size, plan.bundle)
            if size is not None:
                mpp = next(iter(plan.powers(row)), plan.common.mpp)
                check_format(config.format or "tiff", size, mpp)
                drawn[row.id] = load_prompt_map(path, row.prompt, size)
            usable.append(row)
        except CraftsError as error:
            if row.size is None and row.prompt_map is None:
                raise
            ledger.withdraw(row.id, str(error))
            say(f"generate: {row.id} is left out: {error}")
    _refuse_mixed(plan, usable, len(drawn))
    number = sum(plan.number(row) for row in usable)
    canvases = [
        _canvas(plan, row, k, drawn[row.id], alone=number == 1 and config.shard is None)
        for row in usable
        if row.id in drawn
        for k in range(plan.number(row))
    ]
    return usable, canvases


def region_rows(rows: Sequence[PromptRow], canvases: Sequence[Canvas]) -> list[PromptRow]:
    """The prompts of regions as rows, so that their words can be checked."""
    known = {row.id: row for row in rows}
    return [
        replace(known[canvas.item.row_id], prompt=prompt)
        for canvas in canvases
        for prompt in canvas.prompts.prompts[1:]
    ]


def _canvas(plan: Plan, row: PromptRow, k: int, drawn: PromptMap, *, alone: bool) -> Canvas:
    item = next(plan.items(row, range(k, k + 1)))
    place = "" if alone else f"{SLIDES}/{row.id}-{k}/"
    told = replace(
        item.provenance,
        prompt="\n".join(drawn.prompts),
        unknown_words=", ".join(word.word for word in plan.wording.unknown_in(*drawn.prompts)),
    )
    item = replace(
        item,
        path=f"{place}{file_of(plan.config.format)}",
        preview=f"{place}{PREVIEW}",
        provenance=told,
    )
    return Canvas(item, drawn, plan)


def _refuse_mixed(plan: Plan, rows: Sequence[PromptRow], slides: int) -> None:
    """Refuse what tiles know and slides do not, and the other way round.

    Raises:
        ConfigError: names it.
    """
    config, came = plan.config, ""
    if not rows:
        return
    if not slides:
        allowed = "a size beyond one tile, or neither --format nor --prompt-map"
        came = "--prompt-map for tiles" if config.prompt_map else came
        came = f"--format {config.format} for tiles" if config.format not in (None, "png") else came
        if came:
            raise _unfit(came, allowed)
        return
    refuse_wishes(config)
    if slides < len(rows):
        came = f"{slides} slides among {len(rows)} rows"
    elif any(row.nuclei or row.fluorescence for row in rows):
        came = "--control for slides"
    elif any(row.stain for row in rows):
        came = "--stain for slides"
    elif any(len(plan.powers(row)) > 1 for row in rows):
        came = "several powers for slides, which hold all lower ones themselves"
    if came:
        raise _unfit(came)


def refuse_wishes(config: GenerateConfig) -> None:
    """Refuse what a run asks for and no slide can have.

    Raises:
        ConfigError: names it.
    """
    wishes = {
        "--keep": config.keep,
        "--control": config.control,
        "--num-workers or --runner": config.parallel,
        "--stain": config.stain,
    }
    if came := next((name for name, wish in wishes.items() if wish), None):
        raise _unfit(f"{came} for slides")


def _unfit(
    came: str,
    allowed: str = "a run of slides alone, without --control, --keep and --num-workers, at one "
    "power",
) -> ConfigError:
    return ConfigError(
        "generate", came=came, allowed=allowed, do="Leave it out, or make two runs of it."
    )


def refuse_other_slides(output: Path, canvases: Sequence[Canvas]) -> None:
    """Refuse a folder with finished pictures of which a run would keep none.

    Args:
        output: to be written.
        canvases: of the run; none where it makes tiles.

    Raises:
        ConfigError: says how many would be lost.
    """
    there = [*output.glob(DONE), *output.glob(f"{SLIDES}/*/{DONE}")]
    tiles = len(list(output.glob("images/*.png"))) if canvases else 0
    known = {canvas.request for canvas in canvases}
    lost = tiles or (len(there) if not any(_request_of(path) in known for path in there) else 0)
    if lost:
        raise ConfigError(
            str(output),
            came=f"{lost} finished pictures, none of which this run asks for",
            allowed="a new folder, or one of the same prompts, size, seed, model and settings",
            do="Choose another --output, or remove the folder if nobody needs the pictures.",
        )


def _request_of(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["request"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _remove_stale(output: Path, wanted: set[Path]) -> None:
    """Take away slides that earlier runs finished and this one does not ask for."""
    for path in (output / DONE, *output.glob(f"{SLIDES}/*/{DONE}")):
        folder = path.parent
        if path.exists() and folder not in wanted:
            remove_slide(folder)
            say(f"generate: a slide of an earlier request removed from {folder}")
            if folder != output and not any(folder.iterdir()):
                folder.rmdir()


def make_slides(canvases: Sequence[Canvas], output: Path) -> list[Made]:
    """Make the slides that do not lie in ``output`` yet, and account for all of them, in order.

    Raises:
        RetryError: the disk is full, or will be.
    """
    made = []
    _remove_stale(output, {(output / canvas.item.name).parent for canvas in canvases})
    for number, canvas in enumerate(canvases, 1):
        item = canvas.item
        folder, work = (output / item.name).parent, output / WORK / f"{item.row_id}-{item.draw.k}"
        found = find_slide(canvas, folder)
        if found is None:
            check_disk(canvas, work)
            pixels, cut = paint(canvas, work)
            say(f"generate: {item.name}: levels and files are written")
            found = write_slide(canvas, pixels, folder, replace(item.provenance, cut=cut))
            remove_folder(work)
            say(f"generate: {number} of {len(canvases)} slides")
        made.append(Made(item, found["sha256"], found["cut"]))
    remove_folder(output / WORK)
    return made
