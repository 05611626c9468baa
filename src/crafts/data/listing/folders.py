"""Images in class folders, each with the caption that lies beside it under the same name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crafts.core.errors import DataError
from crafts.core.paths import walk_files
from crafts.core.tables import TABLE_SUFFIXES
from crafts.data.listing.items import ListedTile, clean_key
from crafts.data.listing.tables import SPLIT_NAMES, names_images
from crafts.imaging.opening import require_regular

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm"}
_CAPTION_SUFFIX = ".txt"


def list_folders(source: Path) -> Iterator[ListedTile]:
    """Images in class folders; every file that is not hidden is listed, bar companions of images.

    A companion bears the name of an image up to the last dot: ``0001.txt`` is the caption of
    ``0001.png``, any other (``0001.json``, ``0001.xml``) is of another program and not read.

    Raises:
        DataError: a table that names images lies below, where none is read.
    """
    found = list(walk_files(source))
    for folder, fault in ((path, fault) for path, fault in found if fault):
        yield replace(_make_item(folder, source, None), fault=fault)
    paths = [path for path, fault in found if not fault]
    images = {path.with_suffix("") for path in paths if _is_image(path)}
    beside = [path for path in paths if not _is_image(path) and path.with_suffix("") in images]
    captions = {p.with_suffix(""): p for p in beside if p.suffix.lower() == _CAPTION_SUFFIX}
    companions = set(beside)
    for path in paths:
        is_table = path.suffix.lower() in TABLE_SUFFIXES and path.is_file()
        if is_table and names_images(path):
            raise DataError(
                str(path),
                came="what looks like a table of these tiles",
                allowed=f"metadata.csv in {source}, or none",
                do="Give its path to the command, put it there, or move it away.",
            )
        if path not in companions:
            yield _make_item(path, source, captions.get(path.with_suffix("")))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES


def _make_item(path: Path, source: Path, caption: Path | None) -> ListedTile:
    # a name that is no UTF-8 comes with lone surrogates, which no text file can hold
    parts = path.relative_to(source).parts
    shown = [part.encode("utf-8", "backslashreplace").decode() for part in parts]
    name, folders = "/".join(shown), shown[:-1]
    fields: dict[str, Any] = {}
    if folders and folders[0].lower() in SPLIT_NAMES:
        fields["split"] = SPLIT_NAMES[folders.pop(0).lower()]
    if folders:
        fields["label"] = folders[0]
    text, fault = _read_caption(caption) if caption else ("", "")
    return ListedTile(
        name, clean_key(name.rsplit(".", 1)[0]), str(path), -1, 0, text, fields, fault
    )


def _read_caption(path: Path) -> tuple[str, str]:
    """The caption, or the fault for which its image cannot be used."""
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8-sig").strip(), ""
    except UnicodeDecodeError:
        return "", f"its caption ({_CAPTION_SUFFIX}) is no UTF-8"
    except OSError as error:
        return "", f"its caption ({_CAPTION_SUFFIX}) is unreadable ({error.strerror or error})"
