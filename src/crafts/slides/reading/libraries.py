"""The libraries that read slides, each behind the same few lines: :class:`Backend`.

Nothing outside of ``reader.py`` opens one of these. They raise whatever their library raises;
:func:`known_faults` lists it.
"""

from __future__ import annotations

import logging
import struct
import sys
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from crafts.slides.reading.formats import (
    channel_count,
    describe_channels,
    dicom_spacing,
    frame_places,
    is_volume,
    ome_sizes,
    states_frame_order,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PLAIN_PIXELS = 170_000_000  # a plain image is decoded as a whole
_SEAMS = 64  # pairs of DICOM frames that are compared where their order is not stated
_FRAMES = 64  # decoded DICOM frames that are kept
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
    Image.DecompressionBombError,
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
class Region:
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

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """A rectangle; x and y in pixels of level 0, width and height in those of ``level``."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class NotThisKindError(Exception):
    """The file is sound, but another reader's business."""


class _OpenSlide:
    reader, channels = "openslide", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        import openslide

        self._slide = openslide.OpenSlide(_any_dicom(path) if path.is_dir() else path)
        self.sizes = self._slide.level_dimensions
        self.properties = dict(self._slide.properties)
        self.properties |= ome_sizes(self.properties.get("tiff.ImageDescription", ""))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        return _from_rgba(self._slide.read_region((x, y), level, (width, height)))

    def close(self) -> None:
        self._slide.close()


class _TiffSlide:
    reader, channels = "tiffslide", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        import tiffslide

        _quiet_tifffile()
        self._slide = tiffslide.TiffSlide(path)
        _require_whole(self._slide.ts_tifffile, path)
        self.sizes = self._slide.level_dimensions
        self.properties = {
            name.replace("tiffslide.", "openslide."): str(value)
            for name, value in self._slide.properties.items()
            if value is not None
        }
        self.properties |= ome_sizes(self._slide.ts_tifffile.ome_metadata or "")

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        found = self._slide.read_region((x, y), level, (width, height), as_array=True)
        if found.shape != (height, width, 3) or found.dtype != np.uint8:
            raise ValueError(f"pixels of shape {found.shape} and type {found.dtype}")
        return Region(found)

    def close(self) -> None:
        self._slide.close()


class _Plain:
    reader, channels = "plain", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            self._image = Image.open(path)
        if self._image.width * self._image.height > MAX_PLAIN_PIXELS:
            raise ValueError(f"larger than {MAX_PLAIN_PIXELS} px; save it as a pyramidal TIFF")
        if self._image.mode.startswith(("I", "F")):  # Pillow would cut them to 8 bits
            raise ValueError("grey of more than 8 bits; save it as TIFF")
        self._pixels: NDArray[Any] | None = None
        self.sizes = [self._image.size]
        self.properties = {}
        if profile := self._image.info.get("icc_profile"):
            self.properties["openslide.icc-size"] = str(len(profile))
        if dpi := self._image.info.get("dpi"):
            self.properties["tiff.XResolution"] = str(float(dpi[0]))
            self.properties["tiff.YResolution"] = str(float(dpi[1]))
            self.properties["tiff.ResolutionUnit"] = "inch"

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        if self._pixels is None:
            mode = "RGBA" if self._image.has_transparency_data else "RGB"
            self._pixels = np.asarray(self._image.convert(mode))
        found = self._pixels[y : y + height, x : x + width]
        return Region(found) if found.shape[2] == 3 else _from_rgba(Image.fromarray(found))

    def close(self) -> None:
        self._image.close()


class _Channels:
    """Fluorescence TIFF: channels of one focal plane and one time, as OME or QPTIFF store them."""

    reader = "channels"

    def __init__(self, path: Path) -> None:
        import tifffile

        _quiet_tifffile()
        self._file = tifffile.TiffFile(path)
        with ExitStack() as on_fault:
            on_fault.callback(self._file.close)
            series = self._file.series[0]
            self._axes = series.axes
            if not (count := channel_count(series)):
                raise NotThisKindError
            _require_whole(self._file, path)
            import zarr  # late: it is slow to import, and most TIFF slides are in colour

            self._levels: list[Any] = [
                zarr.open(series.aszarr(level=level), mode="r")
                for level in range(len(series.levels))
            ]
            self.sizes = [(level.sizes["width"], level.sizes["height"]) for level in series.levels]
            self.properties, self.channels = describe_channels(self._file, count)
            on_fault.pop_all()  # whole: it stays open

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        (full, _), (small, _) = self.sizes[0], self.sizes[level]
        left, top = round(x * small / full), round(y * small / full)
        spans = {"Y": slice(top, top + height), "X": slice(left, left + width), "C": slice(None)}
        found = np.asarray(self._levels[level][tuple(spans.get(axis, 0) for axis in self._axes)])
        kept = [axis for axis in self._axes if axis in spans]
        if "C" not in kept:
            found, kept = found[None], ["C", *kept]
        return Region(np.ascontiguousarray(found.transpose([kept.index(axis) for axis in "YXC"])))

    def close(self) -> None:
        self._file.close()


class _Dicom:
    """Tiled DICOM whose frames pydicom decodes, for files that OpenSlide finds incomplete."""

    reader, channels = "dicom", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        files = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
        headers = [(file, dicom_header(file)) for file in files]
        volumes = [pair for pair in headers if is_volume(pair[1])]
        if not volumes:
            raise ValueError("no instance with a total pixel matrix")
        volumes.sort(key=lambda pair: -int(pair[1].TotalPixelMatrixColumns))
        self._levels = volumes
        self._cache: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self.sizes = [
            (int(h.TotalPixelMatrixColumns), int(h.TotalPixelMatrixRows)) for _, h in volumes
        ]
        self.properties = dicom_spacing(volumes[0][1])
        by_columns = not states_frame_order(volumes[0][1]) and self._runs_down()
        if by_columns:
            note = "the order of the frames is not stated; down the columns is where seams fit"
            self.properties["crafts.note"] = note
        self._places = [frame_places(header, by_columns=by_columns) for _, header in volumes]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        (full, _), (small, _) = self.sizes[0], self.sizes[level]
        left, top = round(x * small / full), round(y * small / full)
        header = self._levels[level][1]
        rows, columns = int(header.Rows), int(header.Columns)
        pixels = np.full((height, width, 3), 255, np.uint8)
        seen = np.zeros((height, width), bool)
        for (row, column), index in self._places[level].items():
            y0, x0 = max(row, top), max(column, left)
            y1, x1 = min(row + rows, top + height), min(column + columns, left + width)
            if y0 < y1 and x0 < x1:
                frame = self._frame(level, index)[y0 - row : y1 - row, x0 - column : x1 - column]
                pixels[y0 - top : y1 - top, x0 - left : x1 - left] = frame
                seen[y0 - top : y1 - top, x0 - left : x1 - left] = True
        return Region(pixels, 1.0 - float(seen.mean()))

    def _runs_down(self) -> bool:
        """Whether a frame continues at the bottom of the one before it rather than at its right."""
        count = int(self._levels[0][1].get("NumberOfFrames", 1))
        down = beside = 0.0
        for index in np.unique(np.linspace(0, count - 2, _SEAMS).astype(int)) if count > 1 else ():
            first, second = (self._frame(0, int(i)).astype(float) for i in (index, index + 1))
            down += float(np.abs(first[-1] - second[0]).mean())
            beside += float(np.abs(first[:, -1] - second[:, 0]).mean())
        return down < beside

    def _frame(self, level: int, index: int) -> NDArray[Any]:
        from pydicom.pixels import pixel_array

        if (level, index) not in self._cache:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of colours that are not what the header says
                frame = pixel_array(self._levels[level][0], index=index)
            if frame.ndim != 3 or frame.dtype != np.uint8:
                raise ValueError(f"a frame of shape {frame.shape} and type {frame.dtype}")
            self._cache[level, index] = frame
            if len(self._cache) > _FRAMES:
                self._cache.popitem(last=False)
        return self._cache[level, index]

    def close(self) -> None:
        self._cache.clear()


def dicom_header(path: Path) -> Any:
    """A DICOM file without its pixels."""
    import pydicom

    # values that are longer than they should be are no reason to complain line by line
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom.dcmread(path, stop_before_pixels=True)


def _any_dicom(folder: Path) -> Path:
    return min(folder.glob("*.dcm"), default=folder)


def _quiet_tifffile() -> None:
    """It logs every fault besides raising it."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def _require_whole(file: Any, path: Path) -> None:
    """Refuse a TIFF that was cut short: tifffile shows what is missing as black."""
    size = path.stat().st_size
    for page in (page for level in file.series[0].levels for page in level.pages):
        ends = np.add(page.dataoffsets, page.databytecounts)
        if len(ends) == 0 or ends.max() > size or min(page.databytecounts) == 0:
            raise ValueError("pixels are missing; the file was cut short")


def _from_rgba(image: Image.Image) -> Region:
    """Colours without their opacity, which is partial at the seams of some levels."""
    pixels = np.asarray(image.convert("RGB"))
    alpha = image.getchannel("A")
    unscanned = np.asarray(alpha) == 0
    if not unscanned.any():
        return Region(pixels)
    return Region(np.where(unscanned[..., None], np.uint8(255), pixels), float(unscanned.mean()))


OPENERS: dict[str, Any] = {
    "openslide": _OpenSlide,
    "tiffslide": _TiffSlide,
    "dicom": _Dicom,
    "channels": _Channels,
    "plain": _Plain,
}
