"""DICOM slides that pydicom decodes, where OpenSlide finds them incomplete or packed otherwise."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.imaging.opening import require_regular
from crafts.slides.reading.backend import RegionPixels, known_faults
from crafts.slides.reading.formats import (
    Frame,
    dicom_spacing,
    find_frames,
    is_volume,
    join_parts,
    states_frame_order,
)

_SEAMS = 64  # pairs of frames that are compared where their order is not stated
_FRAMES = 64  # decoded frames that are kept


class Dicom:
    """Tiled DICOM; what is missing of it is unscanned."""

    reader, channels = "dicom", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        headers = [(file, dicom_header(file)) for file in _series_files(path)]
        volumes = [pair for pair in headers if is_volume(pair[1])]
        if not volumes:
            raise ValueError("no instance with a total pixel matrix")
        self._levels, notes = join_parts(volumes)
        self._levels.sort(key=lambda parts: -int(parts[0].header.TotalPixelMatrixColumns))
        self._cache: OrderedDict[tuple[int, Frame], NDArray[Any]] = OrderedDict()
        tops = [parts[0].header for parts in self._levels]
        self.sizes = [
            (int(top.TotalPixelMatrixColumns), int(top.TotalPixelMatrixRows)) for top in tops
        ]
        self.properties = dicom_spacing(tops[0])
        by_columns = not states_frame_order(tops[0]) and self._runs_down()
        if by_columns:
            notes.append("order of the frames not stated; down the columns is where seams fit")
        self.properties["crafts.note"] = "; ".join(notes)
        self._places = [find_frames(parts, by_columns=by_columns) for parts in self._levels]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        """A rectangle; x and y in pixels of level 0, width and height in those of ``level``."""
        (full, _), (small, _) = self.sizes[0], self.sizes[level]
        left, top = round(x * small / full), round(y * small / full)
        header = self._levels[level][0].header
        rows, columns = int(header.Rows), int(header.Columns)
        pixels = np.full((height, width, 3), 255, np.uint8)
        seen = np.zeros((height, width), bool)
        for (row, column), frame_at in self._places[level].items():
            y0, x0 = max(row, top), max(column, left)
            y1, x1 = min(row + rows, top + height), min(column + columns, left + width)
            if y0 < y1 and x0 < x1:
                frame = self._frame(level, frame_at)[y0 - row : y1 - row, x0 - column : x1 - column]
                pixels[y0 - top : y1 - top, x0 - left : x1 - left] = frame
                seen[y0 - top : y1 - top, x0 - left : x1 - left] = True
        return RegionPixels(pixels, 1.0 - float(seen.mean()))

    def _runs_down(self) -> bool:
        """Whether a frame continues at the bottom of the one before it rather than at its right."""
        count = int(self._levels[0][0].header.get("NumberOfFrames", 1))
        down = beside = 0.0
        for index in np.unique(np.linspace(0, count - 2, _SEAMS).astype(int)) if count > 1 else ():
            first, second = (self._frame(0, (0, int(i))).astype(float) for i in (index, index + 1))
            down += float(np.abs(first[-1] - second[0]).mean())
            beside += float(np.abs(first[:, -1] - second[:, 0]).mean())
        return down < beside

    def _frame(self, level: int, place: Frame) -> NDArray[Any]:
        from pydicom.pixels import pixel_array

        if (level, place) not in self._cache:
            part, index = place
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of colours that are not what the header says
                frame = pixel_array(self._levels[level][part].path, index=index)
            if frame.ndim != 3 or frame.dtype != np.uint8:
                raise ValueError(f"a frame of shape {frame.shape} and type {frame.dtype}")
            self._cache[level, place] = frame
            if len(self._cache) > _FRAMES:
                self._cache.popitem(last=False)
        return self._cache[level, place]

    def close(self) -> None:
        """Forget the frames; files are open only while a frame is read."""
        self._cache.clear()


def dicom_header(path: Path) -> Any:
    """A DICOM file without its pixels."""
    import pydicom

    require_regular(path)
    # values that are longer than they should be are no reason to complain line by line
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom.dcmread(path, stop_before_pixels=True)


def _series_files(path: Path) -> list[Path]:
    """Files of a series; of one part of a concatenation those beside it, too."""
    if path.is_dir():
        return sorted(path.glob("*.dcm"))
    header = dicom_header(path)
    if "ConcatenationUID" not in header:
        return [path]
    whole = header.ConcatenationUID
    beside = sorted(path.parent.glob("*.dcm"))
    return [file for file in beside if file == path or _concatenation(file) == whole]


def _concatenation(path: Path) -> str | None:
    try:
        return dicom_header(path).get("ConcatenationUID")
    except known_faults():
        return None


def any_file(folder: Path) -> Path:
    """A file of the series in a folder."""
    return min(folder.glob("*.dcm"), default=folder)
