"""Painted tiles of three groups of patients, and a small encoder without weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.data.painter import paint_tile
from crafts.downstream.config import BenchmarkConfig
from crafts.model.vision.image_encoders import ImageEncoder

SIDE = 48
CLASSES = ("glands", "stroma", "lymphocytes")
_KNOWN: dict[int, np.ndarray] = {}


def painted(number: int) -> tuple[np.ndarray, str, str]:
    """Pixels, class and patient of one painted tile; each patient has one tile of each class."""
    if number not in _KNOWN:
        _KNOWN[number] = paint_tile(seed=5, index=number, size=SIDE, classes=CLASSES).image
    return _KNOWN[number], CLASSES[number % 3], f"p{number // 3:03d}"


@pytest.fixture
def write_folder(tmp_path) -> Callable[..., Path]:
    """Name and numbers of painted tiles, and split by patient -> a folder with its table."""

    def write(
        name: str,
        numbers: Sequence[int],
        *,
        split: Callable[[int], str] | None = None,
        labels: Sequence[str] | None = None,
        patients: bool = True,
        pixels: Callable[[np.ndarray], np.ndarray] = lambda tile: tile,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines = ["file_name,text,label,patient,split,site"]
        for k, number in enumerate(numbers):
            tile, label, patient = painted(number)
            Image.fromarray(pixels(tile)).save(folder / f"{name}{number:04d}.png")
            cells = [
                *(f"{name}{number:04d}.png", f"a tile of {label}"),
                *(labels[k] if labels else label, patient if patients else ""),
                *(split(number // 3) if split else "", f"site{number // 3 % 2}"),
            ]
            lines.append(",".join(cells))
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write


@pytest.fixture
def encoder() -> ImageEncoder:
    """Grey tiles in 6 x 6 squares, and how much they vary within each."""

    def prepare(pixels: np.ndarray) -> torch.Tensor:
        grey = np.asarray(Image.fromarray(pixels).convert("L").resize((24, 24)), np.float32) / 255
        return torch.from_numpy(grey)[None].expand(3, -1, -1).clone()

    def encode(batch: torch.Tensor) -> torch.Tensor:
        squares = batch[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)
        return torch.cat([squares.mean(-1).flatten(1), squares.std(-1).flatten(1)], 1)

    facts = {"name": "squares", "fingerprint": "f" * 64, "weights_sha256": "e" * 64, "width": 72}
    return ImageEncoder(facts, torch.device("cpu"), prepare, encode)


@pytest.fixture
def config_of() -> Callable[..., BenchmarkConfig]:
    """The smallest run that can show anything."""

    def make(real: Path, *generated: Path, **more) -> BenchmarkConfig:
        values = {"fractions": (0.05, 1.0), "ratios": (1.0, 5.0), "seeds": 3, "resamples": 300}
        return BenchmarkConfig(real=real, generated=generated, **{**values, **more})

    return make
