"""What needs the pixels of tiles: stains, glands and the diagnosis, from a sample of each set.

The amounts of stain are those that the diagnosis judges: of the mean colour of a tile, along the
directions that both stains have in the held-out tiles. So the report and the diagnosis cannot say
two things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.evaluation.diagnosis.causes import diagnose, hidden_causes
from crafts.evaluation.diagnosis.evidence import compute_evidence
from crafts.evaluation.diagnosis.sides import Observed
from crafts.evaluation.results import Diagnosed, StainCluster, StainRow, StructureRow
from crafts.imaging.stains import stain_amounts, stain_vectors, textbook_stains
from crafts.measures.appearance import appearance
from crafts.measures.glands import GLAND, Glands, join_glands, measure_glands
from crafts.sets.described import Described, Scale, Sets, same_pixels, scale_of
from crafts.sets.source import SetName, Source
from crafts.sets.splits import Names, Rows, halve

_SMALLEST = 24  # pixels a side: below it sharpness means nothing
_STAIN_TILES = 64
_LEAST_DIAGNOSED = 16
_DETAIL = ("sharpness", "blockiness")
_CENTRAL = (0.01, 0.99)
_LEAST = 10
_CLUSTERS = 3

CLUSTER_FIELD = "stain_cluster"
"""Field of a tile that holds its cluster; a slice like ``site``."""

Densities = NDArray[np.float64]


@dataclass(frozen=True)
class Looked:
    """A sample of one set, opened.

    Attributes:
        rows: of the set [K], sorted.
        appearance: [K, 5].
        glands: of the same tiles.
    """

    rows: Rows
    appearance: NDArray[np.float64]
    glands: Glands

    def densities(self, stains: NDArray[np.float64]) -> NDArray[np.float64]:
        """Haematoxylin, eosin and the rest [K, 3] along the directions of the stains [2, 3]."""
        return stain_amounts(self.appearance[:, 2:], stains)


def look(source: Source, side: Described, *, most: int, seed: int) -> Looked:
    """Open at most ``most`` tiles of a set, one at a time; tiles under 24 pixels are left out."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(side))[:most])
    rows, looks, glands = [], [], []
    for row in drawn.tolist():
        tile = source.load(str(side.set.rows[row]["name"]))
        if tile is None or min(tile.pixels.shape[:2]) < _SMALLEST:
            continue
        rows.append(row)
        looks.append(appearance([tile.pixels])[0])
        glands.append(measure_glands(tile.pixels[None]))
    if not rows:
        return Looked(np.empty(0, np.int64), np.empty((0, 5)), join_glands([]))
    return Looked(np.array(rows), np.stack(looks), join_glands(glands))


def find_stains(
    sets: Sets, looked: Mapping[SetName, Looked], source: Source | None, *, seed: int
) -> NDArray[np.float64]:
    """Directions [2, 3] of both stains in the held-out tiles, for every set and every number.

    The textbook ones without held-out tiles.
    """
    held = looked.get("heldout")
    if held is None or source is None:
        return textbook_stains()
    return stain_vectors(_tiles(source, sets.heldout, held.rows), seed=seed % 2**32)


def stain_report(
    sets: Sets, looked: Mapping[SetName, Looked], stains: NDArray[np.float64]
) -> list[StainRow]:
    """Densities of every set; empty without held-out tiles large enough to be looked at."""
    if "heldout" not in looked or not len(looked["heldout"].rows):
        return []
    sides = sets.named()
    found = {
        name: Stained(
            one.densities(stains), sides[name].classes[one.rows], sides[name].groups[one.rows]
        )
        for name, one in looked.items()
        if len(one.rows)
    }
    return stain_rows(found)


def structure_report(sets: Sets, looked: Mapping[SetName, Looked]) -> list[StructureRow]:
    """Glands of every set, then of each class that a set shows in ten tiles or more."""
    sides = sets.named()
    rows = []
    for part in ("all", "class"):
        for name, one in looked.items():
            classes = sides[name].classes[one.rows]
            for label in [""] if part == "all" else sorted(set(classes.tolist()) - {""}):
                mine = classes == label if label else np.ones(len(classes), bool)
                if int(mine.sum()) >= (_LEAST if label else 1):
                    rows.append(_structure_row(name, label, one.glands, mine))
    return rows


def _structure_row(
    name: SetName, label: str, glands: Glands, mine: NDArray[np.bool_]
) -> StructureRow:
    return StructureRow(
        set=name,
        name=label,
        n=int(mine.sum()),
        glands=float((glands.scores[mine] >= GLAND).mean()),
        lumens=float(glands.lumens[mine].mean()),
        lumen_share=float(glands.shares[mine].mean()),
    )


