"""Who sees what when: an order of each reader's own, with hidden repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crafts.core.runtime import seed_from

SPACING = 3
"""A repeat stands in the last third of the test, its first showing in the first third."""


def order_items(
    main: Sequence[str], extra: Sequence[str], *, repeats: float, seed: int, reader: int
) -> list[str]:
    """The test block of one reader.

    Args:
        main: items that count, each shown once and some twice.
        extra: controls and attention checks, each shown once.
        repeats: share of ``main`` that comes again.
        seed: of the study.
        reader: from 0; each has an order of their own.

    Returns:
        Pictures in order, ``len(main) + len(extra) + round(repeats * len(main))`` of them.
    """
    rng = np.random.default_rng(seed_from("order", seed, reader))
    order = [[*main, *extra][k] for k in rng.permutation(len(main) + len(extra))]
    first = [name for name in order[: max(len(order) // SPACING, 1)] if name in set(main)]
    number = min(round(repeats * len(main)), len(first))
    again = [first[k] for k in rng.permutation(len(first))[:number]]
    late = len(order) - len(order) // SPACING
    for name in again:
        order.insert(int(rng.integers(late, len(order) + 1)), name)
    return order


def shuffle(names: Sequence[str], *, seed: int, reader: int) -> list[str]:
    """The training block of one reader, in an order of its own."""
    rng = np.random.default_rng(seed_from("training", seed, reader))
    return [names[k] for k in rng.permutation(len(names))]
