"""What a source lists: one tile an item, each under a key of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

_UNSAFE = re.compile(r"[^\w\-+=,@]")


@dataclass(frozen=True)
class ListedTile:
    """One listed tile, not yet opened.

    Attributes:
        name: as the source lists it; shown in rejects.
        key: cleaned key.
        path: image file, or the tar or parquet that holds it.
        offset: position of the image in the tar, or its row (from 0) in the parquet; -1 for a file
            of its own.
        size: bytes of the image in the tar.
        text: caption.
        fields: further columns.
        fault: reason for which the listing itself already rejects the row.
        mask: file of its nuclei, or the tar that holds it; "" for none.
        mask_offset: position of the mask in the tar, -1 for a file of its own.
        mask_size: bytes of the mask in the tar.
        column: of the parquet that holds the image; "" elsewhere.
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
    column: str = ""


def clean_key(text: str) -> str:
    """A key that tar readers cannot misread: letters, digits and ``_-+=,@``, all else is ``_``."""
    return _UNSAFE.sub("_", text) or "_"


def reject_collisions(items: list[ListedTile]) -> list[ListedTile]:
    """Give a fault to every tile whose key an earlier one has; faulty rows take no key.

    Args:
        items: sorted by key and name.
    """
    unique: list[ListedTile] = []
    last: ListedTile | None = None
    for item in items:
        if item.fault:
            unique.append(item)
        elif last is None or item.key != last.key:
            unique.append(item)
            last = item
        elif (item.path, item.offset) == (last.path, last.offset):
            fault = "the same file is listed twice (alternative wordings go into `captions`)"
            unique.append(replace(item, fault=fault))
        else:
            fault = f"the same key as {last.name} (dots, slashes and spaces count as _); rename it"
            unique.append(replace(item, fault=fault))
    return unique
