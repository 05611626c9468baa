"""One run per output, and a place where a folder can be written at all."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from crafts.core.disk import UNKNOWN_THERE, raise_disk_full, sweep_removed
from crafts.core.errors import ConfigError, RetryError
from crafts.core.runtime import say

LOCK = ".lock"


@contextmanager
def lock(folder: Path, output: Path | None = None) -> Iterator[None]:
    """Hold an output folder for this process; the lock falls with the process, however it ends.

    What a killed process left half written or half removed in the named folder is removed. The file
    of the lock goes when the body ends; where it fails, it stays as the mark of a run that began,
    unless nothing else was made: then the folder goes, too.

    Args:
        folder: made if absent.
        output: what messages name; by default ``folder``, or the folder that a hidden one is in.

    Raises:
        ConfigError: the folder cannot be made or written.
        RetryError: another process holds it, or the disk is full.
    """
    made = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    named = output or (folder.parent if folder.name.startswith(".") else folder)
    with _held(folder / LOCK, named, named) as handle:
        with refuse_unwritable(named):
            _sweep(named, r".+")
            sweep_removed(named)
        try:
            yield
        except BaseException:
            handle.truncate(0)  # of the run that failed the mark stays, not the name of its host
            _remove_empty(folder / LOCK, made)
            raise
        (folder / LOCK).unlink(missing_ok=True)


def _remove_empty(path: Path, made: list[Path]) -> None:
    """Remove the folders that were made for a lock, innermost first, where they hold only it."""
    with suppress(OSError):  # it is gone already, or another run has come meanwhile
        if made and os.listdir(path.parent) == [path.name]:
            path.unlink()
            for folder in made:
                folder.rmdir()


@contextmanager
def lock_file(output: Path, *beside: Path) -> Iterator[None]:
    """Hold a file that is to be written for this process, with those that are written beside it.

    What a killed process left half written of them is removed.

    Args:
        output: the file; its folder is made if absent.
        beside: further files of the same run, in the same folder.

    Raises:
        ConfigError: the folder cannot be made or written.
        RetryError: another process holds the file, or the disk is full.
    """
    path = output.with_name(f".{output.name}{LOCK}")
    with _held(path, output, output.parent):
        names = "|".join(re.escape(one.name) for one in (output, *beside))
        _sweep(output.parent, f"({names})")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, named: Path, folder: Path) -> Iterator[TextIO]:
    """The file of a lock on what is named in a folder, opened and held; it says who holds it."""
    with refuse_unwritable(folder):
        handle = _take(path, named)
    with handle:
        with refuse_unwritable(folder):
            handle.seek(0)
            handle.truncate()
            handle.write(f"process {os.getpid()} on {platform.node()}\n")
            handle.flush()
        yield handle


def _take(path: Path, named: Path) -> TextIO:
    """The file of a lock, held; one that its holder has meanwhile removed is no lock any more."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, handle):
                return handle
            handle.close()
        except BlockingIOError:
            with handle:
                raise _taken(handle, named) from None
        except OSError as error:
            if error.errno in UNKNOWN_THERE | {errno.ENOLCK}:
                say(
                    f"{named}: this file system has no locks ({error.strerror}); "
                    "see to it that no other run writes there"
                )
                return handle
            handle.close()
            raise


def _is_at(path: Path, handle: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _taken(handle: TextIO, named: Path) -> RetryError:
    handle.seek(0)
    return RetryError(
        str(named),
        came=f"a lock held by {handle.read().strip() or 'another process'}",
        allowed="one run per output",
        do="Wait for it to end, or choose another --output.",
    )


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


def _sweep(folder: Path, names: str) -> None:
    """Remove what nobody goes on writing, as whoever writes these files holds the lock."""
    rest = re.compile(rf"\.{names}\.\d+\.tmp")  # with the number of its process
    for path in folder.glob(".*.tmp"):
        if rest.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _obstacle(output: Path) -> str:
    """The file that stands where a folder would have to be; "" where there is none."""
    try:
        files = [path for path in (output, *output.parents) if path.exists() and not path.is_dir()]
    except OSError:  # not even to be looked at
        return ""
    where = "" if not files or files[0] == output else f" in its way ({files[0]})"
    return f"a file{where}" if files else ""
