"""Small sources of tiles, written to disk as users have them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

MakeImage = Callable[..., bytes]


def image_bytes(seed: int = 0, size: tuple[int, int] = (16, 16), form: str = "PNG") -> bytes:
    """A smooth coloured image (width, height) as a file."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def make_image() -> MakeImage:
    return image_bytes


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A Hugging Face image folder of 12 tiles, 6 patients, all known fields and odd ones."""
    folder = tmp_path / "tiles"
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(12):
        form, suffix = (("PNG", "png"), ("JPEG", "jpg"))[index % 2]
        name = f"images/case.{index:02d}.{suffix}"
        (folder / name).write_bytes(image_bytes(index, form=form))
        rows.append(
            {
                "file_name": name,
                "text": f"tile {index}, gland",
                "patient": f"p{index // 2}",
                "split": ("train", "val", "test")[index // 2 % 3],
                "label": index % 3,
                "organ": "colon",
                "power": "high",
                "mpp": 0.5 if index % 2 else "unknown",
                "licence": "CC0",
                "captions": [f"tile {index}", "a gland"],
                "cells": {"lymphocyte": 0.1 * index},
                "width": "wide",
                "fresh": True,
                "count": index,
            }
        )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def packed(tiles: Path, tmp_path: Path) -> Path:
    """The same tiles as shards of five."""
    from crafts.data.config import PackConfig
    from crafts.data.pack import run

    run(PackConfig(samples_per_shard=5), tiles, tmp_path / "shards")
    return tmp_path / "shards"


class PoolingCodec:
    """A codec with known numbers: average pooling by 4, and a constant spread if there is one.

    Args:
        spread: standard deviation of every latent.
        name: fingerprint.
    """

    factor = 4
    channels = 3

    def __init__(self, spread: float = 0.0, name: str = "pooling") -> None:
        self.spread, self.fingerprint, self.num_calls = spread, name, 0

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.num_calls += 1
        mean = torch.nn.functional.avg_pool2d(images, self.factor)
        return mean, torch.full_like(mean, self.spread)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(latents, scale_factor=self.factor)


@pytest.fixture
def make_codec() -> type[PoolingCodec]:
    return PoolingCodec


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real tiles and texts beside the repository; tests that want them are skipped without."""
    folder = Path(__file__).parents[3] / "shared/data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data with real tiles and texts")
    return folder
