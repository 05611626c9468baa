"""What all tests share: one thread, no network, and a model small enough for a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a clock says nothing of the code on a machine that is busy with something else; the long searches
# are those of `make soak`
settings.register_profile(
    "calm", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("calm")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[1]


@pytest.fixture
def link_tiles(tmp_path: Path) -> Callable[[Path], Path]:
    """Folder -> one of links to copies of its files elsewhere, as a hub's cache holds data sets."""

    def link(folder: Path) -> Path:
        snapshot = tmp_path / "hub" / "snapshots" / folder.name
        blobs = tmp_path / "hub" / "blobs" / folder.name
        shutil.copytree(folder, blobs)
        for blob in blobs.rglob("*"):
            if blob.is_file():
                path = snapshot / blob.relative_to(blobs)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(os.path.relpath(blob, path.parent))
        return snapshot

    return link


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished checkpoint folder with random weights; making it takes about a second."""
    from crafts.testing import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
