"""Pictures that a generated one shall look like: which a row names, and what is told of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from crafts.conditions.condition import Condition
from crafts.core.artifacts import relative_to, sha256_file
from crafts.core.errors import ConfigError, CraftsError, DataError
from crafts.imaging.layout import layout_distance
from crafts.imaging.opening import read_rgb
from crafts.imaging.stripping import RefusedImageError
from crafts.model.bundle import Bundle
from crafts.model.references import ReferenceEncoder, open_reference_encoder

MOST_WEIGHT = 2.0
_WEIGHT = re.compile(r"(.+?)(?:,(-?\d+\.?\d*|-?\.\d+))?")
_KEPT = 64


@dataclass(frozen=True)
class Reference:
    """A picture and how much of it is told.

    Attributes:
        image: file.
        weight: 1 tells what it is, 0 the middle of all training tiles.
    """

    image: Path
    weight: float


def parse_references(texts: Sequence[str], folder: Path) -> tuple[Reference, ...]:
    """``tile.png`` or ``tile.png,0.5``; of several without weights each counts the same.

    Args:
        texts: one a picture.
        folder: that a relative path starts from.

    Raises:
        ValueError: says in words what is wrong.
    """
    found: list[Reference] = []
    for text in texts:
        match = _WEIGHT.fullmatch(text.strip())
        if match is None:
            raise ValueError("a reference names no file; write for example tile.png,0.5")
        weight = 1 / len(texts) if match[2] is None else float(match[2])
        if not 0 <= weight <= MOST_WEIGHT:
            raise ValueError(f"reference weight {weight:g}; 0 to {MOST_WEIGHT:g} are allowed")
        found.append(Reference(folder / match[1], weight))
    return tuple(found)


def move_reference(text: str, folder: Path) -> str:
    """``IMAGE[,W]`` with the path of its file as seen from another folder."""
    match = _WEIGHT.fullmatch(text.strip())
    name = match[1] if match else ""
    return f"{relative_to(folder, name)}{text.strip()[len(name) :]}"


class References:
    """References of a run.

    Args:
        bundle: the model, on its device.
        common: for every row that names none itself, as on the command line.
        folder: that the paths in rows start from.
    """

    def __init__(self, bundle: Bundle, common: Sequence[str], folder: Path) -> None:
        self.bundle, self.folder = bundle, folder
        try:
            self.common = parse_references(common, Path())
        except ValueError as error:
            raise _refusal(str(error), "IMAGE or IMAGE,WEIGHT", "Correct it.") from None
        self._encoder: ReferenceEncoder | None = None
        self._numbers = lru_cache(_KEPT)(self._read)
        self.check(self.common)

    def check(self, references: Sequence[Reference]) -> None:
        """Look at the pictures before hours go into sampling.

        Raises:
            ConfigError: the model was not trained with references.
            DataError: one cannot be read.
        """
        tokens = self.bundle.conditions
        if references and (tokens is None or "reference" not in tokens.kinds):
            raise _refusal(
                "a model that was not trained with references",
                "a model that knows the condition reference",
                "Leave it out, or train one with stage.conditions [reference].",
            )
        for one in references:
            self._numbers(one.image)

    def of(self, text: str | None) -> tuple[Reference, ...]:
        """What a row asks for; its own pictures stand in one cell, with ``;`` between.

        Raises:
            CraftsError: a picture cannot be used.
            ValueError: a wrong weight.
        """
        if not text:
            return self.common
        own = parse_references([part for part in text.split(";") if part.strip()], self.folder)
        self.check(own)
        return own

    def condition(self, references: Sequence[Reference]) -> tuple[Condition, ...]:
        """What a denoiser is told: the weighted sum of what is known of the pictures.

        It is taken between the middle of all training tiles and the pictures.
        """
        tokens = self.bundle.conditions
        if not references or tokens is None:
            return ()
        middle = tokens.reference_middle()
        total = torch.zeros_like(middle)
        for one in references:
            total = total + one.weight * (torch.tensor(self._numbers(one.image)) - middle)
        source = "; ".join(str(one.image) for one in references)
        return (Condition("reference", tuple((middle + total).tolist()), source=source),)

    def describe(self, references: Sequence[Reference]) -> list[Mapping[str, object]]:
        """What a file says of its references."""
        return [
            {
                "kind": "reference",
                "source": one.image.name,
                "source_sha256": sha256_file(one.image),
                "weight": round(one.weight, 6),
            }
            for one in references
        ]

    def _read(self, path: Path) -> tuple[float, ...]:
        if self._encoder is None:
            assert self.bundle.conditions is not None
            self._encoder = open_reference_encoder(self.bundle.codec, self.bundle.conditions)
        side = self.bundle.native_size
        return tuple(self._encoder.of_pixels(read_reference(path, side)).tolist())


def reference_distance(pixels: NDArray[np.uint8], references: Sequence[Reference]) -> float | None:
    """Distance in layout of a picture [S, S, 3] from the nearest of its references; None without.

    See :func:`crafts.imaging.layout.layout_distance`.
    """
    found = [
        layout_distance(pixels, read_reference(one.image, pixels.shape[0])) for one in references
    ]
    return round(min(found), 3) if found else None


def read_reference(path: Path, side: int) -> NDArray[np.uint8]:
    """The middle square of a picture at the size of a tile, uint8 [S, S, 3].

    Raises:
        DataError: it cannot be read.
    """
    try:
        pixels = read_rgb(path)
    except (OSError, ValueError, RefusedImageError, CraftsError) as error:
        raise DataError(
            str(path),
            came=str(getattr(error, "strerror", None) or error),
            allowed="a picture of 8 bits a channel",
            do="Check the path given as reference, or save the picture as PNG.",
        ) from None
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = pixels[top : top + edge, left : left + edge]
    if edge == side:
        return square
    small = Image.fromarray(square).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _refusal(came: str, allowed: str, do: str) -> ConfigError:
    return ConfigError("generate: reference", came=came, allowed=allowed, do=do)


def as_told(told: str, references: Sequence[Mapping[str, object]]) -> str:
    """What a file says of its controls, with its references; "" without either."""
    both = [*(json.loads(told) if told else []), *references]
    return json.dumps(both, ensure_ascii=False) if both else ""
