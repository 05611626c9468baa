"""The tiles of a run: which lie in its folder, which are made, and which of them a gate passes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from crafts.conditions.text import TextFeatures
from crafts.core.protocols import Accept
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.export import save_png
from crafts.generation.manifest import PromptRow
from crafts.generation.plan import Item, Plan
from crafts.generation.writer import Made, find_image
from crafts.sampling.draws import Draw
from crafts.sampling.sampler import iter_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Batch = list[tuple[int, TextFeatures, NDArray[np.uint8]]]

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
    start, before, told = time.monotonic(), len(made), set[str]()
    for done in _written(_batches(plan, items, set(made)), items, output, ahead=_ahead(plan)):
        for index, sha256, features in done:
            item = items[index]
            made[index] = Made(item, sha256, features.cut)
            if item.row_id not in told:
                told.add(item.row_id)
                say_cut(item.draw, features.cut, features.negative_cut)
        seconds = (time.monotonic() - start) / (len(made) - before)
        say(f"generate: {len(made)} of {len(items)} images, {seconds:.2f} s an image")
    return [made[index] for index in range(len(items))]


def _batches(plan: Plan, items: Sequence[Item], done: set[int]) -> Iterator[Batch]:
    return iter_images(
        plan.bundle,
        [item.draw for item in items],
        plan.preset,
        batch_size=plan.config.batch_size,
        done=done,
        full=plan.full_passes,
        conditioners=plan.steering.conditioners,
    )


def _ahead(plan: Plan) -> int:
    """Batches that the network may be ahead of the files: on a GPU writing costs as much as it."""
    return int(next(plan.bundle.denoiser.parameters()).device.type != "cpu")


def _written(
    batches: Iterable[Batch], items: Sequence[Item], output: Path, *, ahead: int
) -> Iterator[list[tuple[int, str, TextFeatures]]]:
    """Write batches as they come, in a thread beside the network.

    Yields:
        For every batch whose files are whole: (index, sha256, text features).
    """

    def write(index: int, features: TextFeatures, pixels: NDArray[np.uint8]) -> str:
        item = items[index]
        stained, provenance = item.finish(pixels, features.cut)
        (output / item.name).parent.mkdir(exist_ok=True)
        return save_png(Image.fromarray(stained), output / item.name, provenance)

    waiting: deque[list[tuple[int, TextFeatures, Future[str]]]] = deque()
    with ThreadPoolExecutor(1) as writer:
        for batch in chain(batches, [None] * ahead):
            if batch is not None:
                waiting.append(
                    [(i, told, writer.submit(write, i, told, x)) for i, told, x in batch]
                )
            if len(waiting) > (ahead if batch is not None else 0):
                yield [(i, file.result(), told) for i, told, file in waiting.popleft()]


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
