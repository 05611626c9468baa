"""Lists of a million captions, read member by member, and the images that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from crafts.core.errors import ConfigError, CraftsError, DataError, refusal
from crafts.core.paths import walk_files

_CHUNK = 1 << 20
_ENDS = tuple(" \t\r\n,:]}")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def iter_members(path: Path, chunk: int = _CHUNK) -> Iterator[tuple[str, Any]]:
    """Members of the list or object that a JSON file holds.

    Args:
        path: the file, in UTF-8.
        chunk: characters to read at once.

    Yields:
        Name (its number from 1 in a list) and value.

    Raises:
        DataError: the file holds neither list nor object, is cut short, or is no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as handle:
            yield from _members(_Buffer(handle, path, chunk))
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, f"unreadable ({error})") from None


def index_images(folder: Path) -> dict[str, str]:
    """Image files of a folder, found by name in lower case: path, parent/stem, name and stem.

    Returns:
        Name -> path relative to the folder; "" for a name that two files share.

    Raises:
        ConfigError: no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            str(folder), came="not there", allowed="a folder of images", do="Check the path."
        )
    index: dict[str, str] = {}
    for path, fault in walk_files(folder):
        if not fault and path.suffix.lower() in _SUFFIXES:
            relative = path.relative_to(folder)
            shown = relative.as_posix()
            stem = relative.with_suffix("").as_posix()
            short = "/".join(stem.split("/")[-2:])
            for name in {shown, stem, short, path.name, path.stem}:
                known = index.setdefault(name.lower(), shown)
                if known != shown:
                    index[name.lower()] = ""
    return index


def _members(buffer: _Buffer) -> Iterator[tuple[str, Any]]:
    opening = buffer.next_sign()
    if opening not in ("[", "{"):
        raise buffer.bad(f"{opening!r} at its start")
    closing, number = {"[": "]", "{": "}"}[opening], 0
    buffer.skip()
    while (sign := buffer.next_sign()) != closing:
        if number:
            if sign != ",":
                raise buffer.bad(f"{sign!r} after member {number}")
            buffer.skip()
        number += 1
        name = str(number)
        if opening == "{":
            name = str(buffer.value(number))
            if buffer.next_sign() != ":":
                raise buffer.bad(f"no value of member {number}")
            buffer.skip()
        yield name, buffer.value(number)
    buffer.skip()
    if rest := buffer.next_sign():
        raise buffer.bad(f"{rest!r} after its end")


class _Buffer:
    """The part of the file that is not parsed yet."""

    def __init__(self, handle: IO[str], path: Path, chunk: int) -> None:
        self.handle, self.path, self.chunk = handle, path, chunk
        self.text, self.at = "", 0
        self.decoder = json.JSONDecoder()

    def next_sign(self) -> str:
        """The next character that is no space, not taken; "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at].isspace():
                self.at += 1
            if self.at < len(self.text) or not self._read(self.chunk):
                return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        self.at += 1

    def value(self, number: int) -> Any:
        """Parse one value; reads on for as long as the text may only be cut."""
        self.next_sign()
        size = self.chunk
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._read(size):
                    raise self.bad(f"no JSON at member {number} ({error})") from None
            else:
                # a number may go on behind the end of the text: 1 of 1.5, or of 1e5
                if self.text[end : end + 1] in _ENDS or not self._read(size):
                    self.at = end
                    return value
            size *= 2

    def _read(self, size: int) -> bool:
        more = self.handle.read(size)
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def bad(self, came: str) -> CraftsError:
        return _bad(self.path, came)


_bad = refusal(
    DataError,
    allowed="a JSON list or object of captions",
    do="Copy or download the file again, and check that it is the list of the corpus.",
)
