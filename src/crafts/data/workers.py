"""Work in processes of which one may be killed or stop for good: that ends the run, in words."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from crafts.core.errors import RetryError
from crafts.core.runtime import end_with_parent

A = TypeVar("A")
B = TypeVar("B")


def map_in_workers(
    work: Callable[[A], B], chunks: Iterable[A], number: int, seconds: float
) -> Iterator[B]:
    """Results of an importable function, in order; few of them wait in memory.

    Args:
        work: called in other processes.
        chunks: what it is called with.
        number: of processes.
        seconds: after which a worker that does not answer is given up.

    Raises:
        RetryError: a worker was killed, or did not answer.
    """
    context = multiprocessing.get_context("spawn")  # fork does not go with threads of the caller
    others = multiprocessing.active_children()
    fault = ""
    pool = ProcessPoolExecutor(number, context, end_with_parent)
    try:
        yield from _map_ahead(pool, work, chunks, ahead=4 * number, seconds=seconds)
    except BrokenProcessPool:
        fault = "that was killed (often: no memory left)"
    except TimeoutError:
        fault = f"that did not answer for {seconds:g} s"
        for process in set(multiprocessing.active_children()).difference(others):
            process.kill()  # a stopped one would be waited for without end
    finally:
        pool.shutdown(cancel_futures=True)
    if fault:
        raise RetryError(
            "pack: workers",
            came=f"a worker process {fault}",
            allowed="workers that live to the end",
            do="Run again with fewer num_workers, or with more worker_seconds on a slow disk.",
        )


def _map_ahead(
    pool: ProcessPoolExecutor,
    work: Callable[[A], B],
    chunks: Iterable[A],
    *,
    ahead: int,
    seconds: float,
) -> Iterator[B]:
    """Like ``pool.map``, but never more than ``ahead`` results wait in memory.

    Raises:
        TimeoutError: the next result has not come for so many seconds.
    """
    waiting: deque[Future[B]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(work, chunk))
        if len(waiting) >= ahead:
            yield waiting.popleft().result(seconds)
    while waiting:
        yield waiting.popleft().result(seconds)
