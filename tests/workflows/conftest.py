"""Held-out tiles with nuclei in grey, what a ControlNet that obeys makes of them, its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crafts.controls.masks import mask_from_labels
from crafts.sets.masked import MaskedTile
from crafts.workflows.scorecards import nuclei
from fixtures_scorecards import CLASSES, SIDE, painted, segment
from fixtures_steering import disc_mask


@pytest.fixture(scope="module")
def cases() -> list[nuclei.Case]:
    """Eight tiles with one to three nuclei each, no two alike."""
    found = []
    for number in range(8):
        labels = np.zeros((SIDE, SIDE), np.int32)
        for nucleus in range(1 + number % 3):
            disc = disc_mask(30 + 12 * nucleus, 30 + 6 * number, size=SIDE, radius=5)
            labels[disc.classes > 0] = nucleus + 1
        mask = mask_from_labels(labels)
        pair = MaskedTile(str(number), painted(mask), mask)
        found.append(nuclei.Case(str(number), pair, "painted", "tissue"))
    return found


@pytest.fixture(scope="module")
def images(cases: list[nuclei.Case]) -> dict[str, np.ndarray]:
    """What a ControlNet that obeys would make; without a mask the nuclei of another tile."""
    found = {}
    for case, other, way in zip(cases, cases[3:] + cases[:3], nuclei.WAYS * 2, strict=False):
        moved = nuclei.shift(case.pair.mask, way)
        found[f"steered-{case.key}"] = painted(case.pair.mask)
        found[f"moved-{case.key}"] = painted(moved)
        found[f"empty-{case.key}"] = np.zeros((SIDE, SIDE, 3), np.uint8)
        found[f"free-{case.key}"] = painted(other.pair.mask)
    return found


@pytest.fixture(scope="module")
def result(cases: list[nuclei.Case], images: dict[str, np.ndarray]) -> dict[str, Any]:
    """Figures as ``nuclei.py`` writes them."""
    scores = nuclei.measure_group(cases, images, segment, CLASSES)
    return {
        "kind": "nuclei",
        "preset": "balanced",
        "weight": 1.0,
        "sets": {"painted": scores},
        "moved": nuclei.measure_moves(cases, images, segment),
        "empty": nuclei.measure_empty(cases, cases, images, segment),
    }
