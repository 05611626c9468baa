"""Paths: mistyped ones, files of a folder, names in tables, and names that some disk refuses."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from crafts.core.errors import ConfigError
from crafts.core.locks import refuse_unwritable


def check_places(output: str | Path, *inputs: str | Path | None) -> None:
    """Refuse paths that a user mistyped. Nothing is made, and nothing is read.

    Args:
        output: folder to be written; what is missing above it can be made.
        inputs: files and folders to be read; None for what was not given.

    Raises:
        ConfigError: names the first that is not there, or an output that cannot be written.
    """
    for path in inputs:
        if path is not None and not os.path.exists(path):
            raise ConfigError(
                str(path),
                came="no such file or folder",
                allowed="a path that exists",
                do="Check the path.",
            )
    output = Path(output)
    with refuse_unwritable(output):
        above = next(path for path in (output, *output.absolute().parents) if path.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


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


_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])")
_FORBIDDEN = '<>:"|?*\\/'


def storage_fault(name: str) -> str:
    """Why Windows, or a disk formatted for it, cannot store such a file; "" where it can."""
    base = name.partition(".")[0].rstrip(" ")
    if _RESERVED.fullmatch(base):
        return f"{base!r} is the name of a device under Windows"
    held = next((mark for mark in name if mark in _FORBIDDEN or mark < " "), "")
    if held:
        return f"it holds {held!r}, which Windows stores in no name"
    return "it ends in a dot or a space, which Windows leaves out" if name[-1:] in ". " else ""


def storage_key(name: str) -> str:
    """Equal for names that Windows or macOS take for one: capitals and composed letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
