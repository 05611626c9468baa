"""Tiles with text from the layouts people have: class folders, metadata tables, csv, WebDataset.

Listing is cheap and happens first (names, text, fields); loading decodes one tile and is a pure
function of its item, so that it can run in any number of worker processes.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from crafts.core.errors import ConfigError, DataError
from crafts.core.protocols import LoadMask
from crafts.core.records import Sample
from crafts.data.listing.tables import (
    IMAGE_COLUMNS,
    MASK_COLUMNS,
    SPLIT_NAMES,
    TEXT_COLUMNS,
    Columns,
    as_text,
    caption_of,
    is_missing,
    parse_fields,
    pick,
    pick_name,
    read_table,
    require_columns,
    require_unicode,
)
from crafts.data.tiles.images import MAX_PIXELS, RefusedImageError, check_image, stays_jpeg
from crafts.data.tiles.masks import MASK_SUFFIX, read_mask

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_TABLES = (".csv", ".jsonl", ".parquet")
_IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp")
_UNSAFE = re.compile(r"[^\w\-+=,@]")


@dataclass(frozen=True)
class Item:
    """One listed tile, not yet opened.

    Attributes:
        name: as the source lists it; shown in rejects.
        key: cleaned key.
        path: image file, or the tar that holds it.
        offset: position of the image in the tar, -1 for a file of its own.
        size: bytes of the image in the tar.
        text: caption.
        fields: further columns.
        fault: reason for which the listing itself already rejects the row.
        mask: file of its nuclei, or the tar that holds it; "" for none.
        mask_offset: position of the mask in the tar, -1 for a file of its own.
        mask_size: bytes of the mask in the tar.
    """

    name: str
    key: str
    path: str
    offset: int = -1
    size: int = 0
    text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    mask: str = ""
    mask_offset: int = -1
    mask_size: int = 0


@dataclass(frozen=True)
class Loaded:
    """A tile that decodes: the sample, its size in pixels, and its nuclei as shards hold them."""

    sample: Sample
    width: int
    height: int
    mask: bytes = b""


def clean_key(text: str) -> str:
    """A key that tar readers cannot misread: letters, digits and ``_-+=,@``, all else is ``_``."""
    return _UNSAFE.sub("_", text) or "_"


def list_items(source: Path, columns: Columns | None = None) -> list[Item]:
    """List a source without opening its images.

    Recognised, in this order: a table file or a tar file; a folder (or its split folders) with
    ``metadata.csv|jsonl|parquet``; a folder of tars; a folder with one csv; a folder of images
    with class folders in it, below split folders (train, validation, test, ...) if there are any.

    Returns:
        Items sorted by key, those with a fault included.

    Raises:
        ConfigError: the source does not exist, or a named column is missing.
        DataError: the layout is not recognised, or two tiles would get the same key.
    """
    columns = columns or Columns()
    if not source.exists():
        raise ConfigError(
            str(source),
            came="no such file or folder",
            allowed="a folder of tiles, a table or a tar",
            do="Check the path.",
        )
    items = sorted(_detect(source, columns), key=lambda item: (item.key, item.name))
    if not items:
        raise DataError(
            str(source),
            came="no tile in it",
            allowed="images in class folders, metadata.csv|jsonl|parquet, one csv, or .tar files",
            do="Check the path and the layout.",
        )
    return refuse_collisions(items)


def load_item(
    item: Item,
    max_pixels: int = MAX_PIXELS,
    *,
    as_png: bool = False,
    load_mask: LoadMask | None = None,
) -> Loaded | str:
    """Open, check and decode one tile; its mask, too, where something to load it with is given.

    Returns:
        The sample with its size, or the reason for rejecting it.
    """
    if item.fault:
        return item.fault
    try:
        data = _read(item.path, item.offset, item.size)
        image = check_image(data, max_pixels, as_png=as_png)
        mask = b""
        if item.mask and load_mask is not None:
            packed = _read(item.mask, item.mask_offset, item.mask_size) if item.mask_size else None
            size = (image.height, image.width)
            mask = read_mask(Path(item.mask), packed, load=load_mask, size=size)
    except RefusedImageError as refused:
        return str(refused)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"unreadable ({error.strerror or error})"
    sample = Sample(item.key, image.data, image.suffix, item.text, dict(item.fields))
    return Loaded(sample, image.width, image.height, mask)


def all_stay_jpeg(items: Iterable[Item]) -> bool:
    """Whether every readable image of a source can be kept as JPEG; stops at the first other."""
    return all(item.fault or _stays_jpeg(item) for item in items)


def _stays_jpeg(item: Item) -> bool:
    try:
        return stays_jpeg(_read(item.path, item.offset, item.size))
    except OSError:
        return True  # rejected later, with its reason


def _read(path: str, offset: int, size: int) -> bytes:
    with Path(path).open("rb") as handle:
        handle.seek(max(offset, 0))
        return handle.read(size if offset >= 0 else -1)


def _detect(source: Path, columns: Columns) -> Iterator[Item]:
    if source.is_file():
        if source.suffix == ".tar":
            return _list_tars([source])
        if source.suffix in _TABLES:
            return _list_table(source, columns)
        raise DataError(
            str(source),
            came=f"a {source.suffix or 'nameless'} file",
            allowed="a folder, .csv, .jsonl, .parquet or .tar",
            do="Point at the folder of the tiles.",
        )
    tables = _metadata_tables(source)
    if tables:
        return (
            item for path, split in tables for item in _list_table(path, columns, source, split)
        )
    tars = sorted(source.glob("*.tar"))
    if tars:
        return _list_tars(tars)
    plain = sorted(source.glob("*.csv"))
    if len(plain) > 1:
        raise DataError(
            str(source),
            came=f"{len(plain)} csv files ({', '.join(path.name for path in plain[:3])}, ...)",
            allowed="one",
            do="Give the path of the csv that lists the tiles.",
        )
    return _list_table(plain[0], columns) if plain else _list_folders(source)


def _metadata_tables(source: Path) -> list[tuple[Path, str]]:
    """Metadata tables of a Hugging Face image folder: one in it, or one in each split folder."""
    found = [(source / name, "") for name in _METADATA if (source / name).is_file()]
    if not found:
        folders = sorted(
            path for path in source.iterdir() if path.is_dir() and path.name in SPLIT_NAMES
        )
        found = [
            (folder / name, SPLIT_NAMES[folder.name])
            for folder in folders
            for name in _METADATA
            if (folder / name).is_file()
        ]
    if len({path.parent for path, _ in found}) < len(found):
        names = ", ".join(str(path.relative_to(source)) for path, _ in found)
        raise DataError(
            str(source),
            came=f"several metadata tables ({names})",
            allowed="one in a folder",
            do="Remove all but one.",
        )
    return found


def _list_folders(source: Path) -> Iterator[Item]:
    """Images in class folders; every file that is not hidden is listed."""
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_dir() or any(part.startswith(".") for part in parts):
            continue
        # a name that is no UTF-8 comes with lone surrogates, which no text file can hold
        shown = [part.encode("utf-8", "backslashreplace").decode() for part in parts]
        name, folders = "/".join(shown), shown[:-1]
        fields: dict[str, Any] = {}
        if folders and folders[0] in SPLIT_NAMES:
            fields["split"] = SPLIT_NAMES[folders.pop(0)]
        if folders:
            fields["label"] = folders[0]
        yield Item(name, clean_key(name.rsplit(".", 1)[0]), str(path), fields=fields)


def _list_table(
    path: Path, columns: Columns, base: Path | None = None, split: str = ""
) -> Iterator[Item]:
    """Rows of a csv, jsonl or parquet; paths are relative to the table's folder."""
    prefix = path.parent.relative_to(base).as_posix() + "/" if base and path.parent != base else ""
    for number, row in read_table(path):
        where = f"{path.name} row {number}"
        if isinstance(row, str):
            yield Item(where, clean_key(where), "", fault=row)
            continue
        require_columns(path, columns, row)
        image = pick(row, columns.image, IMAGE_COLUMNS)
        if not isinstance(image, str) or not image:
            yield Item(where, clean_key(where), "", fault="no image path")
            continue
        name = prefix + image
        item = _make_item(
            name, _key_of(row, columns, name), path.parent / image, row, columns, split
        )
        mask = pick(row, columns.mask, MASK_COLUMNS)
        yield item if mask is None else replace(item, mask=str(path.parent / as_text(mask)))


