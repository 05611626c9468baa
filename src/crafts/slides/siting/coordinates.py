"""Tile coordinates in the h5 layouts that TRIDENT and CLAM write and read.

Both hold ``coords`` [N, 2], the upper left corners in pixels of level 0; they differ in what the
attributes say. Files without a tile are legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.arrays import check_unpacked
from crafts.core.disk import replacing
from crafts.core.errors import DataError, first_line, refusal

if TYPE_CHECKING:
    from crafts.slides.grid import View


@dataclass(frozen=True)
class Coordinates:
    """Where the tiles of a slide lie.

    Attributes:
        coords: int64 [N, 2], x and y of the upper left corners in pixels of level 0.
        attributes: of the dataset, as they are in the file.
        layout: whose file it is.
    """

    coords: NDArray[np.int64]
    attributes: Mapping[str, Any]
    layout: Literal["trident", "clam"]

    @property
    def extent(self) -> float:
        """Edge of a tile in pixels of level 0."""
        if self.layout == "trident":
            return float(self.attributes["patch_size_level0"])
        return float(self.attributes["patch_size"]) * float(np.ravel(self._downsample)[0])

    @property
    def _downsample(self) -> Any:
        return self.attributes["downsample"]


def trident_attributes(
    name: str, *, slide: tuple[int, int], mpp: float, view: View, size: int, overlap: int
) -> dict[str, Any]:
    """Attributes of a TRIDENT file.

    Args:
        name: of the slide.
        slide: (width, height) of level 0.
        mpp: microns per pixel of level 0.
        view: how tiles are read.
        size: edge of a tile in its own pixels.
        overlap: of neighbours, in the tile's own pixels.
    """
    return {
        "patch_size": size,
        "patch_size_level0": round(size * view.footprint[0]),
        "level0_magnification": round(10 / mpp),  # 10 µm/px at 1x
        "target_magnification": round(10 / view.mpp[0]),
        "overlap": overlap,
        "name": name,
        "savetodir": ".",
        "level0_width": slide[0],
        "level0_height": slide[1],
    }


def clam_attributes(
    name: str, *, slide: tuple[int, int], level_size: tuple[int, int], view: View, size: int
) -> dict[str, Any]:
    """Attributes of a CLAM file; its patches are pixels of a level, so ours are in them too."""
    return {
        "patch_size": round(size * view.scale[0]),
        "patch_level": view.level,
        "downsample": np.asarray(view.downsample),
        "downsampled_level_dim": np.asarray(level_size),
        "level_dim": np.asarray(slide),
        "name": name,
        "save_path": ".",
    }


def write_coordinates(path: Path, coords: NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Write a file that is there as a whole or not at all, in bytes that do not depend on the time.

    Args:
        path: of the file; its folder exists.
        coords: [N, 2], N may be 0.
        attributes: of the dataset.

    Raises:
        RetryError: the disk is full.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        data = np.asarray(coords, np.int64).reshape(-1, 2)
        dataset = file.create_dataset("coords", data=data, track_times=False)
        for name, value in attributes.items():
            dataset.attrs[name] = value


def read_coordinates(path: Path) -> Coordinates:
    """Read a file of TRIDENT or of CLAM.

    Raises:
        DataError: no such file, damaged, or of another layout.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            check_unpacked(file["coords"].nbytes, path.stat().st_size)
            coords = np.asarray(file["coords"])
            attributes = {name: _plain(value) for name, value in file["coords"].attrs.items()}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise _bad(path, reason if path.exists() else "no such file") from None
    layout: Literal["trident", "clam"]
    if "patch_size_level0" in attributes:
        layout = "trident"
    elif {"patch_level", "patch_size", "downsample"} <= set(attributes):
        layout = "clam"
    else:
        raise _bad(path, f"attributes {', '.join(sorted(attributes)) or 'none'}")
    if coords.size and (coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iu"):
        raise _bad(path, f"coords of shape {coords.shape} and type {coords.dtype}")
    return Coordinates(coords.reshape(-1, 2).astype(np.int64), attributes, layout)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


_bad = refusal(
    DataError,
    allowed="an h5 file with `coords` [N, 2] and the attributes of TRIDENT or CLAM",
    do="Write the coordinates again.",
)
