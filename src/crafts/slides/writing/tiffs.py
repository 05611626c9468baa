"""Pyramids as TIFF: plain for OpenSlide and its like, OME for QuPath and Bio-Formats."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crafts.core.disk import replacing
from crafts.core.errors import ConfigError
from crafts.slides.writing.rasters import EDGE, Level, iter_tiles

_XMP = 700
_BIG = 2_000_000_000  # bytes of pixels beyond which offsets of 32 bits might not do


@dataclass(frozen=True)
class About:
    """What a slide file says of itself.

    Attributes:
        name: of the slide.
        software: program and version.
        facts: name -> text, of the picture's origin.
        xmp: packet that says that it is synthetic.
        mpp: microns per pixel of the finest level; None is unknown, and then nothing is invented.
    """

    name: str
    software: str
    facts: Mapping[str, str] = field(default_factory=dict)
    xmp: str = ""
    mpp: float | None = None


def require_library() -> None:
    """Refuse slides before hours of work where nothing could write them.

    Raises:
        ConfigError: tifffile is not installed.
    """
    try:
        import tifffile  # noqa: F401
    except ImportError:
        raise ConfigError(
            "generate: slides",
            came="no package tifffile",
            allowed="the packages of the extra `slides`",
            do='Run pip install "crafts[slides]".',
        ) from None


def write_tiff(
    levels: Sequence[Level], path: Path, about: About, *, quality: int | None = None
) -> None:
    """A plain pyramidal TIFF: one directory a level, each tiled.

    Args:
        levels: finest first; RGB, or classes with one channel.
        path: of the file, replaced in one step.
        about: goes into the description, as JSON, and into an XMP packet.
        quality: of JPEG, 1-100; None keeps every value.

    Raises:
        RetryError: the disk is full.
    """
    description = json.dumps(dict(about.facts))  # ASCII, as the tag demands
    _write(levels, path, about, quality=quality, first={"description": description}, sub=False)


def write_ome_tiff(
    levels: Sequence[Level], path: Path, about: About, *, quality: int | None = None
) -> None:
    """An OME-TIFF whose coarser levels hang below the finest one. As :func:`write_tiff`."""
    metadata: dict[str, Any] = {"axes": "YXS", "Name": about.name, "Creator": about.software}
    if about.mpp is not None:
        metadata |= {"PhysicalSizeX": about.mpp, "PhysicalSizeY": about.mpp}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    facts = json.dumps([about.name, dict(about.facts)])
    metadata["UUID"] = str(uuid.uuid5(uuid.NAMESPACE_OID, facts))  # else another at each writing
    metadata["MapAnnotation"] = {"Namespace": "crafts", **about.facts}
    _write(levels, path, about, quality=quality, first={"metadata": metadata}, sub=True)


def _write(
    levels: Sequence[Level],
    path: Path,
    about: About,
    *,
    quality: int | None,
    first: Mapping[str, Any],
    sub: bool,
) -> None:
    import tifffile

    colour = levels[0].read(0, 1).ndim == 3
    packet = about.xmp.encode()
    tags = [(_XMP, "B", len(packet), packet, True)] if packet else []
    lossy = {"compression": "jpeg", "compressionargs": {"level": quality}}
    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(
            temporary, bigtiff=levels[0].width * levels[0].height * 3 > _BIG, ome=sub
        ) as writer,
    ):
        for number, level in enumerate(levels):
            shape = (level.height, level.width)
            options: dict[str, Any] = {
                "subfiletype": int(number > 0),
                "metadata": None,
                **_resolution(about.mpp, levels[0].width / level.width),
            }
            if number == 0:
                own = {"subifds": len(levels) - 1} if sub else {}
                options |= {"extratags": tags, "software": about.software, **own, **first}
            writer.write(
                iter_tiles(level),
                shape=(*shape, 3) if colour else shape,
                dtype=np.uint8,
                tile=(EDGE, EDGE),
                photometric="rgb" if colour else "minisblack",
                **(lossy if quality else {"compression": "adobe_deflate", "predictor": colour}),
                **options,
            )


def _resolution(mpp: float | None, factor: float) -> dict[str, Any]:
    if mpp is None:
        return {"resolutionunit": "NONE"}
    return {"resolution": (10_000 / (mpp * factor),) * 2, "resolutionunit": "CENTIMETER"}
