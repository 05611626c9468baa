"""Configuration of ``crafts tile``, and of what it does to each tile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from crafts.core.config import Config

FIRST_CHANNELS = (0, 1, 2)
_Channel = Annotated[int, Field(ge=-1)]
# what changes neither a tile nor what is said of it
_INCIDENTAL = {
    "runner", "num_workers", "seconds", "block_tiles", "shard", "max_reject_fraction",
}  # fmt: skip
# files, which are known by their content
_FILES = {"mpp_csv", "patients", "coordinates"}


class TissueConfig(Config):
    """How tissue is found.

    Attributes:
        method: "otsu" finds the threshold on each slide, within 0.05 to 0.12; "fixed" uses
            ``threshold``; "none" takes every tile of
            the grid without looking.
        threshold: saturation in [0, 1] above which a pixel is tissue; the default is CLAM's 8/255.
        mpp: microns per pixel of the mask.
        close: radius in microns of the gaps that are closed.
        min_area: smallest piece of tissue in square microns; never more than a twentieth of the
            whole.
        max_hole: largest hole in tissue that counts as tissue, in square microns.
        min_fraction: smallest share of tissue in a tile, in [0, 1]; tiles below are rejected.
    """

    method: Literal["otsu", "fixed", "none"] = "otsu"
    threshold: float = Field(8 / 255, gt=0, lt=1)
    mpp: float = Field(8.0, gt=0, le=64)
    close: float = Field(32.0, ge=0, le=1000)
    min_area: float = Field(20_000.0, ge=0)
    max_hole: float = Field(60_000.0, ge=0)
    min_fraction: float = Field(0.1, ge=0, le=1)


class GateConfig(Config):
    """Limits above (or below) which a tile is refused; the defaults are for H&E.

    Attributes:
        blank: share of white or of black pixels above which a tile is blank; 1 turns it off.
        flat: largest standard deviation of a channel, in grey levels, below which a tile has no
            content; 0 turns it off.
        pen: share of green or blue ink (greener than red by 25 grey levels) above which a tile is
            refused, or of navy ink, which is as dark a blue as nuclei are but fills whole areas;
            red ink has twice this limit, since blood is red too. 1 turns all off.
        blur: variance of the Laplacian over stained pixels, in grey levels squared, below which a
            tile is out of focus; 0 turns it off. It depends on mpp: coarser tiles look sharper.
        fold: share of pixels whose saturation exceeds their brightness by 0.3 (Bautista and Yagi,
            2009) above which a tile is a fold; 1 turns it off.
    """

    blank: float = Field(0.98, ge=0, le=1)
    flat: float = Field(3.0, ge=0)
    pen: float = Field(0.05, ge=0, le=1)
    blur: float = Field(5.0, ge=0)
    fold: float = Field(0.4, ge=0, le=1)


class StainConfig(Config):
    """Stain normalisation.

    Attributes:
        method: "none" leaves tiles as they are; "macenko" or "reinhard".
        sample_tiles: tiles of a slide, evenly spread, that the fit sees.
    """

    method: Literal["none", "macenko", "reinhard"] = "none"
    sample_tiles: int = Field(16, ge=1, le=256)


class RegionConfig(Config):
    """Which part of slides is tiled.

    Attributes:
        folder: with ``<slide>.geojson``, ``.geojson.gz`` or ``.png`` (not 0 is inside, stretched
            over the slide); a slide without a file is rejected. None tiles all tissue.
        classes: names of classifications that count, with the classes derived from them; empty
            takes all.
        min_fraction: smallest share of a tile that lies inside, in (0, 1].
    """

    folder: Path | None = None
    classes: tuple[str, ...] = ()
    min_fraction: float = Field(0.5, gt=0, le=1)


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
