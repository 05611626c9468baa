"""The files of a folder, links followed, without losing any in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder that are not hidden, in order; linked folders are gone into.

    Yields:
        A file and "", or a folder that cannot be gone into and the reason.
    """
    yield from _walk(folder, ())


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    real = folder.resolve()
    if real in above:
        yield folder, "a link to a folder that it lies in"
        return
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        yield folder, f"unreadable folder ({error.strerror or error})"
        return
    for path in paths:
        if path.name.startswith("."):
            continue
        if os.path.isdir(path):  # unlike Path.is_dir never an error
            yield from _walk(path, (*above, real))
        else:
            yield path, ""
