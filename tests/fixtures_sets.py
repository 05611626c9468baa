"""Sets of features as the extractor gives them, without images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.records import FeatureSet
from crafts.data.collection import Collection
from crafts.sets.described import describe

WIDTH = 16
MakeSet = Callable[..., FeatureSet]


def centres(labels: list[str]) -> np.ndarray:
    """A direction for each class, the same for images and texts."""
    names = {"a": 0, "b": 1, "c": 2}
    return np.stack([4 * np.eye(WIDTH)[names[label]] for label in labels])


def feature_set(
    count: int,
    *,
    seed: int = 0,
    labels: str = "ab",
    patients: int = 0,
    shift: float = 0.0,
    named: bool = True,
    prefix: str = "t",
    captions: bool = True,
    **fields: str,
) -> FeatureSet:
    """``count`` rows; labels take turns, and each patient has all of them."""
    rng = np.random.default_rng(seed)
    own = [labels[row % len(labels)] for row in range(count)]
    middle = centres(own)
    rows = []
    for row, label in enumerate(own):
        facts: dict[str, object] = {
            "name": f"{prefix}{row}.png",
            "sha256": f"{prefix}-{seed}-{row}",
            "text": f"tile of {label}, view {row % 3}" if captions else "",
            **fields,
        }
        if named:
            facts["label"] = label
        if patients:
            facts["patient"] = f"{prefix}-{row * patients // count}"
        rows.append(facts)
    texts = middle + 0.1 * rng.standard_normal(middle.shape)
    features = middle + rng.standard_normal(middle.shape) + shift
    return FeatureSet(
        features=features.astype(np.float32),
        rows=tuple(rows),
        rejected=(),
        encoder={"name": "made up", "fingerprint": "f" * 64, "width": WIDTH},
        texts=texts.astype(np.float32) if captions else None,
    )


@pytest.fixture
def make_set() -> MakeSet:
    return feature_set


def textures(num=6, side=48):
    """Discs on a tinted ground: structure and colour to lose."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    out = np.empty((num, side, side, 3), dtype=np.uint8)
    for tile in out:
        tile[:] = (205, 175, 195) + rng.integers(-8, 8, (side, side, 3))
        for cy, cx in rng.integers(4, side - 4, (12, 2)):
            tile[(y - cy) ** 2 + (x - cx) ** 2 < 12] = (90, 60, 140)
    return out


def collect(folder: Path, column: str, values: list[str]) -> Collection:
    """A folder of small tiles, one column of its table filled."""
    folder.mkdir()
    rows = [f"file_name,{column}", *(f"{k}.png,{value}" for k, value in enumerate(values))]
    for number in range(len(values)):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return Collection(folder)


def sized(make_set, size, mpp="unknown", count=40, **more):
    """A described set whose rows name a size and a scale."""
    base = make_set(count, patients=12, **more)
    rows = tuple({**row, "width": size, "height": size + 9, "mpp": mpp} for row in base.rows)
    return describe(replace(base, rows=rows), {})
