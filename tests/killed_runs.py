"""Kill a command again and again at random moments, and let it end at last."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Start = Callable[[Path], subprocess.Popen]
"""An output folder -> the running command that writes it."""


def finish_after_kills(
    start: Start, whole: Path, killed: Path, *, kills: int, seed: int, fresh_every: int = 3
) -> None:
    """Run a command undisturbed into ``whole``, and killed again and again into ``killed``.

    Args:
        start: of the command; its standard error is a pipe.
        whole: folder to be written by one run.
        killed: folder to be written by runs that are killed, and a last one that is not.
        kills: runs that are killed before their end, each after a random part of a run's time.
        seed: of the moments.
        fresh_every: after so many kills, or when a run was faster, the folder is begun anew.
    """
    begun = time.monotonic()
    _end(start(whole), whole)
    longest = time.monotonic() - begun
    rng = random.Random(seed)
    number, fresh = 0, True
    while number < kills:
        if fresh:
            shutil.rmtree(killed, ignore_errors=True)
        begun, process = time.monotonic(), start(killed)
        try:
            process.communicate(timeout=rng.uniform(0.2, 1.0) * longest)
        except subprocess.TimeoutExpired:
            process.kill()  # only the parent: its processes have to notice
            process.communicate()
            number += 1
            fresh = number % fresh_every == 0
        else:
            if fresh:
                longest = time.monotonic() - begun
            fresh = True
    _end(start(killed), killed)


def _end(process: subprocess.Popen, output: Path) -> None:
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0 and (output / "manifest.json").exists(), errors