def _make_item(
    name: str, key: str, path: Path, row: Mapping[str, Any], columns: Columns, split: str
) -> Item:
    taken = {
        pick_name(row, columns.image, IMAGE_COLUMNS),
        pick_name(row, columns.text, TEXT_COLUMNS),
        columns.key,
        pick_name(row, columns.mask, MASK_COLUMNS),
    }
    ours = {theirs: our for our, theirs in columns.rename.items()}
    raw = {ours.get(name, name): value for name, value in row.items() if name not in taken}
    if split:
        raw.setdefault("split", split)
    text = pick(row, columns.text, TEXT_COLUMNS)
    try:
        require_unicode([text, raw])
        fields = parse_fields(raw)
    except ValueError as error:
        return Item(name, key, str(path), fault=str(error))
    return Item(name, key, str(path), text=caption_of(text, fields), fields=fields)


def _key_of(row: Mapping[str, Any], columns: Columns, name: str) -> str:
    chosen = row.get(columns.key) if columns.key else None
    return clean_key(name.rsplit(".", 1)[0] if is_missing(chosen) else as_text(chosen))


def refuse_collisions(items: list[Item]) -> list[Item]:
    """Reject the second row of a file that is listed twice.

    Args:
        items: sorted by key and name.

    Raises:
        DataError: two tiles of one key.
    """
    unique: list[Item] = []
    for item in items:
        last = unique[-1] if unique else None
        if last is None or item.key != last.key:
            unique.append(item)
        elif (item.path, item.offset) == (last.path, last.offset):
            fault = "the same file is listed twice (alternative wordings go into `captions`)"
            unique.append(Item(item.name, item.key, item.path, fault=fault))
        else:
            raise DataError(
                f"key {item.key!r}",
                came=f"both {last.name!r} and {item.name!r}",
                allowed="one tile per key (dots, slashes and spaces count as _)",
                do="Rename one of them.",
            )
    return unique


