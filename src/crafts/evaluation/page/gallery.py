"""What the report shows: best and worst tiles, nearest training tiles, a map of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.evaluation.results import ClassPicks, Gallery, NearestPair, Pick, Point
from crafts.measures.rows import unit_rows
from crafts.measures.separation import stratified_rows, tsne_map
from crafts.sets.described import Described, Sets
from crafts.sets.splits import Rows

PICKS = 6
PAIRS = 24


def build_gallery(
    sets: Sets, cosine: NDArray[np.float32], *, most: int, seed: int
) -> tuple[Gallery, dict[str, Any]]:
    """The gallery, and the rows and coordinates of its map.

    Args:
        sets: the sets.
        cosine: of each generated tile with its nearest training tile [N]; empty without training.
        most: largest number of tiles on the map.
        seed: of the sample and the t-SNE.
    """
    rows = {
        "generated": stratified_rows(sets.generated.classes, most // 2, seed=seed),
        "heldout": stratified_rows(sets.heldout.classes, most // 2, seed=seed),
    }
    sides = {"generated": sets.generated, "heldout": sets.heldout}
    features = np.concatenate([unit_rows(sides[name].set.features[rows[name]]) for name in rows])
    where = tsne_map(features, seed=seed % 2**32)
    starts = {"generated": 0, "heldout": len(rows["generated"])}
    places = {name: where[starts[name] : starts[name] + len(rows[name])] for name in rows}
    points = [
        Point(
            set=name,
            name=str(sides[name].set.rows[row]["name"]),
            label=str(sides[name].classes[row]),
            x=float(x),
            y=float(y),
        )
        for name in rows
        for row, (x, y) in zip(rows[name], places[name], strict=True)
    ]
    gallery = Gallery(
        picks=_picks(sets, seed),
        nearest=_pairs(sets, cosine),
        points=points,
        map_settings={"method": "t-SNE", "perplexity": 30, "init": "pca", "seed": seed},
    )
    return gallery, {name: (rows[name], places[name]) for name in rows}


def _picks(sets: Sets, seed: int) -> list[ClassPicks]:
    generated = sets.generated
    if generated.set.texts is None:
        score = np.zeros(len(generated))
    else:
        cosines = unit_rows(generated.set.features) * unit_rows(generated.set.texts)
        score = 100 * cosines.sum(axis=1)
    known = generated.set.texts is not None
    rng = np.random.default_rng(seed_from("picks", seed))
    found = []
    for name in np.unique(generated.classes).tolist():
        rows = np.flatnonzero(generated.classes == name)
        rows = rows[np.argsort(-score[rows], kind="stable")]
        best, rest = rows[:PICKS], rows[PICKS:]
        worst, middle = rest[::-1][:PICKS], rest[: max(0, len(rest) - PICKS)]
        start = max(0, (len(middle) - PICKS) // 2)
        real = np.flatnonzero(sets.heldout.classes == name)
        shown = rng.permutation(real)[:PICKS]
        found.append(
            ClassPicks(
                name=name,
                best=_as_picks(generated, best, score, known),
                median=_as_picks(generated, middle[start : start + PICKS], score, known),
                worst=_as_picks(generated, worst, score, known),
                real=[str(sets.heldout.set.rows[row]["name"]) for row in shown],
            )
        )
    return found


def _as_picks(
    side: Described, rows: Sequence[int] | Rows, score: NDArray[Any], known: bool
) -> list[Pick]:
    return [
        Pick(
            name=str(side.set.rows[row]["name"]),
            text=side.texts[row],
            alignment=float(score[row]) if known else None,
        )
        for row in rows
    ]


def _pairs(sets: Sets, cosine: NDArray[np.float32]) -> list[NearestPair]:
    if sets.train is None:
        return []
    texts = sets.generated.texts
    return [
        NearestPair(
            generated=str(sets.generated.set.rows[row]["name"]),
            train=str(sets.train.set.rows[sets.nearest[row]]["name"]),
            cosine=float(cosine[row]),
            text=texts[row],
        )
        for row in np.argsort(-cosine, kind="stable")[:PAIRS]
    ]
