"""Augmentation that moves an image, its mask and its map together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crafts.controls.nuclei import NucleiMask
from crafts.core.errors import ConfigError

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Move:
    """A crop, then one of the eight symmetries of the square.

    Attributes:
        top: first row of the crop.
        left: first column.
        height: of the crop in pixels.
        width: of the crop in pixels.
        symmetry: 0..7; ``symmetry % 4`` quarter turns anticlockwise, then from 4 on a left-right
            flip. 0 changes nothing.
    """

    top: int
    left: int
    height: int
    width: int
    symmetry: int = 0

    def __post_init__(self) -> None:
        """Refuse a symmetry or a crop that cannot be.

        Raises:
            ConfigError: which one.
        """
        if not 0 <= self.symmetry < 8:
            raise ConfigError(
                "symmetry", came=str(self.symmetry), allowed="0 to 7", do="0 changes nothing."
            )
        if min(self.top, self.left) < 0 or min(self.height, self.width) < 1:
            raise ConfigError(
                "crop",
                came=f"{self.height} x {self.width} px from ({self.top}, {self.left})",
                allowed="at least one pixel, from (0, 0) on",
                do="Correct the crop.",
            )


def move_array(array: NDArray[T], move: Move) -> NDArray[T]:
    """Move what has its pixels in the last two axes (a mask [H, W] or a control map [C, H, W]).

    Raises:
        ConfigError: the crop reaches out of the array.
    """
    height, width = array.shape[-2:]
    if move.top + move.height > height or move.left + move.width > width:
        raise ConfigError(
            "crop",
            came=f"{move.height} x {move.width} px from ({move.top}, {move.left})",
            allowed=f"inside of {height} x {width} px",
            do="Image, mask and map must be of one size before they are moved.",
        )
    rows = slice(move.top, move.top + move.height)
    columns = slice(move.left, move.left + move.width)
    turned = np.rot90(array[..., rows, columns], move.symmetry % 4, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if move.symmetry >= 4 else turned)


def move_mask(mask: NucleiMask, move: Move) -> NucleiMask:
    """Move a mask; nuclei that the crop cuts keep their numbers.

    Make the control map of the moved mask afresh: edges and depths at a cut change.
    """
    instances = None if mask.instances is None else move_array(mask.instances, move)
    return replace(mask, classes=move_array(mask.classes, move), instances=instances)
