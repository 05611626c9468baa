"""Samples on their way to the device: made ahead of time by worker processes, placed as one batch.

Sample g is a pure function of (seed, g) and touches no device. So who makes it, and when, changes
no number, and a run that is killed with samples under way loses nothing but their cost.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from crafts.core.errors import CraftsError, RetryError
from crafts.core.runtime import end_with_parent

Sample = dict[str, Any]
AHEAD = 2
"""Batches that each worker has ready or under way."""


class MakesBatches(Protocol):
    """The part of a task that a loader needs."""

    def sample(self, position: int) -> Sample:
        """Global sample ``position`` on the CPU: tensors and plain values, none of a device."""
        ...

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Joined samples as one batch on the device; what a network encodes is encoded at once."""
        ...


def join(samples: Sequence[Sample]) -> dict[str, Any]:
    """Values of B samples by name: tensors of one shape as [B, ...], anything else as a list."""
    joined: dict[str, Any] = {name: [one[name] for one in samples] for name in samples[0]}
    for name, values in joined.items():
        if isinstance(values[0], torch.Tensor) and len({value.shape for value in values}) == 1:
            joined[name] = torch.stack(values)
    return joined


def make_batch(task: MakesBatches, positions: Sequence[int]) -> dict[str, Any]:
    """The batch of these global samples, made here and now; ``keys`` names its samples."""
    return task.collate(join([task.sample(position) for position in positions]))


class _Samples(Dataset[Any]):
    """What a worker does: joined samples of one batch, or the fault that one of them has."""

    def __init__(self, task: MakesBatches) -> None:
        self.task = task

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Any] | CraftsError:
        try:
            return join([self.task.sample(position) for position in positions])
        except CraftsError as error:
            return error


def _as_it_is(made: Any) -> Any:
    return made


def _begin_worker(number: int) -> None:
    """Interrupts are the business of the parent, and nothing outlives it, its lock least of all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


@contextmanager
def batches(
    task: MakesBatches, passes: Iterable[Sequence[int]], *, num_workers: int
) -> Iterator[Iterator[dict[str, Any]]]:
    """Batches of a task in the order of its passes; workers are gone when the block ends.

    Workers are forked, so that they share the rows and pictures that lie in memory. They touch no
    device: samples do not.

    Args:
        task: whose samples.
        passes: global sample indices of one batch after the other.
        num_workers: processes that make samples ahead; 0: none, each batch is made when it is due.

    Raises:
        CraftsError: a sample has that fault.
        RetryError: a worker was killed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # they also wait for disks
        samples: DataLoader[Any] = DataLoader(
            _Samples(task),
            batch_sampler=passes,  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=num_workers,
            prefetch_factor=AHEAD if num_workers else None,
            multiprocessing_context="fork" if num_workers else None,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else it would draw from that of the run
        )
    made = iter(samples)
    try:
        yield _collated(task, made)
    finally:
        if num_workers:
            made._shutdown_workers()  # type: ignore[attr-defined]


def _collated(task: MakesBatches, made: Iterator[Any]) -> Iterator[dict[str, Any]]:
    while True:
        try:
            samples = next(made, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RetryError(
                "train: num_workers",
                came="a worker process that was killed (often: no memory left)",
                allowed="workers that live to the end",
                do="The same command goes on from the last checkpoint; lower num_workers.",
            ) from None
        if samples is None:
            return
        if isinstance(samples, CraftsError):
            raise samples
        yield task.collate(samples)
