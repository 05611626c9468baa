"""Row, crop, noise, timestep and caption of sample ``g`` are functions of (seed, g).

``g`` is the global sample index, ``step * global_batch_size + place in the batch``. Nothing here
has a state, so a resumed run, another number of ranks and another micro-batch size see the same
samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from crafts.core.runtime import generator_for, seed_from


def uniform(seed: int, purpose: str, index: int) -> float:
    """A number in [0, 1) for one sample and one purpose; purposes are independent of each other."""
    return seed_from(seed, purpose, index) / 2**63


def choice(seed: int, purpose: str, index: int, count: int) -> int:
    """An integer in [0, count)."""
    return int(uniform(seed, purpose, index) * count)


def normal(seed: int, purpose: str, index: int, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise of one sample, of the given shape, float32 on the CPU."""
    return torch.randn(tuple(shape), generator=generator_for(seed, purpose, index))


def balance_weights(
    labels: Sequence[str], power: float, *, groups: Sequence[str] | None = None
) -> np.ndarray:
    """Sampling weights that soften the imbalance of classes, and of patients within a class.

    Args:
        labels: class of each row.
        power: 0 keeps the natural shares, 1 makes all classes equally frequent.
        groups: patient of each row. Within a class every patient then has the same share, however
            many rows it has; one with rows of two classes has its share in each. None: every row
            of a class has the same share.

    Returns:
        Weights [N] that sum to 1; a class of n rows has a share proportional to n ** (1 - power),
        with groups or without.
    """
    rows_of = Counter(labels)
    if groups is None:
        weights = np.array([rows_of[label] ** -power for label in labels], dtype=np.float64)
        return weights / weights.sum()
    pairs = list(zip(labels, groups, strict=True))
    rows_of_pair = Counter(pairs)
    groups_of = Counter(label for label, _ in rows_of_pair)
    weights = np.array(
        [
            rows_of[pair[0]] ** (1 - power) / groups_of[pair[0]] / rows_of_pair[pair]
            for pair in pairs
        ]
    )
    return weights / weights.sum()


class SampleOrder:
    """Which row sample ``g`` shows.

    Without weights each epoch is a fresh permutation, so every row is seen once an epoch; with
    weights rows are drawn independently.

    Args:
        count: number of rows.
        seed: of the run.
        weights: sampling weights [count], or None.
    """

    def __init__(self, count: int, seed: int, weights: np.ndarray | None = None) -> None:
        self.count, self.seed = count, seed
        self._cumulative = None if weights is None else np.cumsum(weights)
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def row(self, index: int) -> int:
        """Row of global sample ``index``, in [0, count)."""
        if self._cumulative is not None:
            drawn = uniform(self.seed, "row", index)
            found = int(np.searchsorted(self._cumulative, drawn, side="right"))
            return min(found, self.count - 1)
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:  # a cache, not a state: any index may be asked for at any time
            rng = np.random.default_rng(seed_from(self.seed, "epoch", epoch))
            self._epoch, self._permutation = epoch, rng.permutation(self.count)
        return int(self._permutation[place])
