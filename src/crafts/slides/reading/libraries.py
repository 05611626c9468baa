"""The libraries that read slides, each behind the same few lines of ``backend.py``.

Nothing outside of ``reader.py`` opens one of these. They raise whatever their library raises.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crafts.imaging.opening import is_deep_color, open_header, orientation_of, upright
from crafts.imaging.tiffs import quiet_tifffile, require_whole
from crafts.slides.reading.backend import NotThisKindError, RegionPixels, known_faults
from crafts.slides.reading.dicom import Dicom, any_file
from crafts.slides.reading.formats import channel_count, color_order, describe_channels, ome_sizes

MAX_PLAIN_PIXELS = 170_000_000  # a plain image is decoded as a whole
_INKS = {5: "inks (CMYK)", 8: "CIELab", 9: "ICCLab"}  # by TIFF's photometric interpretation
_WINDOW, _BRIGHT = 64, 96  # px a side of what is looked at, and grey levels of what is not dark


class _OpenSlide:
    reader, channels = "openslide", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        import openslide

        self._slide = openslide.OpenSlide(any_file(path) if path.is_dir() else path)
        self.sizes = self._slide.level_dimensions
        self.properties = dict(self._slide.properties)
        self.properties |= ome_sizes(self.properties.get("tiff.ImageDescription", ""))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        return _from_rgba(self._slide.read_region((x, y), level, (width, height)))

    def close(self) -> None:
        self._slide.close()


class _TiffSlide:
    reader, channels = "tiffslide", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        import tiffslide

        quiet_tifffile()
        self._slide = tiffslide.TiffSlide(path)
        require_whole(self._slide.ts_tifffile.series[0], path)
        self.sizes = self._slide.level_dimensions
        self.properties = {
            name.replace("tiffslide.", "openslide."): str(value)
            for name, value in self._slide.properties.items()
            if value is not None
        }
        self.properties |= ome_sizes(self._slide.ts_tifffile.ome_metadata or "")

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        found = self._slide.read_region((x, y), level, (width, height), as_array=True)
        if found.shape != (height, width, 3) or found.dtype != np.uint8:
            raise ValueError(f"pixels of shape {found.shape} and type {found.dtype}")
        return RegionPixels(found)

    def close(self) -> None:
        self._slide.close()


class _Plain:
    reader, channels = "plain", ("red", "green", "blue")

    def __init__(self, path: Path) -> None:
        with open_header(path, MAX_PLAIN_PIXELS) as image:
            require_eight_bits(image)
            _refuse_more_planes(image)
            turned = orientation_of(image)
            image.load()
            picture = upright(image)
            mode = "RGBA" if picture.has_transparency_data else "RGB"
            self._pixels = np.asarray(picture.convert(mode))
        self.sizes = [picture.size]
        self.properties = {}
        if turned != 1:
            self.properties["crafts.orientation"] = str(turned)
            self.properties["crafts.note"] = f"turned upright (EXIF orientation {turned})"
        if profile := image.info.get("icc_profile"):
            self.properties["openslide.icc-size"] = str(len(profile))
        if dpi := image.info.get("dpi"):
            across, down = dpi if turned < 5 else dpi[::-1]
            self.properties["tiff.XResolution"] = str(float(across))
            self.properties["tiff.YResolution"] = str(float(down))
            self.properties["tiff.ResolutionUnit"] = "inch"

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        if width < 0 or height < 0:
            raise ValueError(f"a region of {width} x {height} px")
        found = self._pixels[y : y + height, x : x + width]
        return RegionPixels(found) if found.shape[2] == 3 else _from_rgba(Image.fromarray(found))

    def close(self) -> None:
        """Nothing is open: the picture was decoded as a whole."""


class _Channels:
    """Fluorescence TIFF: channels of one focal plane and one time, as OME or QPTIFF store them."""

    reader = "channels"
    _order: Any = slice(None)

    def __init__(self, path: Path) -> None:
        import tifffile

        quiet_tifffile()
        self._file = tifffile.TiffFile(path)
        with ExitStack() as on_fault:
            on_fault.callback(self._file.close)
            series = self._file.series[0]
            self._axes = series.axes
            if not (count := channel_count(series)):
                raise NotThisKindError
            require_whole(series, path)
            import zarr  # late: it is slow to import, and most TIFF slides are in colour

            self._levels: list[Any] = [
                zarr.open(series.aszarr(level=level), mode="r")
                for level in range(len(series.levels))
            ]
            self.sizes = [(level.sizes["width"], level.sizes["height"]) for level in series.levels]
            self.properties, self.channels = describe_channels(self._file, count)
            self._take_colors(series.dtype)
            on_fault.pop_all()  # whole: it stays open

    def read(self, x: int, y: int, level: int, width: int, height: int) -> RegionPixels:
        (full, _), (small, _) = self.sizes[0], self.sizes[level]
        left, top = round(x * small / full), round(y * small / full)
        spans = {"Y": slice(top, top + height), "X": slice(left, left + width), "C": slice(None)}
        found = np.asarray(self._levels[level][tuple(spans.get(axis, 0) for axis in self._axes)])
        kept = [axis for axis in self._axes if axis in spans]
        if "C" not in kept:
            found, kept = found[None], ["C", *kept]
        pixels = found.transpose([kept.index(axis) for axis in "YXC"])[..., self._order]
        return RegionPixels(np.ascontiguousarray(pixels))

    def _take_colors(self, kind: np.dtype[Any]) -> None:
        """Bright red, green and blue in 8 bits are a picture in light, channel by channel."""
        if len(self.channels) != 3 or kind != np.uint8 or not self._is_bright():
            return
        if order := color_order(self.channels):
            self._order, self.channels = order, ["red", "green", "blue"]
            self.properties["crafts.colour"] = "planes"
        else:
            self.properties["crafts.note"] = (
                f"three bright channels ({', '.join(self.channels)}) taken for fluorescence, "
                "without tissue and gates; those of a picture in light are called red, green, blue"
            )

    def _is_bright(self) -> bool:
        """Whether most of the picture is bright in some channel; fluorescence is dark."""
        level, full = len(self.sizes) - 1, self.sizes[0]
        found = [
            self.read(int(x * full[0]), int(y * full[1]), level, _WINDOW, _WINDOW).pixels
            for x in (0.0, 0.25, 0.5, 0.75)
            for y in (0.0, 0.25, 0.5, 0.75)
        ]
        brightest = np.concatenate([part.max(axis=-1).ravel() for part in found])
        return bool(np.median(brightest) > _BRIGHT)

    def close(self) -> None:
        self._file.close()


def refused_content(path: Path) -> str:
    """Why the pixels of a TIFF would be shown wrong by the libraries below; "" where they are not.

    They take the upper byte of colours of 16 bits, convert inks, and show the first plane of many.
    """
    try:
        import tifffile

        quiet_tifffile()
        with tifffile.TiffFile(path) as file:
            page, series = file.pages[0], file.series[0]
            sizes = dict(zip(series.axes, series.shape, strict=True))
            samples, bits, kind = page.samplesperpixel, page.bitspersample, int(page.photometric)
    except ImportError:  # whoever opens it next says what is missing, or broken
        return ""
    except known_faults():
        return ""
    if samples >= 3 and bits > 8:
        return f"{bits} bits a channel; save it as 8-bit RGB"
    if kind in _INKS:
        return f"colours of {_INKS[kind]}; save it as 8-bit RGB"
    planes = {axis: size for axis, size in sizes.items() if axis in "ZTQI" and size > 1}
    return f"several planes or times ({planes}); save one of them" if planes else ""


def require_eight_bits(image: Image.Image) -> None:
    """Refuse a plain image whose conversion to 8-bit RGB would be a guess.

    Raises:
        ValueError: it is such a one.
    """
    if image.mode.startswith(("I", "F")):  # Pillow would cut them to 8 bits
        raise ValueError("grey of more than 8 bits; save it as TIFF")
    if is_deep_color(image):
        raise ValueError("16 bits a channel; save it as 8-bit RGB")
    if image.mode in ("CMYK", "LAB"):
        raise ValueError(f"colour mode {image.mode!r}; save it as 8-bit RGB")


def _refuse_more_planes(image: Image.Image) -> None:
    """Refuse a file of several pictures; a smaller one beside the first is its preview."""
    size = image.size
    for number in range(1, getattr(image, "n_frames", 1)):
        image.seek(number)
        if image.width >= size[0] and image.height >= size[1]:
            raise ValueError(f"several pictures of {size[0]} x {size[1]} px; save one of them")
    image.seek(0)


def _from_rgba(image: Image.Image) -> RegionPixels:
    """Colours without their opacity, which is partial at the seams of some levels."""
    pixels = np.asarray(image.convert("RGB"))
    alpha = image.getchannel("A")
    unscanned = np.asarray(alpha) == 0
    if not unscanned.any():
        return RegionPixels(pixels)
    return RegionPixels(
        np.where(unscanned[..., None], np.uint8(255), pixels), float(unscanned.mean())
    )


OPENERS: dict[str, Any] = {
    "openslide": _OpenSlide,
    "tiffslide": _TiffSlide,
    "dicom": Dicom,
    "channels": _Channels,
    "plain": _Plain,
}
