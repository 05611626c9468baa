"""The tiles of a run in other processes of this machine, or on the machines of a Ray cluster.

The images that are missing are dealt in blocks. Each block has a process of its own, which loads
the model, makes its images as any run does, and leaves them in the output folder. An image that
lies there is never made again, so that a process that dies costs what it had not finished.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from crafts.core.crew import CRASHED, Crew, Hands, Task, open_hands
from crafts.core.errors import ConfigError
from crafts.core.records import Ledger
from crafts.core.runtime import heard_by, say
from crafts.generation.images import make, say_cut
from crafts.generation.manifest import PromptRow
from crafts.generation.pairs import items_before
from crafts.generation.plan import Item, Plan, open_model
from crafts.generation.request import GenerateConfig
from crafts.generation.writer import Made, find_image

BLOCK = 256
"""Images a process makes at most; each process loads the model once."""

TRIES = 3
"""Processes that a block may cost; then it is made here, where its error can be told."""

_PRELOAD = ("crafts.generation.workers", "crafts.model.bundle")
_SECONDS = 86_400.0  # a block that takes a day hangs

Wanted = Sequence[tuple[PromptRow, int]]
"""Pictures, each by its row and its index among those of the row; one at several powers is one."""


def open_workers(config: GenerateConfig, *, in_memory: bool) -> Hands | None:
    """Where the images of a run are made; None: in this process.

    Args:
        config: of the run.
        in_memory: whether its model was handed in, and has no folder that others could load.

    Raises:
        ConfigError: Ray is not installed, or the model cannot be loaded elsewhere.
    """
    if not config.parallel:
        return None
    if in_memory:
        raise ConfigError(
            "generate: num_workers",
            came="a model that is held in memory",
            allowed="a model that each process can load itself, or num_workers=0",
            do="Name the model by its name or folder.",
        )
    return open_hands(config.runner, _PRELOAD, gpu=config.device != "cpu")


class Workers:
    """Makes items as :func:`crafts.generation.images.make` does, with the same bytes.

    Args:
        hands: where the processes run.
        rows: usable rows of the run.
    """

    def __init__(self, hands: Hands, rows: Sequence[PromptRow]) -> None:
        self.hands, self.rows = hands, {row.id: row for row in rows}

    def __call__(self, plan: Plan, items: Sequence[Item], output: Path) -> list[Made]:
        """Make what is missing, and account for all items, in order."""
        missing = [item for item in items if find_image(output, item) is None]
        pictures = dict.fromkeys((item.row_id, item.draw.k) for item in missing)
        if missing:
            self._make(plan, [(self.rows[name], k) for name, k in pictures], output)
        made = make(plan, items, output)
        fresh = {item.row_id for item in missing}
        for entry in made:
            if entry.item.row_id in fresh:
                fresh.remove(entry.item.row_id)
                say_cut(entry.item.draw, entry.cut)
        return made

    def _make(self, plan: Plan, wanted: Wanted, output: Path) -> None:
        size = plan.config.num_workers or self.hands.number
        blocks = deal(wanted, size, plan.config.batch_size)
        tasks = self._tasks(plan, blocks, output.resolve(), size)
        crew: Crew[int] = Crew(self.hands, size, _SECONDS)
        say(f"generate: {len(wanted)} images in {len(blocks)} blocks, {size} at once")
        start, done, tries = time.monotonic(), 0, Counter[int]()
        try:
            while tasks or not crew.is_idle:
                while tasks and crew.has_room:
                    crew.start(tasks.popleft())
                task, fault = crew.wait()
                tries[task.name] += 1
                if fault:
                    again = tries[task.name] < TRIES
                    fault = fault.replace(CRASHED, "its process died")
                    told = "tried again" if again else "made here"
                    say(f"generate: block {task.name + 1} is {told}: {fault}")
                    if again:
                        tasks.append(task)
                        continue
                    make(plan, _items(plan, blocks[task.name]), output)
                done += len(blocks[task.name])
                seconds = (time.monotonic() - start) / done
                say(f"generate: {done} of {len(wanted)} images, {seconds:.2f} s an image")
        finally:
            crew.close()

    def _tasks(
        self, plan: Plan, blocks: Sequence[Wanted], output: Path, size: int
    ) -> deque[Task[int]]:
        import torch

        threads = max(1, torch.get_num_threads() // size)
        told = [(plan.config, plan.source, block, output, threads) for block in blocks]
        return deque(Task(number, make_block, one) for number, one in enumerate(told))


def deal(wanted: Wanted, workers: int, batch_size: int) -> list[Wanted]:
    """Blocks of whole batches, at least two for each worker where there are enough images."""
    share = min(BLOCK, -(-len(wanted) // (2 * workers)))
    size = max(1, round(share / batch_size)) * batch_size
    return [wanted[first : first + size] for first in range(0, len(wanted), size)]


def _items(plan: Plan, wanted: Wanted) -> list[Item]:
    """Of all powers, and what counterfactuals come from."""
    items = [item for row, k in wanted for item in plan.items(row, range(k, k + 1))]
    return [*items, *items_before(plan, items)]


def make_block(
    config: GenerateConfig, source: Path | None, wanted: Wanted, output: Path, threads: int
) -> None:
    """Make the images of one block that do not lie in ``output`` yet; runs in a process of its own.

    Args:
        config: of the run.
        source: manifest of prompts; paths in rows start from its folder.
        wanted: the images.
        output: of the run, which holds its lock.
        threads: of this process.
    """
    import torch

    torch.set_num_threads(threads)
    with heard_by(lambda line: None):  # the run tells how far all blocks are
        plan = Plan(config, open_model(config), source, full_passes=True)
        rows = {row.id: row for row, _ in wanted}
        plan.prepare(list(rows.values()), Ledger("generate"))
        make(plan, _items(plan, wanted), output)
