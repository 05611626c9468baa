"""Work in other processes, or on the machines of a Ray cluster: one crew for every stage.

A library in C may crash or hang on a damaged file. A :class:`Crew` gives each piece of work a
process of its own with a time limit, so that this ends it and nothing else. Results go over the
disk: work leaves a file, and the exit code says how it ended. Work that is known to be tame keeps
its processes, and its results come back in order: :func:`map_in_order`.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from crafts.core.errors import EXIT_PROGRAM, EXIT_RETRY, ConfigError, CraftsError, RetryError
from crafts.core.runtime import end_with_parent, say

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

CRASHED = "the library that reads it crashed"
A = TypeVar("A")
B = TypeVar("B")
N = TypeVar("N", bound=Hashable)


@dataclass(frozen=True)
class Task(Generic[N]):
    """A function of a module and what it takes; both travel to another process.

    Attributes:
        name: recognised again when it comes back.
        work: importable function.
        arguments: for it; small.
    """

    name: N
    work: Callable[..., None]
    arguments: tuple[Any, ...]


class Hands(Protocol):
    """Where tasks run; a handle stands for one that does.

    Attributes:
        number: tasks at once, where nobody says.
    """

    number: int

    def start(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
        """Begin a piece of work; its handle."""
        ...

    def wait(self, handles: Sequence[Any], seconds: float) -> Any | None:
        """The handle of a piece that has ended within the time, or None."""
        ...

    def fault_of(self, handle: Any) -> str:
        """Why a piece that ended has failed; "" when it has not."""
        ...

    def kill(self, handle: Any) -> None:
        """End a piece that runs."""
        ...


class Crew(Generic[N]):
    """Runs tasks, at most so many at once, each with a time limit.

    Args:
        hands: where they run.
        size: tasks at once; 0: as many as the hands have room for.
        seconds: after which a task is killed.
    """

    def __init__(self, hands: Hands, size: int, seconds: float) -> None:
        self._hands, self._size, self._seconds = hands, size or hands.number, seconds
        self._running: dict[Any, tuple[Task[N], float]] = {}

    @property
    def has_room(self) -> bool:
        """Whether another task may start."""
        return len(self._running) < self._size

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def start(self, task: Task[N]) -> None:
        """Start a task in a process of its own."""
        handle = self._hands.start(task.work, task.arguments)
        self._running[handle] = task, time.monotonic() + self._seconds

    def wait(self) -> tuple[Task[N], str]:
        """The next task that ended, and why it failed; "" when it did not.

        Raises:
            RetryError: it found the disk full.
        """
        late = min(self._running, key=lambda handle: self._running[handle][1])
        left = max(0.0, self._running[late][1] - time.monotonic())
        ended = self._hands.wait(list(self._running), left)
        if ended is not None:
            return self._running.pop(ended)[0], self._hands.fault_of(ended)
        self._hands.kill(late)
        return self._running.pop(late)[0], f"took longer than {self._seconds:g} s"

    def close(self) -> None:
        """End what still runs."""
        for handle in self._running:
            self._hands.kill(handle)
        self._running.clear()


class ProcessHands:
    """Processes of this machine.

    Args:
        preload: modules that are imported once, by the server that the processes are forked from.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        # forked from a clean server: quick, and safe with the threads of the caller
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self.number = len(os.sched_getaffinity(0))

    def start(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
        """Fork a process."""
        process = self._context.Process(target=_run, args=(work, arguments), daemon=True)
        with _no_main():
            process.start()
        return process

    def wait(self, handles: Sequence[BaseProcess], seconds: float) -> BaseProcess | None:
        """A process that has ended."""
        by_sentinel = {process.sentinel: process for process in handles}
        ended = wait(list(by_sentinel), timeout=seconds)
        return by_sentinel[ended[0]] if ended else None  # type: ignore[index]

    def fault_of(self, handle: BaseProcess) -> str:
        """By its exit code."""
        handle.join()
        return _fault_of(handle.exitcode)

    def kill(self, handle: BaseProcess) -> None:
        """At once."""
        handle.kill()
        handle.join()


class RayHands:
    """Tasks of a Ray cluster, whose machines share the disk of input and output.

    Ray's own tasks and not Ray Data: one that crashes or hangs must cost its piece of work and no
    other, and Ray Data gives up a whole block of items.

    Args:
        gpu: give each piece a GPU, where the cluster has any.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, *, gpu: bool = False) -> None:
        self._ray = _import_ray()
        if not self._ray.is_initialized():  # RAY_ADDRESS names a cluster; without it, this machine
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        room = self._ray.cluster_resources()
        scarce = "GPU" if gpu and room.get("GPU") else "CPU"
        self.number = max(1, int(room.get(scarce, 1)))
        # max_calls: a library that was left in disorder is not used again
        options = {"max_retries": 0, "max_calls": 1, "num_gpus": int(scarce == "GPU")}
        self._remote = self._ray.remote(num_cpus=1, **options)(_code_of)

    def start(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
        """Hand a piece of work to the cluster."""
        return self._remote.remote(work, arguments)

    def wait(self, handles: Sequence[Any], seconds: float) -> Any | None:
        """A piece that has ended."""
        ended, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds)
        return ended[0] if ended else None

    def fault_of(self, handle: Any) -> str:
        """By what the piece gave back."""
        try:
            return _fault_of(self._ray.get(handle))
        except self._ray.exceptions.RayTaskError:
            return _fault_of(1)
        except self._ray.exceptions.RayError:  # the process died, or the machine under it
            return CRASHED

    def kill(self, handle: Any) -> None:
        """By force."""
        self._ray.cancel(handle, force=True)


def open_hands(
    runner: Literal["processes", "ray"], preload: Sequence[str] = (), *, gpu: bool = False
) -> Hands:
    """Processes of this machine, or tasks of a Ray cluster.

    Args:
        runner: which.
        preload: modules that many pieces of work import.
        gpu: on a cluster that has GPUs, give one to each piece of work.

    Raises:
        ConfigError: Ray is not installed.
    """
    return RayHands(gpu=gpu) if runner == "ray" else ProcessHands(preload)


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError(
            "runner",
            came="'ray', which is not installed",
            allowed="processes, or ray where it is installed",
            do="pip install 'crafts[dist]', or split the work with --shard K/N.",
        ) from None
    return ray


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep new processes from importing the main module: a script without a guard would run again.

    Tasks are functions of modules, so that nothing in it is needed.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _fault_of(code: int | None) -> str:
    """Why a task failed, by the exit code of its process; "" when it did not.

    Raises:
        RetryError: it found the disk full.
    """
    if code == EXIT_RETRY:
        raise RetryError(
            "output",
            came="the disk is full",
            allowed="free space for the output",
            do="Free space and run again; what is finished is kept.",
        )
    if code is not None and code < 0:
        return f"{CRASHED} ({signal.Signals(-code).name})"
    return f"its process failed (exit code {code})" if code else ""


def _code_of(work: Callable[..., None], arguments: tuple[Any, ...]) -> int:
    """Do a piece of work; a fault that it foresees becomes an exit code."""
    try:
        work(*arguments)
    except CraftsError as error:
        return error.exit_code
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EXIT_RETRY
        return _unforeseen(error)
    except Exception as error:  # it costs this piece, and no traceback comes between the lines
        return _unforeseen(error)
    return 0


def _unforeseen(error: Exception) -> int:
    say(f"a worker failed: {type(error).__name__} {error}"[:300])
    return EXIT_PROGRAM


def _run(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a process does; the interrupt key is the business of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if code := _code_of(work, arguments):
        os._exit(code)


def map_in_order(
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
            "workers",
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
