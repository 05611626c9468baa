"""Twenty kills -9 at random moments; left to ``make soak``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training.test_train import killed_and_resumed_equals_undisturbed


@pytest.mark.soak
def test_twenty_kills(recipe: dict[str, Any], tmp_path: Path) -> None:
    killed_and_resumed_equals_undisturbed(recipe, tmp_path, kills=20, seed=1)
