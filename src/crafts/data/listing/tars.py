"""Samples of WebDataset tars, listed without opening their images."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from crafts.core.parsing import parse_json
from crafts.core.tabular.json_rows import MAX_LINE
from crafts.data.listing.items import ListedTile, clean_key
from crafts.data.listing.tables import TEXT_COLUMNS, parse_row, pick
from crafts.data.tiles.masks import MASK_SUFFIX
from crafts.imaging.opening import require_regular

_IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp")


def list_tars(paths: list[Path]) -> Iterator[ListedTile]:
    """Samples of tars, one tar after the other."""
    for path in paths:
        yield from _list_tar(path)


def _list_tar(path: Path) -> Iterator[ListedTile]:
    """Samples of one WebDataset tar: members with the same name up to the first dot, in a row."""
    group: list[tarfile.TarInfo] = []
    name = ""
    try:
        require_regular(path)
        with path.open("rb") as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
            for member in tar:
                if member.islnk() or member.issym():
                    shown = _shown(path, member.name)
                    fault = "a link inside a tar; put the file itself in it"
                    yield ListedTile(shown, clean_key(shown), str(path), fault=fault)
                if not member.isfile():
                    continue
                base = _split_member(member.name)[0]
                if group and base != name:
                    yield _tar_item(path, name, group, handle)
                    group = []
                name = base
                group.append(member)
            if group:
                yield _tar_item(path, name, group, handle)
            handle.seek(max(0, path.stat().st_size - 1024))
            fault = "" if handle.read() == b"\0" * 1024 else "truncated tar (no end marker)"
    except (tarfile.TarError, EOFError) as error:
        fault = f"damaged or truncated tar ({error})"
    except OSError as error:
        fault = f"unreadable tar ({error.strerror or error})"
    if fault:  # what stood behind this place is not known; the tar itself is the listed item
        yield ListedTile(
            path.name, clean_key(path.name), str(path), fault=f"{fault} after {name!r}"
        )


def _split_member(name: str) -> tuple[str, str]:
    """``a/b.mask.png`` -> ``("a/b", "mask.png")``, as the webdataset package splits names."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    base, _, suffix = file.partition(".")
    return folder + slash + base, suffix.lower()


def _shown(path: Path, name: str) -> str:
    return f"{path.name}:{name}"


def _tar_item(path: Path, name: str, group: list[tarfile.TarInfo], handle: BinaryIO) -> ListedTile:
    members = {_split_member(member.name)[1]: member for member in group}
    shown, key = _shown(path, name), clean_key(name)
    image = next((members[suffix] for suffix in _IMAGE_SUFFIXES if suffix in members), None)
    if image is None:
        return ListedTile(shown, key, str(path), fault=f"no image among {', '.join(members)}")
    try:
        if any(members[kind].size > MAX_LINE for kind in ("json", "txt") if kind in members):
            raise ValueError(f"text of more than {MAX_LINE} bytes")
        row = parse_json(_tar_bytes(handle, members["json"])) if "json" in members else {}
        if not isinstance(row, dict):
            raise ValueError("json is no object")
        if "txt" in members:
            row["text"] = _tar_bytes(handle, members["txt"]).decode("utf-8")
        text = pick(row, "", TEXT_COLUMNS)
        text, fields = parse_row(text, {k: v for k, v in row.items() if k not in TEXT_COLUMNS})
    except ValueError as error:  # also bad JSON and bad UTF-8
        return ListedTile(shown, key, str(path), fault=str(error))
    item = ListedTile(shown, key, str(path), image.offset_data, image.size, text, fields)
    mask = members.get(MASK_SUFFIX)
    if mask is None:
        return item
    return replace(item, mask=str(path), mask_offset=mask.offset_data, mask_size=mask.size)


def _tar_bytes(handle: BinaryIO, member: tarfile.TarInfo) -> bytes:
    position = handle.tell()
    handle.seek(member.offset_data)
    data = handle.read(member.size)
    handle.seek(position)
    return data
