"""Grids of tensors as pictures, for looking at a run while it goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image


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
