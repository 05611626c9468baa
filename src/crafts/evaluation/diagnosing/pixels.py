"""What needs the pixels of tiles: stains and the diagnosis, from a sample of each set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.comparing.comparison import Sets
from crafts.evaluation.comparing.draws import Names, Rows
from crafts.evaluation.comparing.scales import Scale, same_pixels, scale_of
from crafts.evaluation.comparing.slices import Described
from crafts.evaluation.comparing.sources import Source
from crafts.evaluation.diagnosing.appearance import appearance, stain_vectors
from crafts.evaluation.diagnosing.diagnosis import diagnose
from crafts.evaluation.diagnosing.evidence import compute_evidence
from crafts.evaluation.diagnosing.sides import Observed
from crafts.evaluation.diagnosing.stains import (
    CLUSTER_FIELD,
    Stained,
    cluster_stains,
    stain_densities,
    stain_rows,
)
from crafts.evaluation.results import Diagnosed, SetName, StainCluster, StainRow

_SMALLEST = 24  # pixels a side: below it sharpness means nothing
_STAIN_TILES = 64
_LEAST_DIAGNOSED = 16
_DETAIL = ("sharpness", "blockiness")


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
    """Densities of every set; empty without held-out tiles large enough to be looked at."""
    if "heldout" not in looked or not len(looked["heldout"].rows):
        return []
    sides = sets.named()
    found = {
        name: Stained(one.densities, sides[name].classes[one.rows], sides[name].groups[one.rows])
        for name, one in looked.items()
        if len(one.rows)
    }
    return stain_rows(found)


def stain_clusters(sets: Sets, looked: Mapping[SetName, Looked]) -> tuple[list[StainCluster], Sets]:
    """Clusters of the held-out tiles by stain, and the sets with the field ``stain_cluster``.

    None where a column names the stains, or where too few tiles were looked at.
    """
    held = looked.get("heldout")
    if held is None or (sets.heldout.fields["stain"] != "").any():
        return [], sets
    clusters, names = cluster_stains({name: one.densities for name, one in looked.items()})
    if not clusters:
        return [], sets
    sides = {
        name: replace(
            side,
            fields={**side.fields, CLUSTER_FIELD: _spread(names[name], looked[name], len(side))},
        )
        for name, side in sets.named().items()
    }
    return clusters, Sets(sides["generated"], sides["heldout"], sides.get("train"), sets.nearest)


def find_causes(
    sets: Sets, looked: Mapping[SetName, Looked], source: Source | None, *, seed: int
) -> tuple[Diagnosed, list[dict[str, Any]]]:
    """What was judged on the sampled tiles, and the causes found, as rows for ``metrics.json``.

    Args:
        sets: the sets.
        looked: samples of ``generated`` and ``heldout``.
        source: of the held-out tiles, whose stains are the reference; None without them.
        seed: of halvings.
    """
    made, held = looked["generated"], looked.get("heldout")
    if held is None or source is None:
        return Diagnosed(generated=len(made.rows), why="no held-out tiles to hold them against"), []
    numbers = {"generated": len(made.rows), "heldout": len(held.rows)}
    if min(numbers.values()) < _LEAST_DIAGNOSED:
        least = f"at least {_LEAST_DIAGNOSED} tiles of {_SMALLEST} pixels a side are needed of each"
        return Diagnosed(**numbers, why=least), []
    scales = scale_of(sets.generated), scale_of(sets.heldout)
    detail = same_pixels(*scales)
    stains = stain_vectors(_tiles(source, sets.heldout, held.rows), seed=seed % 2**32)
    evidence = compute_evidence(
        _observed(sets.heldout, held, grouped=True),
        _observed(sets.generated, made, grouped=False),
        stains=stains,
        seed=seed,
    )
    rows = sets.generated.set.rows
    names = [str(rows[row]["name"]) for row in made.rows]
    why = "" if detail else _other_scale(*scales)
    found = diagnose(evidence if detail else evidence.without(_DETAIL))
    judged = Diagnosed(done=True, **numbers, detail=detail, why=why)
    return judged, [finding.as_row(names) for finding in found]


def _other_scale(made: Scale | None, held: Scale | None) -> str:
    sides = " and ".join(f"{one.words}" for one in (made, held) if one)
    return f"blur and block edges cannot be compared between two scales ({sides})"


def _spread(names: Names, one: Looked, number: int) -> Names:
    """The cluster of every row of a set [N]; "" for rows that were not looked at."""
    found = np.full(number, "", dtype=names.dtype)
    found[one.rows] = names
    return found


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
