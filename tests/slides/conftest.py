"""Painted slides and their tiles, made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crafts.slides.tile import TileConfig, run
from painted_slide import PaintedSlide, paint_slide

TCGA = "TCGA-AB-1234-01A-01-TS1"


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PaintedSlide]]:
    """A folder of two slides of 0.5 microns per pixel, and where their tissue lies."""
    folder = tmp_path_factory.mktemp("slides")
    (folder / "sub").mkdir()
    return folder, {
        TCGA: paint_slide(folder / f"{TCGA}.tif", side=1536, seed=1),
        "other": paint_slide(folder / "sub" / "other.tif", side=1024, seed=2),
    }


def small_config(**values: Any) -> TileConfig:
    return TileConfig(**{"size": 256, "num_workers": 2, "block_tiles": 8, **values})


@pytest.fixture(scope="session")
def config() -> Callable[..., TileConfig]:
    return small_config


@pytest.fixture(scope="session")
def tiled(painted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tiled") / "out"
    run(small_config(), painted[0], output)
    return output


def hashes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], dict[str, str]]:
    return hashes_of


@pytest.fixture
def wsi(root: Path) -> Path:
    """The real slides, where they are."""
    folder = root.parent / "shared" / "data" / "wsi"
    if not folder.is_dir():
        pytest.skip("the real slides are not here")
    return folder
