"""Options of what a denoiser is told: ControlNets, and how masks and fluorescence are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from crafts.core.config import Config


def as_text(value: Any) -> Any:
    """A number or a path as the text that it stands for."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number or isinstance(value, Path) else value


_Folder = Annotated[str | None, BeforeValidator(as_text)]


class ControlFolders(Config):
    """ControlNets; a kind without one takes the shipped one."""

    nuclei: _Folder = Field(None, description="folder of a ControlNet for masks of nuclei")
    fluorescence: _Folder = Field(None, description="folder of a ControlNet for fluorescence")


class MaskOptions(Config):
    """How masks of nuclei are read; see ``crafts.controls.masks.load_mask``."""

    values: Literal["instances", "classes", "foreground"] | None = Field(
        None, description="what the numbers of an image mean; None: as the file tells"
    )
    table: str | None = Field(None, description="classes of the source: lizard, pannuke, ...")
    mpp: float | None = Field(None, gt=0, description="microns per pixel; None: as the file tells")
    frame: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height of the field, for outlines"
    )
    index: int | None = Field(None, ge=0, description="which field of a .npy with many")
    resize: bool = Field(False, description="bring masks of another size to that of the image")
    layouts: Path | None = Field(
        None, description="statistics that sample:TISSUE follows; None: those of the package"
    )


class FluorescenceOptions(Config):
    """How fluorescence is read; see ``crafts.controls.fluorescence.load_fluorescence``."""

    channels: tuple[str | int, ...] | None = Field(
        None, description="names or indices; None: all of the file"
    )
    region: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height in pixels of the finest level; None: the whole"
    )
    resize: bool = Field(False, description="bring images of another size to that of the tile")