def stain_clusters(
    sets: Sets, looked: Mapping[SetName, Looked], stains: NDArray[np.float64]
) -> tuple[list[StainCluster], Sets]:
    """Clusters of the held-out tiles by stain, and the sets with the field ``stain_cluster``.

    None where a column names the stains, or where too few tiles were looked at.
    """
    held = looked.get("heldout")
    if held is None or (sets.heldout.fields["stain"] != "").any():
        return [], sets
    clusters, names = cluster_stains({name: one.densities(stains) for name, one in looked.items()})
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
    sets: Sets, looked: Mapping[SetName, Looked], *, stains: NDArray[np.float64], seed: int
) -> tuple[Diagnosed, list[dict[str, Any]]]:
    """What was judged on the sampled tiles, and the causes found, as rows for ``metrics.json``.

    Args:
        sets: the sets.
        looked: samples of ``generated`` and ``heldout``.
        stains: directions of both in the held-out tiles.
        seed: of halvings.
    """
    made, held = looked["generated"], looked.get("heldout")
    if held is None:
        return Diagnosed(generated=len(made.rows), why="no held-out tiles to hold them against"), []
    numbers = {"generated": len(made.rows), "heldout": len(held.rows)}
    if min(numbers.values()) < _LEAST_DIAGNOSED:
        least = f"at least {_LEAST_DIAGNOSED} tiles of {_SMALLEST} pixels a side are needed of each"
        return Diagnosed(**numbers, why=least), []
    scales = scale_of(sets.generated), scale_of(sets.heldout)
    detail = same_pixels(*scales)
    evidence = compute_evidence(
        _observed(sets.heldout, held, grouped=True),
        _observed(sets.generated, made, grouped=False),
        stains=stains,
        seed=seed,
    )
    if not evidence.halves:
        groups = len(np.unique(sets.heldout.groups[held.rows]))
        few = f"{groups} groups of held-out tiles cannot be halved to show what chance does alone"
        return Diagnosed(**numbers, why=few), []
    rows = sets.generated.set.rows
    names = [str(rows[row]["name"]) for row in made.rows]
    why = "" if detail else _other_scale(*scales)
    evidence = evidence if detail else evidence.without(_DETAIL)
    found, hidden = diagnose(evidence), hidden_causes(evidence)
    judged = Diagnosed(done=True, **numbers, detail=detail, why=why, hidden=hidden)
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
        glands=one.glands.scores,
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


@dataclass(frozen=True)
class Stained:
    """Densities of a sample of one set.

    Attributes:
        densities: [N, 3] haematoxylin, eosin and what neither explains.
        classes: [N].
        groups: [N].
    """

    densities: Densities
    classes: Names
    groups: Names


def stain_rows(found: Mapping[SetName, Stained]) -> list[StainRow]:
    """Rows for each set over all, then for each class of it with at least 10 tiles.

    ``outside`` counts tiles beyond the central 98 % of the held-out tiles in haematoxylin or eosin;
    ``outside_expected`` is that share of one half of the held-out groups beyond the other half.

    Args:
        found: sets; ``heldout`` gives the range.
    """
    held = found["heldout"]
    low, high = _range(held.densities)
    expected = _expected(held)
    rows = []
    for name, one in found.items():
        parts: Sequence[str] = ["", *sorted(set(one.classes.tolist()) - {""})]
        for part in parts:
            densities = one.densities[one.classes == part] if part else one.densities
            if part and len(densities) < _LEAST:
                continue
            mean, spread = densities.mean(axis=0), densities.std(axis=0)
            rows.append(
                StainRow(
                    set=name, name=part, n=len(densities),
                    haematoxylin=mean[0], haematoxylin_sd=spread[0],
                    eosin=mean[1], eosin_sd=spread[1],
                    outside=_outside(densities, low, high),
                    outside_expected=None if part else expected,
                )
            )  # fmt: skip
    return rows


def cluster_stains(
    found: Mapping[SetName, Densities],
) -> tuple[list[StainCluster], dict[SetName, Names]]:
    """Three clusters of held-out tiles by haematoxylin and eosin, and that of every tile.

    k-means on densities divided by their deviation, seeded; clusters in the order of density. Other
    sets take no part: their tiles belong to the nearest centre.

    Args:
        found: densities [N, 3] of each set; ``heldout`` makes the clusters.

    Returns:
        The clusters and their names of every tile [N]; nothing below 60 held-out tiles or where
        they all look the same.
    """
    from sklearn.cluster import KMeans

    held = found["heldout"][:, :2]
    scale = held.std(axis=0)
    if len(held) < 2 * _LEAST * _CLUSTERS or not (scale > 0).all():
        return [], {}
    fitted = KMeans(_CLUSTERS, n_init=10, random_state=0).fit(held / scale)
    order = np.argsort(fitted.cluster_centers_.sum(axis=1))
    centres = fitted.cluster_centers_[order] * scale
    names = np.array([f"{k} (H {one:.2f}, E {two:.2f})" for k, (one, two) in enumerate(centres, 1)])
    place = np.argsort(order)
    numbers = {
        name: place[fitted.predict(one[:, :2] / scale)] if len(one) else np.empty(0, dtype=np.int64)
        for name, one in found.items()
    }
    clusters = [
        StainCluster(
            name=str(name), haematoxylin=float(one), eosin=float(two),
            shares={key: float((mine == k).mean()) for key, mine in numbers.items() if len(mine)},
        )
        for k, (name, (one, two)) in enumerate(zip(names, centres, strict=True))
    ]  # fmt: skip
    return clusters, {key: names[mine] for key, mine in numbers.items()}


def _range(densities: Densities) -> tuple[Densities, Densities]:
    low, high = np.quantile(densities[:, :2], _CENTRAL, axis=0)
    return low, high


def _outside(densities: Densities, low: Densities, high: Densities) -> float:
    two = densities[:, :2]
    return float(((two < low) | (two > high)).any(axis=1).mean())


def _expected(held: Stained) -> float | None:
    halves = halve(held.groups, held.classes, 0)
    if min(map(len, halves)) < _LEAST:
        return None
    ranges = [_range(held.densities[rows]) for rows in halves]
    shares = [_outside(held.densities[halves[k]], *ranges[1 - k]) for k in (0, 1)]
    return float(np.mean(shares))
