"""The tiles of a run: which lie in its folder, which are made, and which of them a gate passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from crafts.core.protocols import Accept
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.export import save_png
from crafts.generation.manifest import PromptRow
from crafts.generation.plan import Item, Plan
from crafts.generation.writer import Made, find_image
from crafts.sampling.draws import Draw
from crafts.sampling.sampler import iter_images

Make = Callable[[Plan, Sequence[Item], Path], list[Made]]
"""Items of a plan into files of a folder, all accounted for, in order: :func:`make`."""


def make(plan: Plan, items: Sequence[Item], output: Path) -> list[Made]:
    """Make the images that do not lie in ``output`` yet, and account for all of them, in order."""
    made: dict[int, Made] = {}
    for index, item in enumerate(items):
        found = find_image(output, item)
        if found is not None:
            made[index] = found
    if made:
        say(f"generate: {len(made)} of {len(items)} images are there already")
    if missing := len(items) - len(made):
        _say_begin(plan, missing)
    start, before, told = time.monotonic(), len(made), set()
    draws = [item.draw for item in items]
    batches = iter_images(
        plan.bundle,
        draws,
        plan.preset,
        batch_size=plan.config.batch_size,
        done=set(made),
        full=plan.full_passes,
        conditioners=plan.steering.conditioners,
    )
    for batch in batches:
        for index, conditioning, pixels in batch:
            item = items[index]
            provenance = replace(item.provenance, cut=conditioning.cut)
            sha256 = save_png(Image.fromarray(pixels), output / item.name, provenance)
            made[index] = Made(item, sha256, conditioning.cut)
            if item.row_id not in told:
                told.add(item.row_id)
                say_cut(item.draw, conditioning.cut, conditioning.negative_cut)
        seconds = (time.monotonic() - start) / (len(made) - before)
        say(f"generate: {len(made)} of {len(items)} images, {seconds:.2f} s an image")
    return [made[index] for index in range(len(items))]


def keep_accepted(
    plan: Plan,
    rows: Sequence[PromptRow],
    output: Path,
    ledger: Ledger,
    *,
    accept: Accept,
    making: Make,
) -> tuple[list[Made], dict[str, int]]:
    """For every row the first ``config.keep`` images that pass, tried in the order of ``k``.

    Args:
        plan: what to make.
        rows: usable rows.
        output: folder with ``images/``.
        ledger: gets the rows that have fewer after ``plan.TRIES`` images for each one wanted.
        accept: the gate.
        making: what makes images.

    Returns:
        The images that pass, without those of rejected rows, and how many were tried for each row.
    """
    wanted = plan.config.keep or 0
    kept: dict[str, list[Made]] = {row.id: [] for row in rows}
    tried = dict.fromkeys(kept, 0)
    while waiting := [row for row in rows if row.id in kept and len(kept[row.id]) < wanted]:
        items: list[Item] = []
        for row in waiting:
            first = tried[row.id]
            tried[row.id] = min(first + wanted - len(kept[row.id]), plan.limit(row))
            items += plan.items(row, range(first, tried[row.id]))
        for entry in making(plan, items, output):
            with Image.open(output / entry.item.name) as image:
                if accept(image.convert("RGB"), entry.item.draw.prompt):
                    kept[entry.item.row_id].append(entry)
        say(f"generate: the gate passes {sum(map(len, kept.values()))} of {sum(tried.values())}")
        for row in waiting:
            if len(kept[row.id]) < wanted and tried[row.id] == plan.limit(row):
                passing = f"{len(kept.pop(row.id))} of {tried[row.id]} images"
                ledger.withdraw(row.id, f"{passing} pass the quality gate, {wanted} are wanted")
                say(f"generate: {row.id} is left out: {ledger.rejects[-1]['reason']}")
    return [entry for found in kept.values() for entry in found], tried


def _say_begin(plan: Plan, number: int) -> None:
    images = f"{number} image{'s' * (number > 1)}"
    device = next(plan.bundle.denoiser.parameters()).device
    first = min(plan.config.batch_size, number)
    say(
        f"generate: {plan.common.model}, {images}, {plan.preset.num_steps} steps, {device}; "
        f"the first batch of {first} ..."
    )


def say_cut(draw: Draw, cut: str, negative_cut: str = "") -> None:
    """Say what of a prompt the model does not see."""
    start = draw.prompt[:40]
    for name, text in (("prompt", cut), ("negative prompt", negative_cut)):
        if text:
            say(f"generate: {start!r}: the model does not see the end of the {name}: {text!r}")
