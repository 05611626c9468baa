"""Device, seeds and log lines.

Randomness is a function of names and indices, never of what ran before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from crafts.core.errors import ConfigError

if TYPE_CHECKING:
    import torch


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def seed_from(*parts: int | str) -> int:
    """A seed in [0, 2**63) from any parts; other parts give an unrelated seed."""
    text = json.dumps(parts)  # keeps numbers, strings and the borders between them apart
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded with :func:`seed_from`; draws on the CPU are equal on every device."""
    import torch

    return torch.Generator().manual_seed(seed_from(*parts))


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` takes a GPU when there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        ConfigError: no device has this name, or it does not exist here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(
            "device",
            came=repr(name),
            allowed="auto, cpu, cuda or cuda:NUMBER",
            do="Use --set device=auto.",
        )
    if name != "cpu" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        seen = f"cpu, or one of {torch.cuda.device_count()} GPUs counted from 0"
        raise ConfigError(
            "device",
            came=repr(name),
            allowed=seen if torch.cuda.is_available() else "cpu (no GPU is visible)",
            do="Use --set device=auto.",
        )
    return torch.device(name)


def counted(number: int, noun: str) -> str:
    """A number with its noun, as ``1 step`` or ``2 steps``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def say(line: str) -> None:
    """One plain line of progress to standard error, so that standard output stays for results."""
    listener = _listener.get()
    if listener is not None:
        listener(line)
    else:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Let a listener have the lines that this thread says; nothing of them goes to a log."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def end_with_parent() -> None:
    """Let this process end when its parent does; it would wait for work for ever otherwise."""
    import multiprocessing
    import threading
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
