"""What every task shares: exams, answers to them, and the protocol of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crafts.downstream.arms import Arm, Look
from crafts.downstream.opening import Opened, Side
from crafts.downstream.pool import Features, Pool
from crafts.downstream.statistics import LEAST_PATIENTS
from crafts.sets.splits import Rows


@dataclass(frozen=True)
class Exam:
    """Items that all arms are asked about: a tile each, or a question on a tile.

    Attributes:
        on: test or external.
        side: set of the tiles.
        rows: [N], tile of each item, in that set.
        seen: [N], the same as numbers of the pool.
        weights: [N] of mean 1, by which items count.
        items: what else the task wants to know of them.
    """

    on: str
    side: Side
    rows: Rows
    seen: Rows
    weights: NDArray[np.float64]
    items: Any = None

    @property
    def groups(self) -> NDArray[np.str_]:
        """Patient of each item [N]."""
        return self.side.tiles.groups[self.rows]


@dataclass(frozen=True)
class Answers:
    """How an arm did in an exam.

    Attributes:
        score: [N] in [0, 1], whether each item was answered rightly.
        measures: further numbers, by the names of their fields in the results.
    """

    score: NDArray[np.float64]
    measures: Mapping[str, float] = field(default_factory=dict)


Ask = Callable[[Exam], Answers]


class Task(Protocol):
    """One task: what it asks, and how it learns from an arm.

    Attributes:
        methods: ways of learning by name -> their titles.
        primary: field of the results that holds the weighted mean of the scores.
        pixels: side of the small pictures it trains on; 0 for none.
    """

    methods: Mapping[str, str]
    primary: str
    pixels: int

    def exams(self, opened: Opened, pool: Pool) -> list[Exam]:
        """What is asked of every arm."""
        ...

    def arms(self, given: Iterator[Arm]) -> Iterator[Arm]:
        """The arms that make sense here, and those that only this task has."""
        ...

    def train(self, pool: Pool, arm: Arm, *, own: Rows, seed: int) -> Mapping[str, Ask]:
        """Learn from an arm.

        Args:
            pool: all pictures.
            arm: what to learn from.
            own: the real tiles of the draw, as numbers of the pool.
            seed: of all that is random.

        Returns:
            Name of a method -> how it answers.
        """
        ...


def open_exams(opened: Opened, pool: Pool) -> list[tuple[str, Side, Rows]]:
    """Test tiles, and external ones, whose class is known."""
    labels = pool.labels[pool.of(opened.real)]
    found = [("test", opened.real, opened.test[labels[opened.test] >= 0])]
    if opened.external is not None:
        rows = np.flatnonzero(pool.labels[pool.of(opened.external)] >= 0)
        if len(set(opened.external.tiles.groups[rows])) >= LEAST_PATIENTS:
            found.append(("external", opened.external, rows))
        else:
            opened.notes.append("external: fewer than 3 patients of known classes; not scored.")
    return found


def look_at(pool: Pool, pictures: Rows, look: Look) -> Features:
    """What is seen of some pictures: features, colours, or nothing [N, 1]."""
    if look == "nothing":
        return np.zeros((len(pictures), 1), dtype=np.float32)
    return (pool.colour if look == "colour" else pool.features)[pictures]
