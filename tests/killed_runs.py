"""Kill a command again and again at random moments, and let it end at last."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from crafts.core.artifacts import LOCK, MANIFEST

Start = Callable[[Path], subprocess.Popen]
"""An output folder -> the running command that writes it."""


def leave_unfinished(output: Path) -> None:
    """Make a finished output one that a killed run has left: no manifest, and the run's mark."""
    (output / MANIFEST).unlink()
    (output / LOCK).touch()


def finish_after_kills(
    start: Start, whole: Path, killed: Path, *, kills: int, seed: int, fresh_every: int = 3
) -> None:
    """Run a command undisturbed into ``whole``, and killed again and again into ``killed``.

    Args:
        start: of the command; its standard error is a pipe.
        whole: folder to be written by one run.
        killed: folder to be written by runs that are killed, and a last one that is not.
        kills: runs that are killed, each after a random part of the time in which a run writes.
        seed: of the moments.
        fresh_every: after so many kills, or when a run was faster, the folder is begun anew.
    """
    process, begun = _start_writing(start, whole)
    _end(process, whole)
    longest = time.monotonic() - begun
    rng = random.Random(seed)
    number, fresh = 0, True
    while number < kills:
        if fresh:
            shutil.rmtree(killed, ignore_errors=True)
        process, begun = _start_writing(start, killed)
        try:
            process.communicate(timeout=rng.uniform(0.0, 1.0) * longest)
        except subprocess.TimeoutExpired:
            process.kill()  # only the parent: its processes have to notice
            process.communicate()
            number += 1
            fresh = number % fresh_every == 0
            after = time.monotonic() - begun
            print(f"kill {number}: {after:.2f} s after its first file, {_count(killed)} files")
        else:
            if fresh:
                longest = time.monotonic() - begun
            fresh = True
    _end(start(killed), killed)


def _start_writing(start: Start, output: Path) -> tuple[subprocess.Popen, float]:
    """A run and the moment in which it writes or removes its first file.

    Programs take long to load, and longer on a busy machine; kills before this moment show nothing.
    """
    before, process = _count(output), start(output)
    while process.poll() is None and _count(output) == before:
        time.sleep(0.01)
    return process, time.monotonic()


def _count(output: Path) -> int:
    """Files in a folder and in those beside it in which it is prepared."""
    folders = [output, *output.parent.glob(f".{output.name}*")]
    return sum(len(files) for folder in folders for _, _, files in os.walk(folder))


def _end(process: subprocess.Popen, output: Path) -> None:
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0 and (output / "manifest.json").exists(), errors
