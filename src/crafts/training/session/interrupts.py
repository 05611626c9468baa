"""SIGTERM and SIGINT end a run after its step, with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crafts.core.runtime import say


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """The signals received so far; a second one of a kind kills as usual."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])
        say("stopping after this step; a second signal stops at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            before[number] = signal.signal(number, note)
        except ValueError:  # not in the main thread: the host program handles signals
            break
    try:
        yield received
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)
