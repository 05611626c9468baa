"""What the headers of DICOM and TIFF slides say, once a library has parsed them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crafts.imaging.tiffs import channel_names, numbered

_COLORS = {"r", "g", "b", "red", "green", "blue"}

Frame = tuple[int, int]
"""Number of a part of a level, and of a frame in it, both from 0."""


class Part(NamedTuple):
    """A DICOM instance: a level, or a part of one.

    Attributes:
        path: of the file.
        header: without pixels.
        first: number of its first frame in the level.
    """

    path: Path
    header: Any
    first: int


def color_order(names: Sequence[str]) -> list[int] | None:
    """Places of red, green and blue among the names of three channels; None for other names."""
    short = [name.strip().lower()[:1] for name in names]
    full = all(name.strip().lower() in _COLORS for name in names)
    return [short.index(color) for color in "rgb"] if full and set(short) == set("rgb") else None


def describe_channels(file: Any, count: int) -> tuple[dict[str, str], list[str]]:
    """Properties for the resolution and names of the channels of a fluorescence TIFF.

    Args:
        file: an open ``tifffile.TiffFile``.
        count: number of channels.

    Returns:
        ``tiff.*`` and ``ome.*`` properties, and one name a channel.
    """
    page = file.pages[0]
    properties: dict[str, str] = {}
    for name in ("XResolution", "YResolution"):
        if tag := page.tags.get(name):
            properties[f"tiff.{name}"] = str(tag.value[0] / tag.value[1])
    if tag := page.tags.get("ResolutionUnit"):
        properties["tiff.ResolutionUnit"] = str(int(tag.value))
    properties |= ome_sizes(file.ome_metadata or "")
    return properties, numbered(channel_names(file, count), count)


def ome_sizes(text: str) -> dict[str, str]:
    """``ome.PhysicalSizeX`` and the like of the first image in OME's XML; {} in any other text."""
    if "<OME" not in text:
        return {}
    found: dict[str, str] = {}
    for name, value in re.findall(r'\b(PhysicalSize[XY](?:Unit)?)="([^"]*)"', text):
        found.setdefault(f"ome.{name}", value)
    return found


def channel_count(series: Any) -> int:
    """Number of channels of a TIFF series; 0 where it is a colour picture or several planes.

    Args:
        series: a ``tifffile.TiffPageSeries``.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if "S" in sizes or any(sizes.get(axis, 1) > 1 for axis in "ZTQI"):
        return 0
    if "C" in sizes:
        return int(sizes["C"])
    return 1 if series.axes == "YX" and series.dtype.itemsize > 1 else 0


def is_volume(header: Any) -> bool:
    """Whether a DICOM instance holds a level of the slide, and not its label or overview."""
    kinds = {str(kind).upper() for kind in header.get("ImageType", ())}
    return "TotalPixelMatrixColumns" in header and not kinds & {"LABEL", "OVERVIEW", "THUMBNAIL"}


def states_frame_order(header: Any) -> bool:
    """Whether a DICOM instance says where its frames lie."""
    return "DimensionOrganizationType" in header or "PerFrameFunctionalGroupsSequence" in header


def join_parts(files: Sequence[tuple[Path, Any]]) -> tuple[list[list[Part]], list[str]]:
    """Levels of the instances of a series: the parts of a concatenation are one.

    Args:
        files: with their headers; levels only.

    Returns:
        Parts of each level in their order, and a note for each level that lacks some.
    """
    groups: dict[str, list[Part]] = {}
    for number, (path, header) in enumerate(files):
        whole = str(header.get("ConcatenationUID") or number)
        first = int(header.get("ConcatenationFrameOffsetNumber", 0))
        groups.setdefault(whole, []).append(Part(path, header, first))
    notes = []
    for parts in groups.values():
        parts.sort(key=lambda part: part.first)
        there = {int(part.header.get("InConcatenationNumber", 1)) for part in parts}
        total = int(parts[0].header.get("InConcatenationTotalNumber", max(there)))
        if missing := sorted(set(range(1, max(total, *there) + 1)) - there):
            names = ", ".join(map(str, missing))
            what = "part" if len(missing) == 1 else "parts"
            notes.append(f"{what} {names} of {total} missing (DICOM concatenation)")
    return list(groups.values()), notes


def find_frames(parts: Sequence[Part], *, by_columns: bool = False) -> dict[tuple[int, int], Frame]:
    """Where the frames of a level lie.

    Args:
        parts: of the level.
        by_columns: frames follow each other down the columns, where the header states no order.

    Returns:
        (row, column) of the first pixel of a frame in the whole -> number of its part, and of the
        frame in it.

    Raises:
        ValueError: more than one focal plane or optical path, or a part that says not where its
            frames lie.
    """
    return {
        place: (number, index)
        for number, part in enumerate(parts)
        for place, index in _frame_places(part, by_columns).items()
    }


def _frame_places(part: Part, by_columns: bool) -> dict[tuple[int, int], int]:
    header = part.header
    planes = ("NumberOfOpticalPaths", "TotalPixelMatrixFocalPlanes")
    if any(int(header.get(name, 1)) > 1 for name in planes):
        raise ValueError("several optical paths or focal planes")
    if header.get("DimensionOrganizationType") != "TILED_FULL" and (
        items := header.get("PerFrameFunctionalGroupsSequence")
    ):
        found = [item.PlanePositionSlideSequence[0] for item in items]
        return {
            (int(item.RowPositionInTotalImagePixelMatrix) - 1,
             int(item.ColumnPositionInTotalImagePixelMatrix) - 1): index
            for index, item in enumerate(found)
        }  # fmt: skip
    if (
        int(header.get("InConcatenationNumber", 1)) > 1
        and "ConcatenationFrameOffsetNumber" not in header
    ):
        raise ValueError("a part of a concatenation that says not which frames are in it")
    rows, columns = int(header.Rows), int(header.Columns)
    across = -(-int(header.TotalPixelMatrixColumns) // columns)
    down = -(-int(header.TotalPixelMatrixRows) // rows)
    places = {}
    for index in range(int(header.get("NumberOfFrames", 1))):
        at = part.first + index
        row, column = (at % down, at // down) if by_columns else divmod(at, across)
        places[row * rows, column * columns] = index
    return places


def dicom_spacing(header: Any) -> dict[str, str]:
    """``dicom.PixelSpacing`` of a tiled instance in mm, empty where it says none."""
    groups = header.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence") or [header]
    spacing = measures[0].get("PixelSpacing")
    return {"dicom.PixelSpacing": "\\".join(map(str, spacing))} if spacing else {}
