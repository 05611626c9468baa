"""Who lies near whom: precision, recall, density and coverage; nearest rows.

Precision and its kin rest on comparing a distance with a radius, and one wrong comparison is a
wrong figure. Products of float32 tell almost all pairs apart, with a proven bound on their
rounding; what lies within the bound is computed again from differences in float64. Hence the
figures equal those of plain loops in float64, at the speed of float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError
from crafts.measures.rows import Array, Features, check_pair

Indices = NDArray[np.int64]

_BLOCK = 1024
_AT_ONCE = 2**26  # cosines of float32: 256 MiB
_MORE = 8  # neighbours kept beyond k, among which rounding may change the order
_REFINED = 100_000  # pairs of a block computed again; more go through a product in float64
_GATHERED = 4096  # pairs whose rows are copied side by side at a time
_ONE_BY_ONE = 64  # rows whose neighbours may be sought by plain differences


def prdc(real: Features, generated: Features, *, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball around a point reaches to its k-th neighbour in its own set, itself not counted; a point
    lies in a ball when its distance is strictly smaller. Equal to loops over
    ``sqrt(((x - y) ** 2).sum())`` in float64; memory grows with N + M, not with N · M.

    Args:
        real: features [N, D], N > k.
        generated: features [M, D], M > k.
        k: neighbour that sets the radius.

    Returns:
        precision: share of generated points inside some real ball; recall: share of real points
        inside some generated ball; density: mean number of real balls around a generated point,
        over k; coverage: share of real balls that hold a generated point.

    Raises:
        DataError: as :func:`crafts.evaluation.frechet_distance`.
        ConfigError: ``k`` < 1 or not smaller than both sets, or swapped marks.
    """
    return prdc_at(real, generated, ks=(k,))[k]


def prdc_at(
    real: Features, generated: Features, *, ks: Sequence[int] = (3, 5)
) -> dict[int, dict[str, float]]:
    """:func:`prdc` for several k at the cost of one.

    Args:
        real: features [N, D], N above each k.
        generated: features [M, D], M above each k.
        ks: neighbours that set the radius.

    Raises:
        DataError: as :func:`prdc`.
        ConfigError: as :func:`prdc`, or no k.
    """
    first, second = check_pair(real, generated)
    most = min(len(first), len(second)) - 1
    for k in ks or (0,):
        if not 1 <= k <= most:
            raise ConfigError(
                "prdc: k",
                came=str(k) if ks else "none",
                allowed=f"1 to {most} for these sets",
                do="Pass a smaller k or more images.",
            )
    sets = _distinct(first), _distinct(second)
    radii = _radii(sets[0], ks), _radii(sets[1], ks)
    inside, covered, reached = _compare(sets, radii)
    every = sets[1].counts
    return {
        k: {
            "precision": _share(inside[at] > 0, every),
            "recall": _share(reached[at], sets[0].counts),
            "density": float(inside[at] @ every / (k * every.sum())),
            "coverage": _share(covered[at], sets[0].counts),
        }
        for at, k in enumerate(ks)
    }


@dataclass(frozen=True)
class Nearest:
    """The nearest row of a bank for each query.

    Attributes:
        index: int64 [N]; -1 where every row of the bank was excluded.
        cosine: [N], in the precision of the rows; -inf where there is none.
    """

    index: Indices
    cosine: NDArray[Any]

    @property
    def distance(self) -> Array:
        """1 - cosine in float64 [N], never below 0; inf where there is none."""
        return np.asarray((1 - self.cosine.astype(np.float64)).clip(0))


