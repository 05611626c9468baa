"""One run per output folder, and a place where a folder can be written at all."""

from __future__ import annotations

import fcntl
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crafts.core.disk import raise_disk_full
from crafts.core.errors import ConfigError, RetryError

LOCK = ".lock"
_REST = re.compile(r"\..+\.\d+\.tmp")  # of a file that was being written, with its process


@contextmanager
def lock(folder: Path, output: Path | None = None) -> Iterator[None]:
    """Hold an output folder for this process; the lock falls with the process, however it ends.

    What a killed process left half written in the named folder is removed.

    Args:
        folder: made if absent.
        output: what messages name; by default ``folder``, or the folder that a hidden one is in.

    Raises:
        ConfigError: the folder cannot be made or written.
        RetryError: another process holds it, or the disk is full.
    """
    named = output or (folder.parent if folder.name.startswith(".") else folder)
    path = folder / LOCK
    with refuse_unwritable(named):
        folder.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise RetryError(
                str(named),
                came=f"a lock held by {holder}",
                allowed="one run per output folder",
                do="Wait for it to end, or choose another --output.",
            ) from None
        with refuse_unwritable(named):
            handle.seek(0)
            handle.truncate()
            handle.write(f"process {os.getpid()} on {platform.node()}\n")
            handle.flush()
            _sweep(named)
        yield


@contextmanager
def refuse_unwritable(output: Path) -> Iterator[None]:
    """Turn what the system says of a place into an error that names the output as it was given.

    Raises:
        ConfigError: nothing can be written there.
        RetryError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise_disk_full(error, output)
        raise ConfigError(
            str(output),
            came=_obstacle(output) or f"a place that cannot be written ({error.strerror or error})",
            allowed="a folder, or a place where one can be made",
            do="Choose another --output.",
        ) from None


def _sweep(output: Path) -> None:
    """Remove files that nobody goes on writing, as whoever writes here holds the lock."""
    for path in output.glob(".*.tmp"):
        if _REST.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _obstacle(output: Path) -> str:
    """The file that stands where a folder would have to be; "" where there is none."""
    try:
        files = [path for path in (output, *output.parents) if path.exists() and not path.is_dir()]
    except OSError:  # not even to be looked at
        return ""
    where = "" if not files or files[0] == output else f" in its way ({files[0]})"
    return f"a file{where}" if files else ""
