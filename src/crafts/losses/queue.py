"""Features of past samples for small batches: more pairs without more memory.

As the memory of XBM (Wang et al. 2020, "Cross-Batch Memory for Embedding Learning"): features are
kept detached, newest first, and a pair of a present and a past sample teaches the present one only.
Pass what :func:`queued` returns as ``memory`` of ``relation_matrix``. Past features come from
slightly older weights; a queue longer than some tens of steps compares with a network that is gone.

A queue is a dictionary of tensors of fixed shape, so it fits into the buffers of a module and into
a checkpoint. All ranks put the same gathered rows into it and so hold the same queue.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crafts.core.errors import ConfigError

FILLED = "filled"
Queue = dict[str, Tensor]


def empty_queue(size: int, rows: Mapping[str, Tensor]) -> Queue:
    """A queue with no rows yet.

    Args:
        size: Q, rows that it will hold, >= 1.
        rows: by name one or more rows [N, ...] that show shape, type and device.

    Returns:
        By name zeros [Q, ...], and ``filled`` [], the number of rows that are in use.

    Raises:
        ConfigError: the size is not positive, or ``filled`` is used as a name.
    """
    if size < 1 or FILLED in rows:
        raise ConfigError(
            "relations: queue",
            came=f"{size} rows of {', '.join(rows)}",
            allowed=f"at least one row, and no field named {FILLED}",
            do="Leave the queue out when it is not wanted.",
        )
    queue = {name: value.new_zeros((size, *value.shape[1:])) for name, value in rows.items()}
    device = next(iter(rows.values())).device
    return {**queue, FILLED: torch.zeros((), dtype=torch.int64, device=device)}


def enqueue(queue: Queue, rows: Mapping[str, Tensor]) -> Queue:
    """The queue after new rows came and as many of the oldest left.

    Args:
        queue: not changed.
        rows: by name [N, ...], the same N for all; detached here.

    Raises:
        ConfigError: the names or shapes are not those of the queue.
    """
    shapes = {name: tuple(value.shape[1:]) for name, value in queue.items() if name != FILLED}
    came = {name: tuple(value.shape[1:]) for name, value in rows.items()}
    if came != shapes or len({len(value) for value in rows.values()}) != 1:
        raise ConfigError(
            "relations: queue",
            came=str({name: tuple(value.shape) for name, value in rows.items()}),
            allowed=f"as many rows each of {shapes}",
            do="Do not change pooling, crop or text encoder within a run with a queue.",
        )
    size = len(queue[next(iter(rows))])
    new = {
        name: torch.cat([value.detach().to(queue[name]), queue[name]])[:size]
        for name, value in rows.items()
    }
    number = len(next(iter(rows.values())))
    return {**new, FILLED: (queue[FILLED] + number).clamp(max=size)}


def queued(queue: Queue) -> dict[str, Tensor]:
    """The rows in use by name, [n, ...] with n <= Q, newest first."""
    filled = int(queue[FILLED])
    return {name: value[:filled] for name, value in queue.items() if name != FILLED}
