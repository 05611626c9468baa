"""The files of a folder, links followed, without losing any in silence."""

from __future__ import annotations

import os
import unicodedata
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


def place_within(folder: Path, name: str) -> str:
    """The path of a file that a table of a folder names, relative to it; "" for one outside.

    A name with accents is found in the other form of Unicode, too: a Mac stores them apart.

    Args:
        folder: that the path is relative to, or that an absolute path lies in.
        name: as the table has it.
    """
    path = Path(name)
    if path.is_absolute():
        base = Path(os.path.abspath(folder))
        if not path.is_relative_to(base):
            return ""
        name = path.relative_to(base).as_posix()
    if ".." in path.parts:
        name = os.path.normpath(name)
        if name.split(os.sep)[0] == "..":
            return ""
    return name if name.isascii() else _spelt(folder, name)


def _spelt(folder: Path, name: str) -> str:
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return next((form for form in forms if os.path.exists(folder / form)), name)


def stays_within(folder: Path, place: str) -> bool:
    """Whether a file of a folder really lies in it, and no link leads to it elsewhere.

    Args:
        folder: that the path is relative to.
        place: as :func:`place_within` gives it.
    """
    try:
        return (folder / place).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # whoever opens it says what is wrong with it
        return True
