"""Which rows are compared: generations, equal numbers of equal class mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.sets.source import SetName

Rows = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Draw:
    """Rows of one repetition; all parts have one length and, when matched, one class mix.

    Attributes:
        generated: rows of the generated set.
        reference: rows of the held-out set, of one half of its groups.
        floor: rows of the held-out set, of the other half.
        train: rows of the training set; empty without one.
    """

    generated: Rows
    reference: Rows
    floor: Rows
    train: Rows


@dataclass(frozen=True)
class Sides:
    """Rows that may be drawn in each repetition.

    Attributes:
        generated: for each repetition, rows of the generated set.
        halves: for each repetition, the two halves of the held-out set.
        train: rows of the training set, or None.
    """

    generated: Sequence[Rows]
    halves: Sequence[tuple[Rows, Rows]]
    train: Rows | None

    def narrowed(self, generated: Any, heldout: Any, train: Any = None) -> Sides:
        """Only rows for which the boolean masks [N] of the three sets hold."""
        return Sides(
            [rows[generated[rows]] for rows in self.generated],
            [(one[heldout[one]], two[heldout[two]]) for one, two in self.halves],
            None if self.train is None else self.train[train[self.train]],
        )

    def most(self) -> int:
        """The largest number of rows that every part of every repetition has."""
        sizes = [len(rows) for rows in self.generated]
        sizes += [len(half) for pair in self.halves for half in pair]
        return min(sizes if self.train is None else [*sizes, len(self.train)])


def find_generations(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Rows]]:
    """Generations among generated tiles: the k-th image of every prompt.

    Folders of generations come with the field ``generation``; else the column ``k``; else tiles of
    one prompt are numbered in the order of seed and name. Only numbers that every prompt reaches
    count, so that all generations have the same prompts.

    Returns:
        Name and rows of each; a single one when nothing tells them apart.
    """
    if any("generation" in row for row in rows):
        names = np.array([str(row.get("generation", "")) for row in rows])
        return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]
    if not any(row.get("text") for row in rows):
        return [("0", np.arange(len(rows)))]
    prompts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        prompts.setdefault(f"{row.get('id', '')}\n{row.get('text') or ''}", []).append(index)
    if min(map(len, prompts.values())) < 2:  # an id a prompt: prompts may stand under several ids
        prompts = {}
        for index, row in enumerate(rows):
            prompts.setdefault(str(row.get("text") or ""), []).append(index)
    ordered = [sorted(mine, key=lambda index: _order(rows[index])) for mine in prompts.values()]
    number = min(len(mine) for mine in ordered)
    return [
        (str(k), np.array(sorted(mine[k] for mine in ordered), dtype=np.int64))
        for k in range(number)
    ]


def quotas(sides: Sides, classes: Mapping[SetName, Names], most: int) -> dict[str, int]:
    """Class -> rows to draw on every side: what the poorest side of any repetition has.

    Args:
        sides: rows that may be drawn.
        classes: set -> class of each of its rows (``generated``, ``heldout``, ``train``).
        most: largest sum.
    """
    found = {}
    for name in sorted(set(classes["generated"].tolist()) - {""}):
        masks = {side: values == name for side, values in classes.items()}
        narrowed = sides.narrowed(masks["generated"], masks["heldout"], masks.get("train"))
        found[name] = narrowed.most()
    total = sum(found.values())
    if total <= most:
        return found
    share = {name: number * most / total for name, number in found.items()}
    return {name: int(value) for name, value in share.items()}


def draw(
    sides: Sides,
    repetition: int,
    numbers: Mapping[str, int],
    classes: Mapping[SetName, Names] | None,
    *,
    seed: int,
) -> Draw:
    """Rows of one repetition.

    Args:
        sides: rows that may be drawn.
        repetition: which.
        numbers: class -> rows; ``{"": n}`` when classes are not matched.
        classes: set -> class of each row, or None when they are not matched.
        seed: of the run.
    """
    one, two = sides.halves[repetition]
    parts: dict[str, tuple[SetName, Rows]] = {
        "generated": ("generated", sides.generated[repetition]),
        "reference": ("heldout", one),
        "floor": ("heldout", two),
        "train": ("train", np.empty(0, np.int64) if sides.train is None else sides.train),
    }
    drawn = {}
    for part, (side, rows) in parts.items():
        rng = np.random.default_rng(seed_from("evaluate", seed, repetition, part))
        if part == "train" and sides.train is None:
            drawn[part] = rows
            continue
        taken = [
            rng.permutation(rows if classes is None else rows[classes[side][rows] == name])[:number]
            for name, number in sorted(numbers.items())
        ]
        drawn[part] = np.concatenate(taken)
    return Draw(**drawn)


def share_out(
    generations: Sequence[tuple[str, Rows]], repetitions: int, *, least: int
) -> list[tuple[str, Rows]]:
    """Generations as repetitions, in turn where there are more of them.

    Args:
        generations: as :func:`find_generations` gives them.
        repetitions: wanted.
        least: rows that each repetition must have.

    Returns:
        Names and rows of each repetition; empty where there are too few generations or rows.
    """
    if len(generations) < repetitions:
        return []
    shares = [generations[k::repetitions] for k in range(repetitions)]
    found = [
        (", ".join(name for name, _ in share), np.concatenate([rows for _, rows in share]))
        for share in shares
    ]
    return found if min(len(rows) for _, rows in found) >= least else []


def _order(row: Mapping[str, Any]) -> tuple[int, int, str]:
    return _whole(row.get("k")), _whole(row.get("seed")), str(row.get("name", ""))


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
