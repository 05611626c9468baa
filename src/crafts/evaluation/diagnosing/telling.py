"""Which generated tiles show a number best: examples for the report."""

from __future__ import annotations

import numpy as np

from crafts.evaluation.diagnosing.agreement import class_directions
from crafts.evaluation.diagnosing.appearance import COLUMNS
from crafts.evaluation.diagnosing.sides import (
    Side,
    class_weights,
    mean_appearance,
    pull_of_own_text,
)
from crafts.imaging.stains import stain_amounts
from crafts.measures.rows import Array
from crafts.sets.splits import Rows

_NEIGHBOURS = 5


def rank_telling(real: Side, generated: Side, stains: Array) -> dict[str, Rows]:
    """Order the generated rows by how well they show each number.

    Args:
        real: the reference.
        generated: to be shown.
        stains: unit rows [2, 3] of hematoxylin and eosin.

    Returns:
        Name of the number -> rows, the most telling first.
    """
    one, two = real.rows, generated.rows
    cosine = two @ two.T
    np.fill_diagonal(cosine, -1)
    close = np.sort(cosine, axis=1)[:, -_NEIGHBOURS:]
    scores = {
        "duplicates": -close[:, -1],
        "variety": -close.mean(axis=1),
        "distance": (two @ one.T).max(axis=1),
    }
    names = sorted(name for name in class_weights(real, generated) if name)
    if real.appearance is not None and generated.appearance is not None:
        scores |= _odd_looks(real, generated, names, stains)
    if generated.glands is not None:
        scores["glands"] = generated.glands
    if len(names) > 1:
        shown = two @ class_directions(one, real.labels, names).T
        asked = generated.labels[:, None] == np.array(names)
        own = np.where(asked, shown, -np.inf).max(axis=1)
        scores["agreement"] = np.where(asked.any(axis=1), own, np.inf) - shown.max(axis=1)
    if generated.texts is not None:
        scores["following"] = pull_of_own_text(two, generated.texts)
    return {name: np.argsort(values, kind="stable") for name, values in scores.items()}


def _odd_looks(real: Side, generated: Side, names: list[str], stains: Array) -> dict[str, Array]:
    """How each generated tile differs from the mean real tile of its class; lowest is oddest."""
    assert real.appearance is not None and generated.appearance is not None
    away = generated.appearance - mean_appearance(real, "")
    for name in names:
        rows = generated.labels == name
        away[rows] = generated.appearance[rows] - mean_appearance(real, name)
    amounts = stain_amounts(away[:, 2:], stains)
    return {
        "sharpness": away[:, COLUMNS.index("sharpness")],
        "blockiness": -away[:, COLUMNS.index("blockiness")],
        "hematoxylin": -np.abs(amounts[:, 0]),
        "eosin": amounts[:, 1],
        "hue": -np.abs(amounts[:, 2]),
    }
