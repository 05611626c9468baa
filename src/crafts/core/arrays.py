"""Files of arrays: how much they unpack to is known from their headers, before anything is read.

A file of a kilobyte can announce an array of terabytes, or hold one of gigabytes of zeros.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from pathlib import Path

# what NumPy raises for a header that is none of its own
HEADER_ERRORS: tuple[type[Exception], ...] = (
    *(EOFError, MemoryError, OverflowError, RecursionError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)
LARGEST = 2**30  # bytes that any file may unpack to
_RATIO = 20  # a larger one may unpack to so many times its own size
_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


def check_unpacked(unpacked: int, size: int) -> None:
    """Refuse an array that is out of proportion to its file.

    Args:
        unpacked: bytes that it announces.
        size: bytes of the file.

    Raises:
        ValueError: says both.
    """
    if unpacked > max(LARGEST, _RATIO * size):
        raise ValueError(f"arrays of {unpacked} bytes announced by a file of {size}")


def check_archive(path: Path) -> None:
    """Refuse an ``.npz`` whose headers announce more than it holds, or more than is reasonable.

    Args:
        path: of a file.

    Raises:
        ValueError: the reason.
        zipfile.BadZipFile: it is no archive.
        OSError: it cannot be read.
    """
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        check_unpacked(sum(one.file_size for one in archive.infolist()), path.stat().st_size)
        for member in archive.infolist():
            with archive.open(member) as handle:
                version = np.lib.format.read_magic(handle)
                read = getattr(np.lib.format, _HEADERS.get(version, _HEADERS[2, 0]))
                shape, _, dtype = read(handle)
                left = member.file_size - handle.tell()
            if math.prod(shape) * dtype.itemsize > left:
                raise ValueError(f"{member.filename}: an array of shape {shape} in too few bytes")
