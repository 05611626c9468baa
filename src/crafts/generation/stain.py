"""Another laboratory's stain: a made picture in the colours of a reference, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import sha256_bytes, sha256_file
from crafts.core.errors import DataError
from crafts.core.runtime import say
from crafts.imaging.opening import read_rgb
from crafts.imaging.stripping import RefusedImageError
from crafts.slides.stain import StainFit, StainRefusedError, fit_stain, normalize_stain

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_MOST_TILES, _PIXELS = 64, 20_000
_REASONS = {
    "tissue": "too little tissue",
    "rank": "one dye only",
    "angle": "dyes that cannot be told apart",
    "dye": "too much or too little dye",
}


@dataclass(frozen=True)
class Stain:
    """The colours of a reference.

    Attributes:
        name: of its file or folder.
        sha256: of its files.
        fit: its dyes and how much of them.
    """

    name: str
    sha256: str
    fit: StainFit

    def apply(self, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """A picture [H, W, 3] in these colours; as it is, and that is said, where none is safe."""
        try:
            return normalize_stain(pixels, fit_stain(pixels, "macenko"), target=self.fit)
        except StainRefusedError as refused:
            say(f"generate: {name} keeps its own stain: {_REASONS[str(refused)]}")
            return pixels

    def describe(self) -> dict[str, object]:
        """What a file says of it."""
        return {"kind": "stain", "source": self.name, "source_sha256": self.sha256}


def open_stain(path: Path) -> Stain:
    """The stain of a picture, or of the pictures in a folder.

    Raises:
        DataError: no picture that can be read, or none that shows two dyes.
    """
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES)
        files = files[:: max(1, len(files) // _MOST_TILES)][:_MOST_TILES]
    try:
        pixels = np.concatenate([_some(read_rgb(one)) for one in files])
        fit = fit_stain(pixels, "macenko")
        sha256 = sha256_bytes("".join(map(sha256_file, files)).encode())
    except (OSError, ValueError, RefusedImageError, StainRefusedError) as error:
        reason = _REASONS.get(str(error)) or getattr(error, "strerror", None) or str(error)
        raise DataError(
            str(path),
            came=str(reason),
            allowed="a picture, or a folder of pictures, stained with H&E and with tissue",
            do="Choose another reference for the stain.",
        ) from None
    return Stain(path.name, sha256, fit)


def _some(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    flat = pixels.reshape(-1, 3)
    return flat[:: max(1, len(flat) // _PIXELS)]
