"""Each piece of work in a process of its own with a time limit.

A library in C may crash or hang on a damaged file; that ends its process and nothing else. Results
go over the disk: work leaves a file, and the exit code says how it ended.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import ModuleType
from typing import TYPE_CHECKING, Any

from crafts.core.errors import EXIT_PROGRAM, EXIT_RETRY, CraftsError, RetryError
from crafts.core.runtime import say
from crafts.slides.reading.reader import LIBRARIES

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

CRASHED = "the library that reads it crashed"
# imported once, by the server that the processes are forked from
_PRELOAD = ["crafts.slides.work", *LIBRARIES]


@dataclass(frozen=True)
class Task:
    """A function of a module and what it takes; both travel to another process.

    Attributes:
        name: slide, and first tile of the block; recognised again when it comes back.
        work: importable function.
        arguments: for it; small.
    """

    name: tuple[str, int | None]
    work: Callable[..., None]
    arguments: tuple[Any, ...]


class Crew:
    """Runs tasks in processes, at most so many at once.

    Args:
        size: processes at once.
        seconds: after which a task is killed.
    """

    def __init__(self, size: int, seconds: float) -> None:
        # forked from a clean server: quick, and safe with the threads of the caller
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._size, self._seconds = size, seconds
        self._running: dict[Any, tuple[Task, BaseProcess, float]] = {}

    @property
    def has_room(self) -> bool:
        """Whether another task may start."""
        return len(self._running) < self._size

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def start(self, task: Task) -> None:
        """Start a task in a process of its own."""
        process = self._context.Process(target=_run, args=(task.work, task.arguments), daemon=True)
        with _no_main():
            process.start()
        self._running[process.sentinel] = task, process, time.monotonic() + self._seconds

    def wait(self) -> tuple[Task, str]:
        """The next task that ended, and why it failed; "" when it did not.

        Raises:
            RetryError: it found the disk full.
        """
        while True:
            first = min(deadline for _, _, deadline in self._running.values())
            ended = wait(list(self._running), timeout=max(0.0, first - time.monotonic()))
            if ended:
                task, process, _ = self._running.pop(ended[0])
                process.join()
                return task, fault_of(process.exitcode)
            late = [key for key, (_, _, at) in self._running.items() if at <= time.monotonic()]
            for key in late:
                task, process, _ = self._running.pop(key)
                process.kill()
                process.join()
                return task, late_fault(self._seconds)

    def close(self) -> None:
        """End what still runs."""
        for _, process, _ in self._running.values():
            process.kill()
            process.join()
        self._running.clear()


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


def fault_of(code: int | None) -> str:
    """Why a task failed, by the exit code of its process; "" when it did not.

    Raises:
        RetryError: it found the disk full.
    """
    if code == EXIT_RETRY:
        raise RetryError(
            "tile: output",
            came="the disk is full",
            allowed="free space for the output",
            do="Free space and run again; finished slides are kept.",
        )
    if code is not None and code < 0:
        return f"{CRASHED} ({signal.Signals(-code).name})"
    return f"its process failed (exit code {code})" if code else ""


def late_fault(seconds: float) -> str:
    """What is said of a task that was killed for its time."""
    return f"took longer than {seconds:g} s"


def work_of(work: Callable[..., None], arguments: tuple[Any, ...]) -> int:
    """Do a piece of work; a fault that it foresees becomes an exit code."""
    try:
        work(*arguments)
    except CraftsError as error:
        return error.exit_code
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EXIT_RETRY
        return _unforeseen(error)
    except Exception as error:  # it costs this slide, and no traceback comes between the lines
        return _unforeseen(error)
    return 0


def _unforeseen(error: Exception) -> int:
    say(f"tile: a worker failed: {type(error).__name__} {error}"[:300])
    return EXIT_PROGRAM


def _run(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a process does; the interrupt key is the business of its parent."""
    from crafts.core.runtime import end_with_parent

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if code := work_of(work, arguments):
        os._exit(code)
