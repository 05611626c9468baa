"""Open a fluorescence TIFF or PNG and read regions of its channels."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from crafts.core.errors import ConfigError, DataError, first_line
from crafts.imaging.tiffs import channel_names, numbered, quiet_tifffile, require_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Region = tuple[int, int, int, int]

MAX_PIXELS = 64_000_000
_TIFF = (".tif", ".tiff", ".qptiff")
_COLORS = ("red", "green", "blue")
_MICRONS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "": 1.0}
_TIFF_UNITS = {2: 25_400.0, 3: 10_000.0}  # inch and centimetre in microns
_PLAUSIBLE = (0.05, 20.0)  # microns per pixel
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    SyntaxError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Reader(Protocol):
    """An open fluorescence image.

    Attributes:
        names: of the channels.
        sizes: height and width of each level, the finest first.
        mpp: microns per pixel of the finest level, None where it is unknown.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    mpp: float | None

    def read(self, channels: Sequence[int], region: Region, level: int) -> NDArray[Any]:
        """Pixels [C, h, w] of a region given in pixels of the finest level."""
        ...


@contextmanager
def open_fluorescence(path: Path) -> Iterator[Reader]:
    """Open a file by its suffix; errors inside of the block are told in a sentence.

    Raises:
        DataError: another format, missing, empty, damaged, or several focal planes or times.
        ConfigError: TIFF without the packages that read it.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_TIFF, ".png"):
        raise _refuse(path, f"a file that ends in {suffix or 'nothing'}", "OME-TIFF, qptiff, PNG")
    if not path.is_file() or path.stat().st_size == 0:
        came = "an empty file" if path.is_file() else "no regular file"
        raise _refuse(path, came if path.exists() else "not there", "an image")
    try:
        if suffix == ".png":
            yield _Png(path)
            return
        tifffile = _import_tifffile(path)
        with tifffile.TiffFile(path) as file:
            yield _Tiff(file, path)
    except _DAMAGE as error:
        came = f"unreadable ({first_line(error)})"
        raise _refuse(path, came, "an undamaged image") from None


class _Png:
    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as handle:
            header = handle.read(26)
        if len(header) < 26 or header[:8] != b"\x89PNG\r\n\x1a\n":
            raise _refuse(path, "no PNG header", "a PNG")
        width, height = struct.unpack(">II", header[16:24])
        bits, colors = header[24], header[25]
        if width * height > MAX_PIXELS:
            raise _refuse(
                path,
                f"a PNG of {width} x {height} px",
                f"at most {MAX_PIXELS // 10**6} Mpx: a PNG can only be read whole",
                do="Save it as a tiled OME-TIFF, or cut it.",
            )
        if colors not in (0, 2) or (colors == 2 and bits != 8) or bits < 8:
            raise _refuse(
                path,
                f"a PNG with {bits} bits of colour type {colors}",
                "8- or 16-bit grey, or 8-bit RGB",
                do="Save each channel as 16-bit grey, or all as OME-TIFF.",
            )
        self._pixels: NDArray[Any] | None = None
        self.sizes: tuple[tuple[int, int], ...] = ((int(height), int(width)),)
        self.mpp: float | None = None
        self.names: tuple[str, ...] = ("grey",)
        if colors == 2:  # grey is often stored as colour
            pixels = self._load()
            equal = bool((pixels == pixels[:1]).all())
            self._pixels, self.names = (pixels[:1], ("grey",)) if equal else (pixels, _COLORS)

    def read(self, channels: Sequence[int], region: Region, level: int) -> NDArray[Any]:
        left, top, width, height = region
        return self._load()[list(channels), top : top + height, left : left + width]

    def _load(self) -> NDArray[Any]:
        if self._pixels is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of size; the header was checked
                with Image.open(self._path, formats=("PNG",)) as image:
                    pixels = np.array(image)
            self._pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return self._pixels


class _Tiff:
    def __init__(self, file: Any, path: Path) -> None:
        import zarr

        series = file.series[0]
        self._path, self._axes = path, str(series.axes)
        sizes = dict(zip(series.axes, series.shape, strict=True))
        _refuse_planes(sizes, path)
        require_whole(series, path, sparse=True)
        self._channel_axis = next((axis for axis in "CS" if axis in sizes), "")
        count = int(sizes.get(self._channel_axis, 1))
        self.names = _names(file, count, color=self._channel_axis == "S")
        self.sizes = tuple(
            (int(at.shape[at.axes.index("Y")]), int(at.shape[at.axes.index("X")]))
            for at in series.levels
        )
        self.mpp = _mpp(file)
        self._levels: list[Any] = [
            zarr.open(series.aszarr(level=level), mode="r") for level in range(len(series.levels))
        ]

    def read(self, channels: Sequence[int], region: Region, level: int) -> NDArray[Any]:
        array = self._levels[level]
        if array.dtype.kind not in "uif":
            raise _refuse(self._path, f"values of type {array.dtype}", "integers or real numbers")
        if int(np.prod(array.chunks)) > MAX_PIXELS:
            raise _refuse(
                self._path,
                f"pieces of {array.chunks} px that can only be read whole",
                "tiles or strips",
                do="Save it as a tiled OME-TIFF.",
            )
        (full_height, full_width), (height, width) = self.sizes[0], self.sizes[level]
        left, top = round(region[0] * width / full_width), round(region[1] * height / full_height)
        right = max(round((region[0] + region[2]) * width / full_width), left + 1)
        bottom = max(round((region[1] + region[3]) * height / full_height), top + 1)
        planes = []
        for channel in channels:
            spans: dict[str, Any] = {"Y": slice(top, bottom), "X": slice(left, right)}
            spans[self._channel_axis or "C"] = channel
            plane = np.asarray(array[tuple(spans.get(axis, 0) for axis in self._axes)])
            planes.append(plane if self._axes.index("Y") < self._axes.index("X") else plane.T)
        return np.stack(planes)


def _names(file: Any, count: int, *, color: bool) -> tuple[str, ...]:
    """From OME, from QPTIFF, from ImageJ; numbered where none says any."""
    if color and count == 3:
        return _COLORS
    labels = (file.imagej_metadata or {}).get("Labels") or ()
    return tuple(numbered(channel_names(file, count) or [str(label) for label in labels], count))


def _mpp(file: Any) -> float | None:
    """From OME PhysicalSizeX, else from the resolution of the TIFF if its unit is a real one."""
    ome = file.ome_metadata or ""
    if size := re.search(r'\bPhysicalSizeX="([^"]*)"', ome):
        unit = re.search(r'\bPhysicalSizeXUnit="([^"]*)"', ome)
        factor = _MICRONS.get(unit.group(1) if unit else "", 0.0)
        return _plausible(float(size.group(1)) * factor)
    tags = file.pages[0].tags
    if "XResolution" not in tags or "ResolutionUnit" not in tags:
        return None
    pixels, units = tags["XResolution"].value
    microns = _TIFF_UNITS.get(int(tags["ResolutionUnit"].value), 0.0)
    return _plausible(microns * units / pixels) if pixels else None


def _plausible(mpp: float) -> float | None:
    return mpp if _PLAUSIBLE[0] <= mpp <= _PLAUSIBLE[1] else None


def _refuse_planes(sizes: dict[str, int], path: Path) -> None:
    more = {axis: size for axis, size in sizes.items() if axis not in "CSYX" and size > 1}
    if more or not {"Y", "X"} <= set(sizes) or ("C" in sizes and sizes.get("S", 1) > 1):
        raise _refuse(
            path,
            f"axes {sizes}",
            "one focal plane at one time, with channels",
            do="Save one plane, or a projection of all.",
        )


def _import_tifffile(path: Path) -> Any:
    try:
        import tifffile
        import zarr  # noqa: F401  tifffile reads regions through it
    except ModuleNotFoundError as error:
        raise ConfigError(
            str(path),
            came=f"a TIFF, and {error.name} is not installed",
            allowed="TIFF with the packages of the extra `slides`",
            do='Run pip install "crafts[slides]".',
        ) from None
    quiet_tifffile()
    return tifffile


def _refuse(
    path: Path, came: str, allowed: str, *, do: str = "Check the path or save the image again."
) -> DataError:
    return DataError(str(path), came=came, allowed=allowed, do=do)
