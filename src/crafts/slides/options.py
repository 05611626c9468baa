"""Configuration of ``crafts tile``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from crafts.core.config import Config
from crafts.slides.placing.regions import RegionConfig
from crafts.slides.quality import GateConfig
from crafts.slides.stain import StainConfig
from crafts.slides.tissue import TissueConfig

FIRST_CHANNELS = (0, 1, 2)
_Channel = Annotated[int, Field(ge=-1)]
# what changes neither a tile nor what is said of it
_INCIDENTAL = {
    "runner", "num_workers", "seconds", "block_tiles", "shard", "max_reject_fraction",
}  # fmt: skip
# files, which are known by their content
_FILES = {"mpp_csv", "patients", "coordinates"}


class TileConfig(Config):
    """Configuration of ``crafts tile``.

    Attributes:
        mpp: microns per pixel of the tiles.
        size: edge of a tile in pixels.
        overlap: pixels that neighbours share, below ``size``.
        mpp_csv: csv with the columns ``slide`` (or ``wsi``) and ``mpp``, which replace what slides
            say of themselves.
        patients: csv with the columns ``slide`` and ``patient``; with it, a slide of which neither
            it nor a TCGA barcode names the patient is rejected.
        coordinates: places to cut instead of a grid: a folder of h5 files of TRIDENT or CLAM, or a
            csv with slide, x, y and perhaps size. A tile of ``size`` pixels covers the extent that
            they say, so that they decide the resolution; without one, ``mpp`` does.
        max_upsampling: how many times coarser than ``mpp`` a slide may be; 1 refuses all that is.
        reader: library that reads the slides; "auto" tries them in turn.
        image_format: "png" keeps pixels as they were read; "jpg" is smaller.
        jpeg_quality: of "jpg".
        channels: three channels of a fluorescence slide, counted from 0, that become red, green and
            blue of its tiles; -1 leaves that colour black. A slide without one of them is rejected;
            of the default it takes those that it has. Other slides are in colour already.
        tissue: how tissue is found.
        gates: limits of the gates on tiles.
        stain: stain normalisation, off by default.
        regions: annotated areas to which tiles are confined.
        shard: K/N takes slides K, K+N, ... of the list; give each shard its own output.
        max_reject_fraction: share of rejected slides above which the run fails, in [0, 1].
        block_tiles: tiles that one process cuts before the next takes over.
        seconds: time limit of such a process; the slide is rejected when it is exceeded.
        runner: "processes" of this machine, or those of a "ray" cluster (``RAY_ADDRESS``), whose
            machines share the disk of slides and output.
        num_workers: processes at once; 0 takes one a CPU. The output depends on neither.
    """

    mpp: float = Field(0.5, ge=0.05, le=32)
    size: int = Field(512, ge=8, le=8192)
    overlap: int = Field(0, ge=0)
    mpp_csv: Path | None = None
    patients: Path | None = None
    coordinates: Path | None = None
    max_upsampling: float = Field(1.1, ge=1, le=4)
    reader: Literal["auto", "openslide", "tiffslide", "dicom", "channels", "plain"] = "auto"
    image_format: Literal["png", "jpg"] = "png"
    jpeg_quality: int = Field(92, ge=1, le=100)
    channels: tuple[_Channel, _Channel, _Channel] = FIRST_CHANNELS
    tissue: TissueConfig = TissueConfig()
    gates: GateConfig = GateConfig()
    stain: StainConfig = StainConfig()
    regions: RegionConfig = RegionConfig()
    shard: str | None = None
    max_reject_fraction: float = Field(0.5, ge=0, le=1)
    block_tiles: int = Field(32, ge=1)
    seconds: float = Field(1800.0, gt=0)
    runner: Literal["processes", "ray"] = "processes"
    num_workers: int = Field(0, ge=0)

    @field_validator("overlap")
    @classmethod
    def _overlap_below_size(cls, value: int, info: ValidationInfo) -> int:
        if value >= info.data.get("size", value + 1):
            raise ValueError("overlap must be smaller than size")
        return value

    @field_validator("shard")
    @classmethod
    def _shard_in_range(cls, value: str | None) -> str | None:
        if value is not None:
            found = re.fullmatch(r"(\d+)/(\d+)", value)
            if not found or not 1 <= int(found[1]) <= int(found[2]):
                raise ValueError("K/N with 1 <= K <= N")
        return value

    def resolved(self) -> dict[str, Any]:
        """What decides the output, for the manifest and to recognise finished slides."""
        return self.model_dump(mode="json", exclude=_INCIDENTAL | _FILES)
