"""Writing that survives: files aside and renamed, synced where the file system can; full disks."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crafts.core.errors import RetryError

# what a file system says that does not know an operation (CIFS, FUSE, shared folders, Lustre)
UNKNOWN_THERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_GONE = "gone"  # end of the name of what is being removed


@contextmanager
def retry_when_full(path: Path) -> Iterator[None]:
    """Turn a full disk into a :class:`RetryError`, also where safetensors writes."""
    try:
        yield
    except _write_errors() as error:
        raise_disk_full(error, path)
        raise


def _write_errors() -> tuple[type[Exception], ...]:
    """What writing raises; looked up only when something was raised."""
    from safetensors import SafetensorError

    return OSError, SafetensorError


def raise_disk_full(error: Exception, path: Path) -> None:
    """Turn ENOSPC and EDQUOT into a :class:`RetryError`; other errors are left to the caller."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # safetensors has its own class, with the number in the text only
        found = re.search(r"os error (\d+)", str(error))
        number = int(found.group(1)) if found else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        raise RetryError(
            str(path),
            came="the disk is full",
            allowed="free space for the output",
            do="Free space and run again.",
        ) from error


def sync(handle: int) -> None:
    """Bring a file or folder to the disk, as far as its file system can.

    Args:
        handle: number of the open file or folder.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNKNOWN_THERE:
            raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside a file that takes its name, synced, on a clean exit.

    A reader sees the old content or the new, never a part.

    Raises:
        RetryError: the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with retry_when_full(path):
            yield temporary
            with temporary.open("rb") as handle:
                sync(handle.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a kill leaves it whole or under a name that nobody reads."""
    gone = folder.with_name(f".{folder.name}.{_GONE}")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def sweep_removed(parent: Path) -> None:
    """Remove what a killed :func:`remove_folder` left in a folder."""
    for path in parent.glob(f".*.{_GONE}"):
        shutil.rmtree(path, ignore_errors=True)
