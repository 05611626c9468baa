"""Which training tile holds the same structure: landmarks propose, whole areas decide.

Two searches propose candidates. Every landmark of a suspect looks for its like among those of the
training tiles; landmarks that agree on one placement of one tile make a candidate: so parts are
found. And the suspect as a whole, in few squares and in eight positions, looks for its like: so
tiles are found that were drawn anew from memory, without any detail being the same. Then the two
structure maps are laid over each other and correlated where they overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.matching.landmarks import (
    SCALES,
    Map,
    TileStructure,
    align,
    coarse_map,
    turn_matrix,
)

_CELLS, _PROBES = 512, 2  # of the index: cells, and cells that a query looks into
_SAMPLE = 20_000
_PAIRS = 10_000_000  # likenesses held at once
_NEIGHBORS = 3
_LIKE = 0.9  # cosine of two descriptors of one spot
_STEPS = 25  # cosines that are equal when rounded down to so many steps hardly differ
_BIN = 8.0  # pixels of a map: landmarks that place a tile so near to each other agree
_NEAR, _CLOSE = 12.0, 4.0  # pixels: before and after a first fit
_CANDIDATES = 4
_FEWEST, _TO_FIT = 3, 4  # landmarks that must agree to be looked at, and to fit a placement
_AREA_COUNTS = 0.1
_WHOLES = 3  # candidates by the look of the whole
_TOGETHER = 250  # suspects searched at once
_MUCH_BETTER = 0.15  # correlation of a half over that of the whole
MIN_OVERLAP = 0.15
"""Share of a suspect that must lie on a training tile: below it chance correlates too."""

_TURNS = np.stack([turn_matrix(k) for k in range(8)])


@dataclass(frozen=True)
class Match:
    """The best placement of a suspect on a training tile.

    Attributes:
        index: of the training tile; -1 where nothing was found.
        correlation: of the two structure maps where they overlap, -1 to 1.
        overlap: share of the suspect that lies on the training tile.
        matrix: [2, 2] and ...
        shift: [2]: place in the training tile = matrix @ place in the suspect + shift, (row,
            column) from the centres, in pixels at 128 along the shorter side.
        votes: landmarks that agreed.
    """

    index: int = -1
    correlation: float = 0.0
    overlap: float = 0.0
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    votes: int = 0

    @property
    def rank(self) -> float:
        """What the best match is chosen by: of equal correlations that of the larger area."""
        return self.correlation + _AREA_COUNTS * self.overlap


class Index:
    """Landmarks of training tiles, sorted into cells so that a query sees few of them.

    Args:
        tiles: what is searched.
        centres: [C, 49] middles of the cells; see :func:`build_cells`.
    """

    def __init__(self, tiles: Sequence[TileStructure], centres: NDArray[np.float32]) -> None:
        self.maps, self.centres = [tile.map for tile in tiles], centres
        self.coarse = np.stack([coarse_map(tile.map).ravel() for tile in tiles])
        parts = [tile.landmarks for tile in tiles]
        descriptors = np.concatenate([part.descriptors for part in parts])
        cells = (descriptors @ centres.T).argmax(axis=1)
        order = np.argsort(cells, kind="stable")
        self.descriptors = descriptors[order]
        self.owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order]
        self.places = np.concatenate([part.places for part in parts])[order]
        self.turns = np.concatenate([part.turns for part in parts])[order]
        self.starts = np.searchsorted(cells[order], np.arange(len(centres) + 1))

    def like(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (query, landmark) that may show one spot; at most a few a query.

        Args:
            queries: descriptors [Q, 49].
        """
        near = np.argpartition(-(queries @ self.centres.T), _probes(self.centres), axis=1)
        near = near[:, :_PROBES]
        found = [np.empty((3, 0))]
        for cell in range(len(self.centres)):
            first, last = self.starts[cell], self.starts[cell + 1]
            asked = np.nonzero((near == cell).any(axis=1))[0]
            if first == last:
                continue
            step = max(1, _PAIRS // (last - first))
            for start in range(0, len(asked), step):
                rows = asked[start : start + step]
                likeness = queries[rows] @ self.descriptors[first:last].T
                query, landmark = np.nonzero(_highest(likeness))
                values = likeness[query, landmark].astype(np.float64)
                found.append(np.stack([rows[query], landmark + first, values]))
        query, landmark, likeness = np.concatenate(found, axis=1)
        landmark = landmark.astype(np.int64)
        order = np.lexsort((self.owner[landmark], -np.floor(likeness * _STEPS), query))
        query, landmark = query[order].astype(np.int64), landmark[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        return query[rank < _NEIGHBORS], landmark[rank < _NEIGHBORS]


def _probes(centres: NDArray[np.float32]) -> int:
    return min(_PROBES, len(centres)) - 1


def _highest(likeness: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which are alike at all and among the few highest of their row [Q, L].

    Of nearly equal ones the first count, so that the landmarks of a suspect agree on one of many
    training tiles that hardly differ, instead of scattering over all of them.
    """
    alike = likeness > _LIKE
    many = np.nonzero(alike.sum(axis=1) > _NEIGHBORS)[0]
    if len(many):
        places = np.arange(likeness.shape[1]) / likeness.shape[1]
        score = np.floor(likeness[many] * _STEPS) - 0.9 * places
        best = np.argpartition(-score, _NEIGHBORS - 1, axis=1)[:, :_NEIGHBORS]
        kept = np.zeros((len(many), likeness.shape[1]), dtype=bool)
        np.put_along_axis(kept, best, True, axis=1)
        alike[many] &= kept
    return alike


def build_cells(tiles: Sequence[TileStructure]) -> NDArray[np.float32]:
    """Middles of the cells of an :class:`Index`, by k-means on some of the landmarks."""
    from sklearn.cluster import MiniBatchKMeans

    all_of_them = np.concatenate([tile.landmarks.descriptors for tile in tiles])
    step = max(1, len(all_of_them) // _SAMPLE)
    some = all_of_them[::step]
    if len(some) <= _CELLS:
        return some
    means = MiniBatchKMeans(_CELLS, init="random", random_state=0, n_init=1, max_iter=3).fit(some)
    return np.asarray(means.cluster_centers_, dtype=np.float32)


def search(index: Index, suspects: Sequence[TileStructure]) -> list[Match]:
    """The best match of each suspect among the tiles of an index; a bounded memory at a time."""
    return [
        match
        for start in range(0, len(suspects), _TOGETHER)
        for match in _search_some(index, suspects[start : start + _TOGETHER])
    ]


def _search_some(index: Index, suspects: Sequence[TileStructure]) -> list[Match]:
    parts = [tile.landmarks for tile in suspects]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    query, landmark = index.like(np.concatenate([part.descriptors for part in parts]))
    places = np.concatenate([part.places for part in parts])[query]
    scales = np.concatenate([part.scales for part in parts])[query]
    turns = np.concatenate([part.turns for part in parts])[query]
    linear = _TURNS[index.turns[landmark]].transpose(0, 2, 1) @ _TURNS[turns]
    linear = linear * np.array(SCALES)[scales][:, None, None]
    target = index.places[landmark]
    shifts = target - np.einsum("kij,kj->ki", linear, places)
    whose = owner[query]
    keys = np.column_stack(
        [
            index.owner[landmark],
            scales,
            np.rint(linear.reshape(len(linear), 4) * 100),
            np.rint(shifts / _BIN),
        ]
    ).astype(np.int64)
    pairs = np.concatenate([places, target], axis=1).astype(np.float64)
    starts = np.searchsorted(whose, np.arange(len(suspects) + 1))
    wholes = _whole(index, suspects)
    return [
        max(
            _best(index, suspect, keys[first:last], pairs[first:last]),
            _laid_over(index, suspect, whole),
            key=lambda match: match.rank,
        )
        for suspect, whole, first, last in zip(
            suspects, wholes, starts[:-1], starts[1:], strict=True
        )
    ]


def _whole(index: Index, suspects: Sequence[TileStructure]) -> NDArray[np.int64]:
    """Tile and turn [N, _WHOLES, 2] that are most like each suspect as a whole."""
    turned = np.stack([turn for one in suspects for turn in _turns(coarse_map(one.map))])
    likeness = (turned.reshape(len(turned), -1) @ index.coarse.T).reshape(len(suspects), -1)
    number = min(_WHOLES, likeness.shape[1])
    best = np.argpartition(-likeness, number - 1, axis=1)[:, :number]
    turns, tiles = np.divmod(best, len(index.coarse))
    return np.stack([tiles, turns], axis=2)


def _turns(values: Map) -> list[Map]:
    """The eight positions, in the order of :func:`turn_matrix`."""
    flipped = [values, values[::-1], values[:, ::-1], values[::-1, ::-1]]
    return [*flipped, *(one.T for one in flipped)]


def _laid_over(index: Index, suspect: TileStructure, whole: NDArray[np.int64]) -> Match:
    """The best of the placements edge on edge."""
    best, shift = Match(), np.zeros(2)
    for tile, turn in whole.tolist():
        found = correlate(suspect.map, index.maps[tile], matrix=_TURNS[turn], shift=shift)
        a, b, c, d = _TURNS[turn].ravel().tolist()
        match = Match(tile, *found, (a, b, c, d))
        if match.correlation > 0 and match.overlap >= MIN_OVERLAP and match.rank > best.rank:
            best = match
    return best


def _best(
    index: Index, suspect: TileStructure, keys: NDArray[np.int64], places: NDArray[np.float64]
) -> Match:
    """Try the placements on which most landmarks agree.

    Args:
        index: what is searched.
        suspect: the tile in question.
        keys: [P, 8] of each proposal: tile, scale, linear part x 100, shift in bins.
        places: [P, 4] place in the suspect and in the tile.
    """
    best = Match()
    if not len(keys):
        return best
    _, group, votes = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    for chosen in np.argsort(-votes, kind="stable")[:_CANDIDATES]:
        if votes[chosen] < _FEWEST:
            break
        key = keys[group == chosen][0]
        alike = (keys[:, :6] == key[:6]).all(axis=1)
        for matrix, shift, agree in _placements(places[alike], places[group == chosen], key):
            found = correlate(suspect.map, index.maps[key[0]], matrix=matrix, shift=shift)
            a, b, c, d = matrix.ravel().tolist()
            down, right = shift.tolist()
            match = Match(int(key[0]), *found, (a, b, c, d), (down, right), agree)
            if match.correlation > 0 and match.overlap >= MIN_OVERLAP and match.rank > best.rank:
                best = match
    return best


def _placements(
    alike: NDArray[np.float64], members: NDArray[np.float64], key: NDArray[np.int64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """The placement as voted, and fitted to all landmarks that nearly agree with it."""
    linear = key[2:6].reshape(2, 2) / 100
    shift = np.median(members[:, 2:] - members[:, :2] @ linear.T, axis=0)
    found = [(linear, shift, len(members))]
    matrix, middle = linear, shift
    for reach in (_NEAR, _CLOSE):
        error = alike[:, 2:] - alike[:, :2] @ matrix.T - middle
        near = alike[(np.abs(error) < reach).all(axis=1)]
        if len(near) < _TO_FIT:
            return found
        matrix, middle = _fit(near, linear)
    return [*found, (matrix, middle, len(near))]


def _fit(
    pairs: NDArray[np.float64], linear: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares over scale, small rotation and shift; a reflection in ``linear`` is kept."""
    turned = pairs[:, :2] @ linear.T
    aside = turned @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    zeros, ones = np.zeros(len(pairs)), np.ones(len(pairs))
    rows = np.stack([turned[:, 0], aside[:, 0], ones, zeros], axis=1)
    columns = np.stack([turned[:, 1], aside[:, 1], zeros, ones], axis=1)
    target = np.concatenate([pairs[:, 2], pairs[:, 3]])
    answer = np.linalg.lstsq(np.concatenate([rows, columns]), target, rcond=None)[0]
    along, across = answer[:2]
    return np.array([[along, -across], [across, along]]) @ linear, answer[2:]


def correlate(
    suspect: NDArray[np.int8],
    source: NDArray[np.int8],
    *,
    matrix: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> tuple[float, float]:
    """Normalised cross-correlation of two maps where they overlap, and the share that does.

    Where one half of the suspect correlates much better than the whole, that half alone counts: the
    rest may have been drawn anew. Every second pixel is looked at, which changes the result by less
    than 0.02.

    Args:
        suspect: structure map [H, W] of the tile in question.
        source: structure map of the training tile.
        matrix: [2, 2] and ...
        shift: [2]: place in the source = matrix @ place in the suspect + shift, (row, column) from
            the centres, in pixels of the maps.

    Returns:
        Correlation, -1 to 1 (0 where they do not overlap), and share of the suspect, 0 to 1.
    """
    seen, inside = align(
        source.astype(np.float32), suspect.shape, matrix=matrix, shift=shift, step=2
    )
    own = suspect[::2, ::2].astype(np.float32)
    best = _normalised(own, seen, inside)
    height, width = own.shape[0] // 2, own.shape[1] // 2
    for rows, columns in (
        (slice(None, height), slice(None)),
        (slice(height, None), slice(None)),
        (slice(None), slice(None, width)),
        (slice(None), slice(width, None)),
    ):
        part = np.zeros_like(inside)
        part[rows, columns] = inside[rows, columns]
        found = _normalised(own, seen, part)
        if found[1] >= MIN_OVERLAP and found[0] > best[0] + _MUCH_BETTER:
            best = found
    return best


def _normalised(
    first: NDArray[np.float32], second: NDArray[np.float32], where: NDArray[np.bool_]
) -> tuple[float, float]:
    """Correlation of two maps in an area, and the share of the area."""
    share = float(where.mean())
    if where.sum() < 2:
        return 0.0, share
    one, other = first[where], second[where]
    one, other = one - one.mean(), other - other.mean()
    norm = np.sqrt((one @ one) * (other @ other))
    return (float(one @ other / norm) if norm > 0 else 0.0), share
