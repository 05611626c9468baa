"""The two sides of a diagnosis, generated and real, checked and made complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.measures.rows import Array, check_features, unit_rows
from crafts.sets.splits import Names, Rows

LEAST = 8
"""Tiles of a class on each side below which the class is left out."""


@dataclass(frozen=True)
class Observed:
    """Tiles of one side, row for row.

    All pairs of a side are compared: pass a sample of a few thousand rows, which says as much as a
    million.

    Attributes:
        features: of the encoder [N, D]; no row zero.
        appearance: [N, 5] of :func:`crafts.evaluation.diagnosing.appearance.appearance`; None
            leaves blur, stains and compression unjudged.
        labels: class of each tile [N], of generated ones the class asked for, "" where unknown.
        groups: patient of each tile [N]; for generated tiles None, and for real ones without
            groups each its own.
        texts: features of each tile's own caption or prompt [N, D], or None.
        glands: scores of :func:`crafts.measures.glands.measure_glands` [N]; None leaves glands
            unjudged.
    """

    features: NDArray[Any]
    appearance: Array | None = None
    labels: Names | None = None
    groups: Names | None = None
    texts: NDArray[Any] | None = None
    glands: Array | None = None

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.features)


@dataclass(frozen=True)
class Side:
    """An :class:`Observed` that is checked and complete; rows and texts have length one."""

    rows: Array
    labels: Names
    groups: Names
    appearance: Array | None
    glands: Array | None
    texts: Array | None

    def at(self, picked: Rows) -> Side:
        """Some of the rows."""
        return Side(
            self.rows[picked],
            self.labels[picked],
            self.groups[picked],
            None if self.appearance is None else self.appearance[picked],
            None if self.glands is None else self.glands[picked],
            None if self.texts is None else self.texts[picked],
        )


def complete(side: Observed, name: str) -> Side:
    """Checked, with labels and groups filled in.

    Args:
        side: as it came.
        name: ``real`` or ``generated``, for messages.

    Raises:
        DataError: fewer than 16 rows, parts of other lengths, a row that is zero or not finite.
    """
    features = check_features(side.features, name, min_rows=16)
    num = len(features)
    for part, value in vars(side).items():
        if value is not None and len(value) != num:
            raise DataError(
                f"compute_evidence: {part} of {name}",
                came=f"{len(value)} rows",
                allowed=f"{num}, one for each tile",
                do="Pass all parts row for row.",
            )
    texts = None if side.texts is None else check_features(side.texts, f"texts of {name}")
    return Side(
        rows=unit_rows(features, name),
        labels=np.full(num, "") if side.labels is None else np.asarray(side.labels, dtype=str),
        groups=np.arange(num).astype(str) if side.groups is None else np.asarray(side.groups),
        appearance=side.appearance,
        glands=side.glands,
        texts=None if texts is None else unit_rows(texts, f"texts of {name}"),
    )


def class_weights(real: Side, generated: Side) -> dict[str, float]:
    """Weight of each class that both sides have enough of; all tiles as one class otherwise."""
    numbers = {
        str(name): min(int((real.labels == name).sum()), int((generated.labels == name).sum()))
        for name in np.unique(generated.labels)
        if name
    }
    numbers = {name: number for name, number in numbers.items() if number >= LEAST}
    if not numbers:
        return {"": 1.0}
    return {name: number / sum(numbers.values()) for name, number in numbers.items()}


def mean_appearance(side: Side, name: str) -> Array:
    """Mean appearance [5] of one class, "" for all tiles."""
    assert side.appearance is not None
    rows = side.appearance[side.labels == name] if name else side.appearance
    return np.asarray(rows.mean(axis=0))


def pull_of_own_text(images: Array, texts: Array) -> Array:
    """Cosine of each unit row with its own text less the mean over all texts [N]."""
    return np.asarray((images * texts).sum(axis=1) - images @ texts.mean(axis=0))
