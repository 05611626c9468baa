"""Another laboratory's stain: a made picture in the colours of a reference, without training.

Hematoxylin and eosin are told apart in the picture and in the reference, each by its own
directions in optical density. The picture then gets the directions of the reference, and on
average as much of each stain on its tissue; what neither stain explains stays. Glass stays glass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import sha256_bytes, sha256_file
from crafts.core.errors import DataError
from crafts.core.runtime import say
from crafts.imaging.opening import read_rgb
from crafts.imaging.stains import find_tissue, optical_density, stain_amounts, stain_vectors
from crafts.imaging.stripping import RefusedImageError

Pixels = NDArray[np.uint8]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_MOST_TILES = 64
_GAIN = 0.4, 2.5  # of the amount of a stain: beyond it noise would be stained
_LEAST_TISSUE = 0.1
_ANGLES = 8.0, 80.0  # degrees between the stains: outside of it they are no two stains


class _UnsafeError(ValueError):
    """No answer that would not be a guess; says why."""


@dataclass(frozen=True, eq=False)
class Stain:
    """The colours of a reference.

    Attributes:
        name: of its file or folder.
        sha256: of its files.
        vectors: [2, 3], hematoxylin and eosin in optical density.
        amounts: [2], means on tissue.
    """

    name: str
    sha256: str
    vectors: NDArray[np.float64]
    amounts: NDArray[np.float64]

    def apply(self, pixels: Pixels, name: str) -> Pixels:
        """A picture [H, W, 3] in these colours; as it is, and that is said, where none is safe."""
        try:
            vectors, amounts = _measure([pixels])
        except _UnsafeError as reason:
            say(f"generate: {name} keeps its own stain: {reason}")
            return pixels
        gain = np.clip(self.amounts / np.maximum(amounts, 1e-3), *_GAIN)
        across = np.cross(*self.vectors)
        rows = np.vstack([self.vectors, across / np.linalg.norm(across)])
        stained = stain_amounts(optical_density(pixels), vectors) * [*gain, 1.0]
        light = 256 * 10 ** -(stained @ rows) - 1
        return np.clip(np.rint(light), 0, 255).astype(np.uint8)

    def describe(self) -> dict[str, object]:
        """What a file says of it."""
        return {"kind": "stain", "source": self.name, "source_sha256": self.sha256}


def open_stain(path: Path) -> Stain:
    """The stain of a picture, or of the pictures in a folder.

    Raises:
        DataError: no picture that can be read, or none that shows two stains on tissue.
    """
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES)
        files = files[:: max(1, len(files) // _MOST_TILES)][:_MOST_TILES]
    try:
        if not files:
            raise _UnsafeError("no picture")
        vectors, amounts = _measure([read_rgb(one) for one in files])
        sha256 = sha256_bytes("".join(map(sha256_file, files)).encode())
    except (OSError, ValueError, RefusedImageError) as error:
        raise DataError(
            str(path),
            came=str(getattr(error, "strerror", None) or error),
            allowed="a picture, or a folder of pictures, stained with H&E and with tissue",
            do="Choose another reference for the stain.",
        ) from None
    return Stain(path.name, sha256, vectors, amounts)


def _measure(tiles: Sequence[Pixels]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of the two stains [2, 3], and their mean amounts [2] on tissue.

    Raises:
        _UnsafeError: there is too little tissue, or there are no two stains.
    """
    tissue = [find_tissue(tile) for tile in tiles]
    share = np.mean([0.0 if one.all() and _pale(tile) else one.mean()
                     for one, tile in zip(tissue, tiles, strict=True)])  # fmt: skip
    if share < _LEAST_TISSUE:
        raise _UnsafeError("too little tissue")
    vectors = stain_vectors(tiles)
    between = np.degrees(np.arccos(np.clip(vectors[0] @ vectors[1], -1, 1)))
    if not _ANGLES[0] <= between <= _ANGLES[1]:
        raise _UnsafeError("stains that cannot be told apart")
    density: Any = np.concatenate(
        [optical_density(tile)[where] for tile, where in zip(tiles, tissue, strict=True)]
    )
    return vectors, stain_amounts(density, vectors).mean(axis=0)[:2]


def _pale(tile: Pixels) -> bool:
    """Whether all is glass, of which ``find_tissue`` then takes all."""
    return bool(optical_density(tile).mean() < 0.05)
