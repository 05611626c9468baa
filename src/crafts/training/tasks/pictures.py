"""Pictures of a run while it goes: grids of tensors, and what a ControlNet makes of its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image

from crafts.conditions.condition import Condition
from crafts.conditions.networks import MapConditioner
from crafts.model.bundle import Bundle
from crafts.model.control import Control
from crafts.sampling.draws import Draw
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import iter_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def tile_rows(rows: Sequence[Sequence[torch.Tensor]], gap: int = 4) -> Image.Image:
    """Rows of images [3, H, W] in [-1, 1] as one picture with white gaps."""
    height = max(image.shape[1] for row in rows for image in row)
    width = max(image.shape[2] for row in rows for image in row)
    columns = max(len(row) for row in rows)
    sheet = Image.new(
        "RGB", (columns * (width + gap) - gap, len(rows) * (height + gap) - gap), "white"
    )
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            pixels = ((image.float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            sheet.paste(
                Image.fromarray(pixels.permute(1, 2, 0).numpy()),
                (x * (width + gap), y * (height + gap)),
            )
    return sheet


def steer(
    bundle: Bundle, control: Control, maps: Mapping[str, NDArray[np.float32]]
) -> list[NDArray[np.uint8]]:
    """One image [H, W, 3] for each map [C, H, W], without a prompt and without guidance."""
    draws = [Draw("", conditions=(Condition(control.kind, name),)) for name in maps]
    conditioners = {control.kind: MapConditioner(control.module, lambda one: maps[str(one.key)])}
    images: dict[int, NDArray[np.uint8]] = {}
    for group in iter_images(bundle, draws, Preset("dpm++", 20, 1.0), conditioners=conditioners):
        images |= {index: image for index, _, image in group}
    return [images[index] for index in range(len(draws))]
