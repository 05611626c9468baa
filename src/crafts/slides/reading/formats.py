"""What the headers of DICOM and TIFF slides say, once a library has parsed them."""

from __future__ import annotations

import re
from typing import Any


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
    ome = file.ome_metadata or ""
    properties |= ome_sizes(ome)
    names = re.findall(r'<Channel\b[^>]*\bName="([^"]*)"', ome)
    if not names:  # QPTIFF: one XML a page
        pages = [file.pages[index] for index in range(min(count, len(file.pages)))]
        texts = [getattr(page, "description", "") for page in pages]  # a frame has none
        found = [re.search(r"<Name>([^<]*)</Name>", text) for text in texts]
        names = [match.group(1) for match in found if match]
    return properties, names if len(names) == count else [f"channel {i}" for i in range(count)]


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


def frame_places(header: Any, *, by_columns: bool = False) -> dict[tuple[int, int], int]:
    """Where the frames of a tiled DICOM instance lie.

    Args:
        header: of the instance.
        by_columns: frames follow each other down the columns, where the header states no order.

    Returns:
        (row, column) of the first pixel of a frame in the whole -> index of the frame.

    Raises:
        ValueError: more than one focal plane or optical path.
    """
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
    rows, columns = int(header.Rows), int(header.Columns)
    across = -(-int(header.TotalPixelMatrixColumns) // columns)
    down = -(-int(header.TotalPixelMatrixRows) // rows)
    places = {}
    for index in range(int(header.get("NumberOfFrames", 1))):
        row, column = (index % down, index // down) if by_columns else divmod(index, across)
        places[row * rows, column * columns] = index
    return places


def dicom_spacing(header: Any) -> dict[str, str]:
    """``dicom.PixelSpacing`` of a tiled instance in mm, empty where it says none."""
    groups = header.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence") or [header]
    spacing = measures[0].get("PixelSpacing")
    return {"dicom.PixelSpacing": "\\".join(map(str, spacing))} if spacing else {}
