"""What a library that reads slides must offer, and what it may raise."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from crafts.imaging.stripping import RefusedImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What the libraries are known to raise on damaged files; RuntimeError is the base of imagecodecs'.
_KNOWN = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    EOFError,
    SyntaxError,
    struct.error,
    zlib.error,
    RefusedImageError,
)


def known_faults() -> tuple[type[Exception], ...]:
    """What the libraries raise on damaged files, with the own classes of those that are loaded."""
    own = {
        "openslide": "OpenSlideError",
        "tifffile": "TiffFileError",
        "pydicom.errors": "InvalidDicomError",
    }
    found = [getattr(sys.modules[name], kind) for name, kind in own.items() if name in sys.modules]
    return (*_KNOWN, *found)


@dataclass(frozen=True)
class RegionPixels:
    """Pixels of a rectangle.

    Attributes:
        pixels: [H, W, C], uint8 RGB or the channels as they are stored; unscanned parts are white.
        unscanned: share of pixels that the scanner left out, in [0, 1].
    """

    pixels: NDArray[Any]
    unscanned: float = 0.0


class Backend(Protocol):
    """What a library must offer; sizes are (width, height), largest level first."""

    reader: str
    sizes: Sequence[tuple[int, int]]
    properties: Mapping[str, str]
    channels: Sequence[str]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        """A rectangle; x and y in pixels of level 0, width and height in those of ``level``."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class NotThisKindError(Exception):
    """The file is sound, but another reader's business."""
