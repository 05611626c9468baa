"""Whose relations the images are drawn to: of texts, of real tiles as an encoder sees them, labels.

U-REPA (arXiv 2503.18414), VA-VAE (2501.01423) and SARA (2503.08253) gain from relations of visual
features; CRAFTS (2512.13164) takes those of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crafts.core.errors import DataError
from crafts.training.objective.config import TextRelationOptions

Wanted = Callable[[Sequence[int], Sequence[str]], Tensor]
"""Rows of the source and wordings of B samples -> [B, D], on the CPU, equal for equal ones."""
Pixels = Callable[[int], NDArray[np.uint8]]
"""Row of the source -> the whole real tile, uint8 [H, W, 3]."""


def build_wanted(
    options: TextRelationOptions, rows: Sequence[Mapping[str, Any]], *, column: str, pixels: Pixels
) -> Wanted | None:
    """What stands for a sample where relations are wanted; None: the text that conditions.

    Args:
        options: of the recipe.
        rows: all rows of the source.
        column: that names the class of a row, for labels.
        pixels: real tiles, for an image encoder.

    Raises:
        ConfigError: an encoder that is not there.
        DataError: no row has a label.
    """
    if options.of == "sentence":
        return _sentences()
    if options.of == "image":
        return _tiles(options.encoder, pixels)
    if options.of == "label":
        return _labels([str(row.get(column) or "") for row in rows], column)
    return None


def _sentences() -> Wanted:
    from crafts.model.sentences import SentenceEncoder

    encoder = SentenceEncoder()
    known: dict[str, Tensor] = {}

    def wanted(rows: Sequence[int], wordings: Sequence[str]) -> Tensor:
        for wording in wordings:
            if wording not in known:  # one at a time: neighbours would decide the last bits
                known[wording] = encoder.encode([wording])[0]
        return torch.stack([known[wording] for wording in wordings])

    return wanted


def _tiles(source: str, pixels: Pixels) -> Wanted:
    """Whole tiles, however they are cropped, turned and noised; each is looked at once."""
    from crafts.model.vision.image_encoders import open_encoder

    encoder = open_encoder(source, device="cpu")
    known: dict[int, Tensor] = {}

    def wanted(rows: Sequence[int], wordings: Sequence[str]) -> Tensor:
        for row in rows:
            if row not in known:
                known[row] = encoder.images([pixels(row)])[0]
        return torch.stack([known[row] for row in rows])

    return wanted


def _labels(labels: Sequence[str], column: str) -> Wanted:
    """A direction a label, at right angles to all others; without a label none at all."""
    names = sorted(set(labels) - {""})
    if not names:
        raise DataError(
            "train: stage.text_relations.of: label",
            came=f"no row with a label in column {column!r}",
            allowed="rows with labels",
            do="Set stage.category.column to the column that names the class.",
        )
    number = {name: index for index, name in enumerate(names)}

    def wanted(rows: Sequence[int], wordings: Sequence[str]) -> Tensor:
        found = torch.zeros(len(rows), len(names))
        for place, row in enumerate(rows):
            if labels[row]:
                found[place, number[labels[row]]] = 1.0
        return found

    return wanted
