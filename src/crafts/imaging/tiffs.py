"""What a TIFF of channels says, once tifffile has opened it: names, and whether it is whole."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np


def quiet_tifffile() -> None:
    """Keep tifffile from logging what it raises besides."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def channel_names(file: Any, count: int) -> list[str]:
    """Names of the channels from OME, else from QPTIFF (one XML a page); [] where neither says any.

    Args:
        file: an open ``tifffile.TiffFile``.
        count: number of channels.
    """
    names = re.findall(r'<Channel\b[^>]*\bName="([^"]*)"', file.ome_metadata or "")
    if names:
        return names
    pages = [file.pages[index] for index in range(min(count, len(file.pages)))]
    texts = [getattr(page, "description", "") for page in pages]  # a frame has none
    found = [re.search(r"<Name>([^<]*)</Name>", text) for text in texts]
    return [match.group(1) for match in found if match]


def numbered(names: list[str], count: int) -> list[str]:
    """The names where each channel has one, else numbers."""
    return names if len(names) == count else [f"channel {index}" for index in range(count)]


def require_whole(series: Any, path: Path, *, sparse: bool = False) -> None:
    """Refuse a TIFF that was cut short: tifffile shows what is missing as black.

    Args:
        series: a ``tifffile.TiffPageSeries`` of the file.
        path: of the file.
        sparse: pieces without any byte stand for 0.

    Raises:
        ValueError: pixels are missing.
    """
    size = path.stat().st_size
    for page in (page for level in series.levels for page in level.pages):
        ends = np.add(page.dataoffsets, page.databytecounts)
        absent = not sparse and 0 in page.databytecounts
        if len(ends) == 0 or ends.max() > size or absent:
            raise ValueError("pixels are missing; the file was cut short")
