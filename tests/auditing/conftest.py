"""Painted tiles, changed as copies are, and a plain extractor of features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crafts.core.records import FeatureSet
from crafts.data.collection import Collection
from crafts.data.config import Columns
from crafts.data.painter import paint_tile

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def painted() -> Callable[[int], Pixels]:
    """Number -> painted tile of 128 px; each is painted once."""
    known: dict[int, Pixels] = {}

    def tile(number: int) -> Pixels:
        if number not in known:
            known[number] = paint_tile(seed=11, index=number, size=128).image
        return known[number]

    return tile


@pytest.fixture(scope="session")
def plain_features() -> Callable[..., Callable[[Path], FeatureSet]]:
    """Split (and columns) -> extractor: the grey tile in 8 x 8 squares, without its mean."""

    def build(split: str | None, columns: Columns | None = None) -> Callable[[Path], FeatureSet]:
        def extract(folder: Path) -> FeatureSet:
            images = Collection(folder, split=split, columns=columns)
            rows, rejected, features = [], [], []
            for number in range(len(images)):
                tile = images.load(number)
                if isinstance(tile, str):
                    rejected.append((images.name(number), tile))
                    continue
                small = Image.fromarray(tile.pixels).convert("L").resize((8, 8))
                values = np.asarray(small, dtype=np.float32).ravel()
                features.append(values - values.mean() + 1e-3)
                rows.append({"name": tile.name, "text": tile.text, **tile.fields})
            return FeatureSet(
                np.array(features).reshape(-1, 64), tuple(rows), tuple(rejected), {"name": "plain"}
            )

        return extract

    return build


@pytest.fixture
def write_tiles(tmp_path: Path) -> Callable[..., Path]:
    """Name of a folder, name -> tile, and lines of its metadata.csv -> the folder."""

    def write(name: str, tiles: dict[str, Pixels], rows: list[str] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, pixels in tiles.items():
            Image.fromarray(pixels).save(folder / file)
        if rows is not None:
            (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return folder

    return write
