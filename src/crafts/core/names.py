"""Names that become files: what some file system cannot store is refused on all of them."""

from __future__ import annotations

import re
import unicodedata

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
