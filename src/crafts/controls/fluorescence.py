"""Fluorescence images as control maps: 1 to 3 named channels, each scaled to [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.controls.files.fluorescence_files import MAX_PIXELS, Reader, open_fluorescence
from crafts.controls.intensity import (
    PERCENTILES,
    ChannelRange,
    apply_range,
    check_intensities,
    measure_range,
)
from crafts.core.errors import ConfigError

MAX_CHANNELS = 3
_TOLERANCE = 0.01  # of the proportions of a region


@dataclass(frozen=True, eq=False)
class Fluorescence:
    """A control map from fluorescence.

    Attributes:
        values: float32 [C, H, W] in [0, 1], 1 to 3 channels.
        ranges: name of each channel and the intensities that became 0 and 1.
        mpp: microns per pixel of ``values``, None where it is unknown.
        region: left, top, width and height in pixels of the file's finest level.
        level: of the file that was read; 0 is the finest.
        source: the file.
    """

    values: NDArray[np.float32]
    ranges: tuple[ChannelRange, ...]
    mpp: float | None
    region: tuple[int, int, int, int]
    level: int
    source: str

    def record(self) -> dict[str, Any]:
        """All but the pixels, for a manifest or the metadata of an image."""
        return {
            "channels": [asdict(scale) for scale in self.ranges],
            "mpp": self.mpp,
            "region": list(self.region),
            "level": self.level,
            "source": Path(self.source).name,
        }


def list_channels(path: Path | str) -> tuple[str, ...]:
    """Names of the channels of a fluorescence image, in order.

    Raises:
        DataError: the file cannot be read.
    """
    with open_fluorescence(Path(path)) as reader:
        return reader.names


def load_fluorescence(
    path: Path | str,
    *,
    channels: Sequence[str | int] | None = None,
    region: tuple[int, int, int, int] | None = None,
    size: tuple[int, int] | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    ranges: Sequence[ChannelRange] | None = None,
) -> Fluorescence:
    """Load channels of a fluorescence image, each between two percentiles of what is read.

    Only the region is read, from the coarsest level of the file that is fine enough for ``size``.

    Args:
        path: OME-TIFF, qptiff, TIFF or PNG; 8 or 16 bits, or real numbers.
        channels: names (case does not matter) or indices; None takes all if there are at most 3.
        region: left, top, width, height in pixels of the finest level; None takes the whole.
        size: height and width of the map; None keeps the pixels of the finest level.
        percentiles: that become 0 and 1.
        ranges: use these instead, one a channel: tiles of one slide then share a scale.

    Raises:
        ConfigError: a channel, region, size or range that does not fit the file, or too large a
            region.
        DataError: the file is no such image, is damaged, or a channel is constant, NaN or empty.
    """
    path = Path(path)
    with open_fluorescence(path) as reader:
        picked = pick_channels(reader.names, channels, str(path))
        _check_ranges(ranges, len(picked), str(path))
        region = _check_region(region, reader.sizes[0], str(path))
        size = _check_size(size, region, str(path))
        level = _pick_level(reader, region, size, str(path))
        pixels = reader.read(picked, region, level)
        names = [reader.names[index] for index in picked]
        height = region[3] if size is None else size[0]
        mpp = None if reader.mpp is None else reader.mpp * region[3] / height
    values, used = [], []
    for place, (name, channel) in enumerate(zip(names, pixels, strict=True)):
        where = f"{path}: channel {name!r}"
        check_intensities(channel, where)
        if ranges is None:
            found = measure_range(channel, where, percentiles=percentiles)
            scale = ChannelRange(name, found.low, found.high, found.percentiles)
        else:
            scale = ranges[place]
        values.append(_resize(apply_range(channel, scale), size))
        used.append(scale)
    return Fluorescence(np.stack(values), tuple(used), mpp, region, level, str(path))


def pick_channels(
    names: Sequence[str], channels: Sequence[str | int] | None, where: str
) -> list[int]:
    """Indices of the channels asked for.

    Raises:
        ConfigError: none or more than 3, unknown, ambiguous, or named twice.
    """
    shown = ", ".join(f"{index} {name!r}" for index, name in enumerate(names))
    wanted: Sequence[str | int] = range(len(names)) if channels is None else channels
    if not 1 <= len(wanted) <= MAX_CHANNELS:
        raise ConfigError(
            f"{where}: channels",
            came=f"{len(wanted)} channels" + " in the file" * (channels is None),
            allowed=f"1 to {MAX_CHANNELS} of: {shown}",
            do="Choose channels by name or index; the one of nuclei (DAPI, Hoechst) comes first.",
        )
    picked = []
    for channel in wanted:
        matches = [
            index
            for index, name in enumerate(names)
            if index == channel or name.lower() == str(channel).lower()
        ]
        if len(matches) != 1 or matches[0] in picked:
            raise ConfigError(
                f"{where}: channels",
                came=f"{channel!r}" + (" (several of this name)" if len(matches) > 1 else ""),
                allowed=f"each once, of: {shown}",
                do="Choose channels by name or index.",
            )
        picked.append(matches[0])
    return picked


def _check_ranges(ranges: Sequence[ChannelRange] | None, count: int, where: str) -> None:
    if ranges is not None and (
        len(ranges) != count or any(not scale.low < scale.high for scale in ranges)
    ):
        raise ConfigError(
            f"{where}: ranges",
            came=f"{[(scale.low, scale.high) for scale in ranges]} for {count} channels",
            allowed="one range a channel, low below high",
            do="Pass the ranges of an earlier load_fluorescence with the same channels.",
        )


def _check_region(
    region: tuple[int, int, int, int] | None, whole: tuple[int, int], where: str
) -> tuple[int, int, int, int]:
    height, width = whole
    if region is None:
        return (0, 0, width, height)
    left, top, wide, high = region
    if min(left, top) < 0 or min(wide, high) < 1 or left + wide > width or top + high > height:
        raise ConfigError(
            f"{where}: region",
            came=f"{wide} x {high} px from ({left}, {top})",
            allowed=f"left, top, width, height inside of {width} x {height} px",
            do="Give the region in pixels of the finest level.",
        )
    return (left, top, wide, high)


def _check_size(
    size: tuple[int, int] | None, region: tuple[int, int, int, int], where: str
) -> tuple[int, int] | None:
    if size is None:
        return None
    high, wide = size[0] / region[3], size[1] / region[2]
    if min(size) < 1 or abs(size[0] - region[3] * wide) > max(1, _TOLERANCE * size[0]):
        raise ConfigError(
            f"{where}: size",
            came=f"{size[1]} x {size[0]} px for a region of {region[2]} x {region[3]} px",
            allowed="the same proportions",
            do="Choose a region with the proportions of the map.",
        )
    if max(high, wide) > 4:
        raise ConfigError(
            f"{where}: size",
            came=f"{size[1]} x {size[0]} px for a region of {region[2]} x {region[3]} px",
            allowed="at most four times the pixels of the file",
            do="Choose a larger region.",
        )
    return size


def _pick_level(
    reader: Reader,
    region: tuple[int, int, int, int],
    size: tuple[int, int] | None,
    where: str,
) -> int:
    """The coarsest level with as many pixels as the map; the finest without a size."""
    level = 0
    if size is not None:
        for number, (height, _) in enumerate(reader.sizes):
            if region[3] * height / reader.sizes[0][0] >= size[0]:
                level = number
    scale = reader.sizes[level][0] / reader.sizes[0][0]
    if region[2] * region[3] * scale * scale > MAX_PIXELS:
        raise ConfigError(
            f"{where}: region",
            came=f"{region[2]} x {region[3]} px, and no coarser level that fits",
            allowed=f"at most {MAX_PIXELS // 10**6} Mpx of one level",
            do="Pass a region, or a size that a lower level of a pyramid serves.",
        )
    return level


def _resize(values: NDArray[np.float32], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """Averages where the map is coarser; linear between pixels where it is finer."""
    if size is None or values.shape == size:
        return values
    image = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(image, np.float32), 0, 1)
