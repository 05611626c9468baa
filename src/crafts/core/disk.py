"""A full disk: an error that a user can mend, whoever was writing."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crafts.core.errors import RetryError


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