def _list_tars(paths: list[Path]) -> Iterator[Item]:
    for path in paths:
        yield from _list_tar(path)


def _list_tar(path: Path) -> Iterator[Item]:
    """Samples of one WebDataset tar: members with the same name up to the first dot, in a row."""
    group: list[tarfile.TarInfo] = []
    name = ""
    try:
        with path.open("rb") as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
            for member in tar:
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
    if fault:  # what stood behind this place is not known; the tar itself is the listed item
        yield Item(path.name, clean_key(path.name), str(path), fault=f"{fault} after {name!r}")


def _split_member(name: str) -> tuple[str, str]:
    """``a/b.mask.png`` -> ``("a/b", "mask.png")``, as the webdataset package splits names."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    base, _, suffix = file.partition(".")
    return folder + slash + base, suffix.lower()


def _tar_item(path: Path, name: str, group: list[tarfile.TarInfo], handle: BinaryIO) -> Item:
    members = {_split_member(member.name)[1]: member for member in group}
    shown, key = f"{path.name}:{name}", clean_key(name)
    image = next((members[suffix] for suffix in _IMAGE_SUFFIXES if suffix in members), None)
    if image is None:
        return Item(shown, key, str(path), fault=f"no image among {', '.join(members)}")
    try:
        row = json.loads(_tar_bytes(handle, members["json"])) if "json" in members else {}
        if not isinstance(row, dict):
            raise ValueError("json is no object")
        if "txt" in members:
            row["text"] = _tar_bytes(handle, members["txt"]).decode("utf-8")
        require_unicode(row)
        text = pick(row, "", TEXT_COLUMNS)
        fields = parse_fields({k: v for k, v in row.items() if k not in TEXT_COLUMNS})
    except ValueError as error:  # also bad JSON and bad UTF-8
        return Item(shown, key, str(path), fault=str(error))
    text = caption_of(text, fields)
    item = Item(shown, key, str(path), image.offset_data, image.size, text, fields)
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
