"""One reader for every kind of slide, and one error for every library's faults.

OpenSlide first, tiffslide where it fails, pydicom for DICOM that OpenSlide does not take, tifffile
for fluorescence channels, Pillow for plain images; ``libraries.py`` and ``dicom.py`` hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crafts.core.errors import ConfigError, first_line
from crafts.slides.reading.backend import Backend, NotThisKindError, RegionPixels, known_faults
from crafts.slides.reading.dicom import dicom_header
from crafts.slides.reading.libraries import OPENERS, refused_content
from crafts.slides.reading.resolution import (
    Resolution,
    SlideReadError,
    find_resolution,
    load_overrides,
)

SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".tif", ".tiff",
    ".qptiff", ".dcm", ".png", ".jpg", ".jpeg", ".bmp",
)  # fmt: skip
LIBRARIES = ("openslide", "tifffile")  # that most slides need
READERS = ("openslide", "tiffslide", "dicom", "channels", "plain")
MAX_SIDE = 2_000_000  # px; the largest scanners make a tenth of it
_PLAIN = (".png", ".jpg", ".jpeg", ".bmp")
_TIFF = (".tif", ".tiff", ".qptiff", ".svs", ".scn", ".bif", ".svslide")


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

    def __init__(self, path: Path, backend: Backend, resolution: Resolution) -> None:
        self.path, self.resolution = path, resolution
        self.reader, self.channels = backend.reader, tuple(backend.channels)
        self.sizes = tuple(backend.sizes)
        self.properties = dict(backend.properties)
        self._backend: Backend | None = backend

    @property
    def is_fluorescence(self) -> bool:
        """Whether the slide holds channels instead of a colour picture."""
        return self.reader == "channels" and "crafts.colour" not in self.properties

    @property
    def has_profile(self) -> bool:
        """Whether the file carries an ICC profile; colours are read as they are stored."""
        return "openslide.icc-size" in self.properties

    def read(self, x: int, y: int, level: int, *, width: int, height: int) -> RegionPixels:
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
                self._backend = OPENERS[self.reader](self.path)
            return self._backend.read(x, y, level, width, height)
        except known_faults() as error:
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
        ConfigError: the csv is unusable, or says two things of the slide.
    """
    if mpp_csv is not None:
        mpp = _stated(path, mpp_csv)
    if not path.is_file() and not path.is_dir():  # opening a pipe would wait without end
        came = "no regular file" if path.exists() else "no such file"
        raise SlideReadError(str(path), came=came, allowed="a slide", do="Check the path.")
    if path.suffix.lower() in _TIFF and (fault := refused_content(path)):
        raise _unreadable(str(path), fault)
    backend = _open_first(path, _candidates(path) if reader == "auto" else (reader,))
    try:
        _check_sizes(path, backend.sizes)
        override = None if mpp is None else (mpp, "mpp csv")
        return Slide(path, backend, find_resolution(backend.properties, str(path), override))
    except SlideReadError:
        backend.close()
        raise


def _stated(path: Path, csv: Path) -> float | None:
    """Microns per pixel from a csv, in which the slide stands with or without its suffix."""
    table = load_overrides(csv)
    values = [table[name] for name in (path.name, path.stem) if name in table]
    if len(set(values)) > 1:
        raise ConfigError(
            str(csv),
            came=f"{path.name} with and without its suffix, with {values[0]:g} and {values[1]:g}",
            allowed="one value a slide",
            do="Delete the wrong row.",
        )
    return values[0] if values else None


def dicom_series(path: Path) -> str:
    """Identity of the series that a DICOM file belongs to; "" where it is no DICOM."""
    try:
        return str(dicom_header(path).SeriesInstanceUID)
    except ImportError:
        return ""
    except known_faults():
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


def _open_first(path: Path, names: Sequence[str]) -> Backend:
    reasons = []
    for name in names:
        try:
            return OPENERS[name](path)
        except NotThisKindError:
            continue
        except ImportError as error:
            extra = "dicom" if error.name == "pydicom" else "slides"
            reasons.append(f"{name}: {error.name} is not installed (pip install crafts[{extra}])")
        except known_faults() as error:
            reasons.append(f"{name}: {first_line(error)}")
    raise _unreadable(str(path), "; ".join(reasons))


def _check_sizes(path: Path, sizes: Sequence[tuple[int, int]]) -> None:
    sides = [side for size in sizes for side in size]
    if not sides or min(sides) < 1 or max(sides) > MAX_SIDE:
        raise SlideReadError(
            str(path),
            came=f"levels of {', '.join(f'{w} x {h}' for w, h in sizes) or 'no'} px",
            allowed=f"sides of 1 to {MAX_SIDE} px",
            do="The file is damaged; copy it again.",
        )


def _unreadable(where: str, error: BaseException | str) -> SlideReadError:
    return SlideReadError(
        where,
        came=error if isinstance(error, str) else f"unreadable ({first_line(error)})",
        allowed="a slide that OpenSlide, tiffslide, tifffile, pydicom or Pillow reads",
        do="Copy it again or leave it out.",
    )
