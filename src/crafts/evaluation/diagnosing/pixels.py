"""What needs the pixels of tiles: stains and the diagnosis, from a sample of each set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.comparing.comparison import Sets
from crafts.evaluation.comparing.draws import Rows
from crafts.evaluation.comparing.slices import Described
from crafts.evaluation.comparing.sources import Source
from crafts.evaluation.diagnosing.appearance import appearance, stain_vectors
from crafts.evaluation.diagnosing.diagnosis import diagnose
from crafts.evaluation.diagnosing.evidence import compute_evidence
from crafts.evaluation.diagnosing.sides import Observed
from crafts.evaluation.diagnosing.stains import Stained, stain_densities, stain_rows
from crafts.evaluation.results import SetName, StainRow

_SMALLEST = 24  # pixels a side: below it sharpness means nothing
_STAIN_TILES = 64
_LEAST_DIAGNOSED = 16


@dataclass(frozen=True)
class Looked:
    """A sample of one set, opened.

    Attributes:
        rows: of the set [K], sorted.
        densities: [K, 3] haematoxylin, eosin, residual.
        appearance: [K, 5].
    """

    rows: Rows
    densities: NDArray[np.float64]
    appearance: NDArray[np.float64]


def look(source: Source, side: Described, *, most: int, seed: int) -> Looked:
    """Open at most ``most`` tiles of a set, one at a time; tiles under 24 pixels are left out."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(side))[:most])
    rows, densities, looks = [], [], []
    for row in drawn.tolist():
        tile = source.load(str(side.set.rows[row]["name"]))
        if tile is None or min(tile.pixels.shape[:2]) < _SMALLEST:
            continue
        rows.append(row)
        densities.append(stain_densities(tile.pixels))
        looks.append(appearance([tile.pixels])[0])
    if not rows:
        return Looked(np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 5)))
    return Looked(np.array(rows), np.stack(densities), np.stack(looks))


def stain_report(sets: Sets, looked: Mapping[SetName, Looked]) -> list[StainRow]:
    """Densities of every set; empty where the held-out tiles are too small to be looked at."""
    if not len(looked["heldout"].rows):
        return []
    sides = sets.named()
    found = {
        name: Stained(one.densities, sides[name].classes[one.rows], sides[name].groups[one.rows])
        for name, one in looked.items()
        if len(one.rows)
    }
    return stain_rows(found)


def find_causes(
    sets: Sets, looked: Mapping[SetName, Looked], source: Source, *, seed: int
) -> list[dict[str, Any]]:
    """Findings of the diagnosis on the sampled tiles, as rows for ``metrics.json``.

    Args:
        sets: the sets.
        looked: samples of ``generated`` and ``heldout``.
        source: of the held-out tiles, whose stains are the reference.
        seed: of halvings.
    """
    made, held = looked["generated"], looked["heldout"]
    if min(len(made.rows), len(held.rows)) < _LEAST_DIAGNOSED:
        return []
    stains = stain_vectors(_tiles(source, sets.heldout, held.rows), seed=seed % 2**32)
    evidence = compute_evidence(
        _observed(sets.heldout, held, grouped=True),
        _observed(sets.generated, made, grouped=False),
        stains=stains,
        seed=seed,
    )
    rows = sets.generated.set.rows
    names = [str(rows[row]["name"]) for row in made.rows]
    return [finding.as_row(names) for finding in diagnose(evidence)]


def _observed(side: Described, one: Looked, *, grouped: bool) -> Observed:
    texts = side.set.texts
    return Observed(
        features=side.set.features[one.rows],
        appearance=one.appearance,
        labels=side.classes[one.rows],
        groups=side.groups[one.rows] if grouped else None,
        texts=None if texts is None else texts[one.rows],
    )


def _tiles(source: Source, side: Described, rows: Rows) -> Iterator[NDArray[np.uint8]]:
    step = max(1, len(rows) // _STAIN_TILES)
    for row in rows[::step].tolist():
        tile = source.load(str(side.set.rows[row]["name"]))
        if tile is not None:
            yield tile.pixels
