"""Which rows of a set count, and on which side of a split: no patient stands on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError
from crafts.data.collection import Collection
from crafts.data.config import Columns

Record = TypeVar("Record")

Rows = NDArray[np.int64]
Names = NDArray[np.str_]

AUTO = "auto"
"""As the split of a folder: the one that is wanted, where its rows name splits."""


def refuse_same_images(stage: str, places: Mapping[str, tuple[Path, str]]) -> None:
    """Refuse to hold a set against itself.

    Args:
        stage: for the message.
        places: flag -> folder and split of each set.

    Raises:
        ConfigError: two sets are the same rows of the same folder.
    """
    if len({(path.resolve(), split) for path, split in places.values()}) < len(places):
        raise ConfigError(
            stage,
            came=f"the same images for two of {', '.join(places)}",
            allowed="different folders, or one folder whose rows name their split",
            do="Correct the paths, or add a column `split` (train, heldout).",
        )


def refuse_shared_groups(where: str, heldout: Collection, train: Collection) -> None:
    """Refuse held-out patients that were trained on; nothing is opened for it.

    Args:
        where: for the message.
        heldout: passes where an image names no patient.
        train: likewise.

    Raises:
        DataError: a patient (or group, case, slide) stands in both.
    """
    held, seen = set(heldout.groups()), set(train.groups())
    shared = sorted(held & seen)
    if shared and "" not in held | seen:
        raise DataError(
            where,
            came=f"{len(shared)} patients in both, the first is {shared[0]!r}",
            allowed="sets without a common patient",
            do="Split by patient; name the splits in a column `split`.",
        )


def choose_split(source: Path, split: str, *, wanted: str, columns: Columns | None = None) -> str:
    """The split of a folder whose rows count; "" for all rows.

    Args:
        source: folder of images, or shards.
        split: a split, "" for all rows, or "auto": ``wanted`` where rows name splits, else all.
        wanted: the split that "auto" stands for; "" for none.
        columns: of its table.

    Raises:
        ConfigError: no such folder, or no row of the split.
        DataError: the layout is not recognised.
    """
    if split == AUTO:
        split = wanted if wanted and Collection(source, columns=columns).splits else ""
    Collection(source, split=split or None, columns=columns)
    return split


def halve(groups: Names, classes: Names, seed: int) -> tuple[Rows, Rows]:
    """Split rows in two by group, each class as evenly as the groups allow.

    Groups are taken in random order and go to the half that lacks their classes most.

    Args:
        groups: [N].
        classes: [N].
        seed: of the order.

    Returns:
        Rows of either half, sorted.
    """
    names, number = np.unique(groups, return_inverse=True)
    labels, label = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(labels)))
    np.add.at(table, (number, label), 1)
    balance = np.zeros(len(labels))  # tiles of each class: first half less second
    first = np.zeros(len(names), dtype=bool)
    for group in np.random.default_rng(seed).permutation(len(names)):
        first[group] = float(balance @ table[group]) <= 0
        balance += table[group] if first[group] else -table[group]
    mask = first[number]
    return np.flatnonzero(mask), np.flatnonzero(~mask)


def pick(record: Record, rows: NDArray[Any]) -> Record:
    """Some rows of a dataclass whose fields hold an entry a row, or None.

    Args:
        record: its fields are arrays [N, ...] or None.
        rows: numbers [K], or a mask [N].
    """
    whole: Any = record
    values = {field.name: getattr(record, field.name) for field in fields(whole)}
    part: Record = replace(whole, **{k: v if v is None else v[rows] for k, v in values.items()})
    return part
