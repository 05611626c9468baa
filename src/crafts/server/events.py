"""Who is told when a job changes; from any thread to those who follow in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

_PAUSE = 0.2  # seconds between two messages of one stream
_HEARTBEAT = 10.0  # so that a proxy keeps the connection, and a lost one is noticed


@dataclass(eq=False)
class _Follower:
    owner: str
    jobs: dict[str, None] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Changes:
    """Changed jobs, by owner; what changes twice before it is told is told once."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._followers: set[_Follower] = set()
        self.closed = False

    def bind(self) -> None:
        """Belong to the event loop that runs."""
        self._loop = asyncio.get_running_loop()

    @property
    def number(self) -> int:
        """Streams that are open."""
        return len(self._followers)

    def tell(self, owner: str, job: str) -> None:
        """A job changed; from any thread."""
        self._soon(lambda: self._tell(owner, job))

    def close(self) -> None:
        """End all streams; from any thread."""
        self.closed = True
        self._soon(self._end)

    async def follow(self, owner: str) -> AsyncIterator[list[str]]:
        """Ids of jobs that changed, together; an empty list is a heartbeat."""
        follower = _Follower(owner)
        self._followers.add(follower)
        try:
            while not self.closed:
                try:
                    await asyncio.wait_for(follower.wake.wait(), _HEARTBEAT)
                except TimeoutError:
                    yield []
                    continue
                follower.wake.clear()
                jobs, follower.jobs = list(follower.jobs), {}
                if jobs:
                    yield jobs
                await asyncio.sleep(_PAUSE)
        finally:
            self._followers.discard(follower)

    def _tell(self, owner: str, job: str) -> None:
        for one in self._followers:
            if one.owner == owner:
                one.jobs[job] = None
                one.wake.set()

    def _end(self) -> None:
        for one in self._followers:
            one.wake.set()

    def _soon(self, call: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:  # it was closed this moment
                pass
