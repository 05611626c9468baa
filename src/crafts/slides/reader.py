"""One reader for every kind of slide, and one error for every library's faults.

The only module that imports a slide library: OpenSlide first, tiffslide where it fails, pydicom for
DICOM that OpenSlide does not take, tifffile for fluorescence channels, Pillow for plain images.
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

from crafts.slides.formats import (
    channel_count,
    describe_channels,
    dicom_spacing,
    frame_places,
    is_volume,
    states_frame_order,
)
from crafts.slides.resolution import (
    Resolution,
    SlideReadError,
    find_resolution,
    load_overrides,
    override_for,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".tif", ".tiff",
    ".qptiff", ".dcm", ".png", ".jpg", ".jpeg", ".bmp",
)  # fmt: skip
LIBRARIES = ("openslide", "tifffile")  # that most slides need
READERS = ("openslide", "tiffslide", "dicom", "channels", "plain")
MAX_SIDE = 2_000_000  # px; the largest scanners make a tenth of it
MAX_PLAIN_PIXELS = 170_000_000  # a plain image is decoded as a whole
_PLAIN = (".png", ".jpg", ".jpeg", ".bmp")
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


def _faults() -> tuple[type[Exception], ...]:
    """With the own classes of the libraries that are loaded; asked when something was raised."""
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


class _Backend(Protocol):
    """What a library must offer; sizes are (width, height), largest level first."""

    reader: str
    sizes: Sequence[tuple[int, int]]
    properties: Mapping[str, str]
    channels: Sequence[str]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region: ...

    def close(self) -> None: ...


class Slide:
    """An open slide.

    Args:
        path: of the file, or of a folder with one DICOM series.
        backend: the library's side of it.
        resolution: of level 0.

    Attributes:
        sizes: (width, height) of every level, largest first.
        reader: one of :data:`READERS`.
        channels: ("red", "green", "blue"), or the names of the fluorescence channels.
    """

    def __init__(self, path: Path, backend: _Backend, resolution: Resolution) -> None:
        self.path, self.resolution = path, resolution
        self.reader, self.channels = backend.reader, tuple(backend.channels)
        self.sizes = tuple(backend.sizes)
        self.properties = dict(backend.properties)
        self._backend: _Backend | None = backend

    @property
    def is_fluorescence(self) -> bool:
        """Whether the slide holds channels instead of a colour picture."""
        return self.reader == "channels"

    def read(self, x: int, y: int, level: int, *, width: int, height: int) -> Region:
        """Read a rectangle.

        Args:
            x: left edge in pixels of level 0.
            y: top edge in pixels of level 0.
            level: level to read.
            width: in pixels of that level.
            height: in pixels of that level.

        Raises:
            SlideReadError: the region cannot be decoded; the next one may be.
        """
        try:
            if self._backend is None:  # OpenSlide answers nothing more after its first error
                self._backend = _OPENERS[self.reader](self.path)
            return self._backend.read(x, y, level, width, height)
        except _faults() as error:
            self.close()
            raise _unreadable(f"{self.path}: region {x}, {y} of level {level}", error) from None

    def close(self) -> None:
        """Give the file back; a later read opens it again."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_slide(
    path: Path, *, mpp_csv: Path | None = None, mpp: float | None = None, reader: str = "auto"
) -> Slide:
    """Open a slide with the first library that can.

    Args:
        path: file, or folder of one DICOM series.
        mpp_csv: columns ``slide`` (or ``wsi``) and ``mpp``, which replace what slides say.
        mpp: the value of this slide when the csv was read already.
        reader: one of :data:`READERS`, or ``auto``.

    Raises:
        SlideReadError: no library reads it, its sizes are absurd, or its resolution is unknown.
        ConfigError: the csv is unusable.
    """
    if mpp_csv is not None:
        mpp = override_for(path, load_overrides(mpp_csv))
    if not path.exists():
        raise SlideReadError(
            str(path), came="no such file", allowed="a slide", do="Check the path."
        )
    backend = _open_first(path, _candidates(path) if reader == "auto" else (reader,))
    try:
        _check_sizes(path, backend.sizes)
        override = None if mpp is None else (mpp, "mpp csv")
        return Slide(path, backend, find_resolution(backend.properties, str(path), override))
    except SlideReadError:
        backend.close()
        raise


def dicom_series(path: Path) -> str:
    """Identity of the series that a DICOM file belongs to; "" where it is no DICOM."""
    try:
        return str(_dicom_header(path).SeriesInstanceUID)
    except ImportError:
        return ""
    except _faults():
        return ""


def _candidates(path: Path) -> tuple[str, ...]:
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".dcm":
        return ("openslide", "dicom")
    if suffix in _PLAIN:
        return ("plain",)
    if suffix in (".tif", ".tiff", ".qptiff"):
        # OpenSlide would show the first channel of a fluorescence TIFF as if it were all
        return ("channels", "openslide", "tiffslide", "plain")
    return ("openslide", "tiffslide")


def _open_first(path: Path, names: Sequence[str]) -> _Backend:
    reasons = []
    for name in names:
        try:
            return _OPENERS[name](path)
        except _NotThisKindError:
            continue
        except ImportError as error:
            reasons.append(f"{name}: {error.name} is not installed (pip install crafts[slides])")
        except _faults() as error:
            reasons.append(f"{name}: {_first_line(error)}")
    raise _unreadable(str(path), "; ".join(reasons))


class _NotThisKindError(Exception):
    """The file is sound, but another reader's business."""


def _check_sizes(path: Path, sizes: Sequence[tuple[int, int]]) -> None:
    sides = [side for size in sizes for side in size]
    if not sides or min(sides) < 1 or max(sides) > MAX_SIDE:
        raise SlideReadError(
            str(path),
            came=f"levels of {', '.join(f'{w} x {h}' for w, h in sizes) or 'no'} px",
            allowed=f"sides of 1 to {MAX_SIDE} px",
            do="The file is damaged; copy it again.",
        )


class _OpenSlide:
    reader, channels = "openslide", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        import openslide

        self._slide = openslide.OpenSlide(_any_dicom(path) if path.is_dir() else path)
        self.sizes = self._slide.level_dimensions
        self.properties = dict(self._slide.properties)

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
        self._pixels: NDArray[Any] | None = None
        self.sizes = [self._image.size]
        self.properties = {}
        if dpi := self._image.info.get("dpi"):
            self.properties["tiff.XResolution"] = str(float(dpi[0]))
            self.properties["tiff.YResolution"] = str(float(dpi[1]))
            self.properties["tiff.ResolutionUnit"] = "inch"

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        if self._pixels is None:
            self._pixels = np.asarray(self._image.convert("RGB"))
        return Region(self._pixels[y : y + height, x : x + width])

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
                raise _NotThisKindError
            _require_whole(self._file, path)
            import zarr  # late: it is slow to import, and most TIFF slides are in colour

            self._levels: list[Any] = [zarr.open(at.aszarr(), mode="r") for at in series.levels]
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
        headers = [(file, _dicom_header(file)) for file in files]
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


def _dicom_header(path: Path) -> Any:
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


def _unreadable(where: str, error: BaseException | str) -> SlideReadError:
    return SlideReadError(
        where,
        came=error if isinstance(error, str) else f"unreadable ({_first_line(error)})",
        allowed="a slide that OpenSlide, tiffslide, tifffile, pydicom or Pillow reads",
        do="Copy it again or leave it out.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


_OPENERS: dict[str, Any] = {
    "openslide": _OpenSlide,
    "tiffslide": _TiffSlide,
    "dicom": _Dicom,
    "channels": _Channels,
    "plain": _Plain,
}
