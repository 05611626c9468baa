"""Did a second set of images come nearer to real ones than a first, made from the same prompts?

The two sets are paired: image i of both has one prompt and one seed. So the test needs neither
repeated generations nor a large real set: what the real tiles have among themselves falls out of
the difference of the two distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.measures.distances import cubic_kernel, unbiased_mmd
from crafts.measures.rows import Array, Features, check_pair, unit_rows

Marks = NDArray[np.bool_]
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Change:
    """Kernel distances to the same real tiles, before and after.

    Attributes:
        before: unbiased kernel distance of the first set; may lie slightly below zero.
        after: of the second set.
        nearer: chance of so large a fall, or a larger one, if both sets were drawn alike.
        farther: the same of a rise.
        steady: the sign stays when any one group of real tiles is left out.
    """

    before: float
    after: float
    nearer: float
    farther: float
    steady: bool


def kernel_change(
    real: Features,
    before: Features,
    after: Features,
    *,
    groups: Sequence[str] | None = None,
    num_swaps: int = 4999,
    seed: int = 0,
) -> Change:
    """Compare two paired sets with real tiles.

    The test swaps the two images of randomly chosen pairs: if nothing changed, they are
    exchangeable, and the difference of the distances is one draw among the swapped ones (Good 2005,
    permutation tests of matched pairs). Features count by direction only.

    Args:
        real: features [R, D], R of at least 2.
        before: features [N, D], N of at least 2.
        after: features [N, D], row for row of the same prompts and seeds.
        groups: patient of each real tile; None: each stands for itself.
        num_swaps: random swaps; the smallest chance that can come out is 1 / (num_swaps + 1).
        seed: of the swaps.

    Raises:
        DataError: sets of other sizes or widths, or values that are not finite.
    """
    tiles, first = (_scaled(rows) for rows in check_pair(real, before))
    _, second = (_scaled(rows) for rows in check_pair(real, after))
    if len(first) != len(second):
        raise DataError(
            "kernel_change: before and after",
            came=f"{len(first)} and {len(second)} rows",
            allowed="as many of both: the same prompts and seeds",
            do="Generate both sets from one manifest.",
        )
    pairs = _Pairs(np.concatenate([first, second]), tiles)
    every = np.arange(len(tiles), dtype=np.int64)
    swaps = np.random.default_rng(seed).random((num_swaps, len(first))) < 0.5
    unswapped = np.zeros((1, len(first)), bool)
    seen = float(pairs.fall(unswapped, every)[0])
    drawn = pairs.fall(swaps, every)
    names = np.asarray(groups if groups is not None else every.astype(str))
    parts = [every[names != name] for name in np.unique(names)]
    left = [float(pairs.fall(unswapped, rows)[0]) for rows in parts if len(rows)]
    return Change(
        before=unbiased_mmd(tiles, first),
        after=unbiased_mmd(tiles, second),
        nearer=float((1 + (drawn >= seen - _ROUNDING).sum()) / (1 + num_swaps)),
        farther=float((1 + (drawn <= seen + _ROUNDING).sum()) / (1 + num_swaps)),
        steady=len(left) > 1 and all(value * seen > 0 for value in left),
    )


class _Pairs:
    """Kernels of N pictures before and the N after [2N, D] among themselves and with real tiles."""

    def __init__(self, both: Array, tiles: Array) -> None:
        self.among, self.across = cubic_kernel(both, both), cubic_kernel(tiles, both)
        np.fill_diagonal(self.among, 0.0)

    def fall(self, swapped: Marks, real_rows: NDArray[np.int64]) -> Array:
        """Distance of the first set less that of the second, with pairs swapped as marked [S, N].

        Args:
            swapped: pairs whose two pictures change sides.
            real_rows: real tiles that count.

        Returns:
            [S]; what the real tiles have among themselves falls out.
        """
        number, mean = swapped.shape[1], self.across[real_rows].mean(axis=0)
        first = np.concatenate([~swapped, swapped], axis=1).astype(np.float64)
        values = [
            ((marks @ self.among) * marks).sum(axis=1) / (number * (number - 1))
            - 2 * (marks @ mean) / number
            for marks in (first, 1 - first)
        ]
        return np.asarray(values[0] - values[1])


def kernel_floor(real: Features, others: Features) -> float:
    """Unbiased kernel distance between two real sets [R, D] and [M, D], on the same scale."""
    first, second = (_scaled(rows) for rows in check_pair(real, others))
    return unbiased_mmd(first, second)


def _scaled(rows: Array) -> Array:
    """Rows of one length, so that the kernel sees cosines."""
    return np.sqrt(rows.shape[1]) * unit_rows(rows, "features")