def nearest(
    queries: NDArray[Any],
    bank: NDArray[Any],
    *,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
    without_self: bool = False,
) -> Nearest:
    """Nearest row by cosine, the first of equal ones.

    Args:
        queries: unit rows [N, D].
        bank: unit rows [M, D]. A block of queries against it takes about 256 MiB at most.
        groups: group of each query [N] and of each row of the bank [M]: rows of the same group do
            not count.
        without_self: ``queries`` is ``bank``; a row is not its own neighbour.
    """
    index = np.empty(len(queries), dtype=np.int64)
    best = np.empty(len(queries), dtype=np.result_type(queries, bank))
    for rows in _slices(len(queries), max(1, _AT_ONCE // len(bank))):
        cosine = queries[rows] @ bank.T
        own = np.arange(len(cosine))
        if groups is not None:
            cosine[groups[0][rows, None] == groups[1][None]] = -np.inf
        if without_self:
            cosine[own, own + rows.start] = -np.inf
        index[rows] = cosine.argmax(axis=1)
        best[rows] = cosine[own, index[rows]]
    return Nearest(np.where(np.isfinite(best), index, -1), best)


@dataclass(frozen=True)
class _Points:
    """Distinct rows [U, D] and how often each occurs [U]: copies would only repeat all work."""

    rows: Array
    counts: Indices


def _distinct(rows: Array) -> _Points:
    return _Points(*np.unique(rows, axis=0, return_counts=True))


def _share(hit: NDArray[np.bool_], counts: Indices) -> float:
    return float(counts[hit].sum() / counts.sum())


@dataclass(frozen=True)
class _Frame:
    """Common centre [D] and scale, within which products of float32 neither overflow nor cancel.

    Attributes:
        floor: bound on the error that shifting and scaling themselves bring to a squared distance.
    """

    centre: Array
    scale: float
    floor: float

    @staticmethod
    def around(*sets: Array) -> _Frame:
        centre = np.mean([rows.mean(axis=0) for rows in sets], axis=0)
        lengths = [np.sqrt(((rows - centre) ** 2).sum(axis=1).max()) for rows in sets]
        scale = float(max(lengths)) or 1.0
        largest = max(np.abs(rows).max() for rows in sets) * np.sqrt(len(centre))
        return _Frame(centre, scale, float(2.0**-48 * max(largest / scale, 1.0)))


@dataclass(frozen=True)
class _Factors:
    """Two matrices whose product holds a lower bound of every squared distance in a frame.

    ``left[i] @ right[j] = (1 - e) (|x|² + |y|²) - 2 x·y - floor``. A product of D + 2 terms, of
    factors rounded once, errs by at most about (D + 5) u times the sum of its terms' sizes, which
    is at most 2 (|x|² + |y|²), with u half the spacing of floats at one (Higham 2002, section
    3.1). With ``e = 2 (D + 8) u`` a bound stays below the distance, and above it once twice
    ``e (|x|² + |y|²) + floor`` is added.

    Attributes:
        slack: ``e |x|² + floor / 2`` of each point [U]; two of them, doubled, bound a pair.
    """

    left: NDArray[Any]
    right: NDArray[Any]
    slack: Array

    def part(self, rows: slice) -> _Factors:
        return _Factors(self.left[rows], self.right[rows], self.slack[rows])


def _factors(rows: Array, frame: _Frame, dtype: type) -> _Factors:
    points = (rows - frame.centre) / frame.scale
    power = (points**2).sum(axis=1)
    slack = (rows.shape[1] + 8) * float(np.finfo(dtype).eps) * power + frame.floor / 2
    one = np.ones(len(rows))
    return _Factors(
        left=np.column_stack([-2 * points, power - slack, one]).astype(dtype),
        right=np.column_stack([points, one, power - slack]).astype(dtype),
        slack=slack,
    )


def _distances(first: Array, second: Array, one: Indices, two: Indices) -> Array:
    """Distance [P] of each named row of one array to a named row of the other, by differences."""
    found = np.empty(len(one))
    for pairs in _slices(len(one), _GATHERED):
        gap = first[one[pairs]] - second[two[pairs]]
        found[pairs] = np.sqrt((gap**2).sum(axis=1))
    return found


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


# Radii: the k-th neighbour in the own set.


def _radii(points: _Points, ks: Sequence[int]) -> Array:
    """Distance [len(ks), U] of each point to its k-th neighbour, copies of itself counted."""
    rows = points.rows
    keep = min(max(ks) + _MORE, len(rows) - 1)
    if keep == 0:
        return np.zeros((len(ks), len(rows)))
    frame = _Frame.around(rows)
    for dtype in (np.float32, np.float64):
        bounds, names = _smallest(_factors(rows, frame, dtype), keep)
        own = np.repeat(np.arange(len(rows)), keep)
        found = _distances(rows, rows, own, names.ravel()).reshape(names.shape)
        radii = _reach(found, points.counts[names], points.counts, ks)
        # Nobody left out is nearer than the largest bound kept: the radius is certain below it.
        certain = (radii.max(axis=0) / frame.scale) ** 2 <= bounds.max(axis=1)
        doubtful = np.flatnonzero(~certain) if keep < len(rows) - 1 else np.empty(0, dtype=int)
        if len(doubtful) <= _ONE_BY_ONE:
            break
    for row in doubtful:
        others = np.arange(len(rows)) != row
        every = np.sqrt(((rows[others] - rows[row]) ** 2).sum(axis=1))[None]
        counts = points.counts[others][None]
        radii[:, [row]] = _reach(every, counts, points.counts[[row]], ks)
    return radii


def _reach(distances: Array, counts: Indices, own: Indices, ks: Sequence[int]) -> Array:
    """Radii [len(ks), R] from distances [R, C] to others that occur ``counts`` [R, C] times."""
    order = np.argsort(distances, axis=1)
    ordered = np.take_along_axis(distances, order, axis=1)
    reached = (own - 1)[:, None] + np.cumsum(np.take_along_axis(counts, order, axis=1), axis=1)
    radii = np.empty((len(ks), len(distances)))
    for at, k in enumerate(ks):
        kth = (reached >= k).argmax(axis=1)
        radii[at] = np.where(own > k, 0.0, ordered[np.arange(len(kth)), kth])
    return radii


def _smallest(factors: _Factors, keep: int) -> tuple[NDArray[Any], Indices]:
    """The ``keep`` smallest lower bounds [U, keep] of each point to the others, and whose."""
    total, dtype = len(factors.left), factors.left.dtype
    best = np.full((total, keep), np.inf, dtype=dtype)
    names = np.zeros((total, keep), dtype=np.int64)
    blocks = list(_slices(total, _BLOCK))
    for rows in blocks:  # the diagonal first: after it, hardly anything of a block is worth a look
        bounds = factors.left[rows] @ factors.right[rows].T
        np.fill_diagonal(bounds, np.inf)
        held = min(keep, len(bounds))
        chosen = np.argpartition(bounds, held - 1, axis=1)[:, :held]
        best[rows, :held] = np.take_along_axis(bounds, chosen, axis=1)
        names[rows, :held] = chosen + rows.start
    for rows, columns in combinations(blocks, 2):
        bounds = factors.left[rows] @ factors.right[columns].T
        one, two, values = _picked(bounds, bounds < best[rows].max(axis=1)[:, None])
        _keep(best[rows], names[rows], one, two + columns.start, values)
        one, two, values = _picked(bounds, bounds < best[columns].max(axis=1)[None, :])
        _keep(best[columns], names[columns], two, one + rows.start, values)
    return best, names


def _picked(bounds: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[Indices, Indices, NDArray[Any]]:
    """Row, column and value of the entries of a block that a mask names."""
    at = np.flatnonzero(mask)  # many times faster than nonzero of two dimensions
    one, two = np.divmod(at, mask.shape[1])
    return one, two, bounds.ravel()[at]


def _keep(
    best: NDArray[Any], names: Indices, owner: Indices, other: Indices, value: NDArray[Any]
) -> None:
    """Let each owner keep the smallest of what it has and of what it is offered, in place."""
    if len(owner) == 0:
        return
    keep = best.shape[1]
    order = np.argsort(owner, kind="stable")
    who, start, number = np.unique(owner[order], return_index=True, return_counts=True)
    line = np.repeat(np.arange(len(who)), number)
    place = keep + np.arange(len(owner)) - np.repeat(start, number)
    values = np.full((len(who), keep + int(number.max())), np.inf, dtype=best.dtype)
    labels = np.zeros(values.shape, dtype=np.int64)
    values[:, :keep], labels[:, :keep] = best[who], names[who]
    values[line, place], labels[line, place] = value[order], other[order]
    chosen = np.argpartition(values, keep - 1, axis=1)[:, :keep]
    best[who] = np.take_along_axis(values, chosen, axis=1)
    names[who] = np.take_along_axis(labels, chosen, axis=1)


# Balls: which points of the other set they hold.


def _compare(
    sets: tuple[_Points, _Points], radii: tuple[Array, Array]
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """What the balls of two sets hold, for each k.

    Returns:
        Number of real balls around each generated point [K, V]; whether each real ball holds a
        generated point [K, U]; whether each real point lies in a generated ball [K, U].
    """
    real, generated = sets
    inside = np.zeros((len(radii[0]), len(generated.rows)))
    covered = np.zeros((len(radii[0]), len(real.rows)), dtype=bool)
    reached = np.zeros_like(covered)
    frame = _Frame.around(real.rows, generated.rows)
    quick = [_factors(each.rows, frame, np.float32) for each in sets]
    for rows in _slices(len(real.rows), _BLOCK):
        for columns in _slices(len(generated.rows), _BLOCK):
            one, two, distance = _close_pairs(sets, radii, frame, quick, (rows, columns))
            for at in range(len(radii[0])):
                held = distance < radii[0][at, one]
                inside[at] += np.bincount(two[held], real.counts[one[held]], len(inside[at]))
                covered[at, one[held]] = True
                reached[at, one[distance < radii[1][at, two]]] = True
    return inside, covered, reached


def _close_pairs(
    sets: tuple[_Points, _Points],
    radii: tuple[Array, Array],
    frame: _Frame,
    quick: list[_Factors],
    block: tuple[slice, slice],
) -> tuple[Indices, Indices, Array]:
    """Pairs of a block that may lie in a ball, with distances that compare rightly to all radii.

    Where bounds already tell on which side of every radius a pair lies, its distance is the upper
    bound; elsewhere it is computed from differences.
    """
    factors = [each.part(rows) for each, rows in zip(quick, block, strict=True)]
    scaled = [(each[:, rows] / frame.scale) ** 2 for each, rows in zip(radii, block, strict=True)]
    one, two, upper, undecided = _bounded(factors, scaled)
    if len(undecided) > _REFINED:  # too coarse for this block
        pairs = zip(sets, block, strict=True)
        factors = [_factors(each.rows[rows], frame, np.float64) for each, rows in pairs]
        one, two, upper, undecided = _bounded(factors, scaled)
    distance = np.sqrt(np.maximum(upper, 0.0)) * frame.scale
    one, two = one + block[0].start, two + block[1].start
    at = undecided
    distance[at] = _distances(sets[0].rows, sets[1].rows, one[at], two[at])
    return one, two, distance


def _bounded(
    factors: list[_Factors], squared: list[Array]
) -> tuple[Indices, Indices, Array, Indices]:
    """Row, column and upper bound of pairs that may lie in a ball; which of them are undecided."""
    bounds = factors[0].left @ factors[1].right.T
    widest = [each.max(axis=0).astype(bounds.dtype) for each in squared]
    near = (bounds < widest[0][:, None]) | (bounds < widest[1][None, :])
    one, two, lower = _picked(bounds, near)
    upper = lower + 2 * (factors[0].slack[one] + factors[1].slack[two])
    undecided = np.zeros(len(one), dtype=bool)
    for radii, names in zip(squared, (one, two), strict=True):
        for each in radii:
            undecided |= (lower < each[names]) & (each[names] <= upper)
    return one, two, upper, np.flatnonzero(undecided)
