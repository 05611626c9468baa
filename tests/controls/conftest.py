"""Where the real masks are."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real() -> Path:
    """Real masks beside the repository."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (folder / "monuseg_NC").is_dir():
        pytest.skip("no ../shared/data with real masks")
    return folder
