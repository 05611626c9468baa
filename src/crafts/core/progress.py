"""Lines that tell how far a stage is: the first within seconds, and then one every ten."""

from __future__ import annotations

import time

from crafts.core.runtime import say

FIRST, BETWEEN = 2.0, 10.0
"""Seconds until the first line, and between any two."""


class Progress:
    """How many items are done, how many a second, and the time to go.

    Args:
        what: begins each line, for example the name of the stage.
        total: number of items.
        unit: what they are.
    """

    def __init__(self, what: str, total: int, unit: str = "images") -> None:
        self.what, self.total, self.unit = what, total, unit
        self._started = time.monotonic()
        self._next = self._started + FIRST

    def report(self, done: int, note: str = "") -> None:
        """Say where it stands, if it is time to.

        Args:
            done: items so far, at least one.
            note: ends the line.
        """
        now = time.monotonic()
        if now < self._next or done == self.total:
            return
        self._next = now + BETWEEN
        rate = done / (now - self._started)
        minutes, seconds = divmod(round((self.total - done) / rate), 60)
        end = f"  ({note})" if note else ""
        say(
            f"{self.what}: {done:,}/{self.total:,} {self.unit}  {rate:.1f} {self.unit}/s  "
            f"{minutes} min {seconds:02d} s to go{end}"
        )
