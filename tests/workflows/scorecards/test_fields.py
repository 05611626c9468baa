"""The scorecard of fields on noise: it says chance, and what carries the class is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crafts.workflows.scorecards import fields
from crafts.workflows.scorecards.model import GENERATED, REAL
from fixtures_scorecards import write_labelled_tiles, write_models

KINDS = [("colon", name, "low", "other") for name in fields.CLASSES[:2]]
KINDS += [("lung", name, "low", "other") for name in fields.CLASSES[2:4]]


@pytest.fixture
def tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("fixtures_scorecards.KINDS", KINDS)
    return write_labelled_tiles(tmp_path / "tiles")


def test_rows_of_eight_classes_are_scored_beside_controls(tiles, tmp_path):
    models = write_models(tmp_path / "models")
    given = (str(models / "model"), tiles, tmp_path / "score")
    options = {"per_class": 4, "preset": "fast", "encoder": str(models / "clip")}
    text = fields.score_fields(*given, **options)
    found = json.loads((tmp_path / "score/fields.json").read_text())["groups"]
    assert list(found)[0] == GENERATED and len(found) == 7
    assert {one["tiles"] for one in found.values()} == {16}
    assert set(found[REAL]["glands"]) == set(fields.CLASSES[:2])
    assert "| real, held-out | 16 |" in text and "over real through the codec" in text


class ByMean:
    """An encoder that sees where a tile is bright."""

    @staticmethod
    def images(batch):
        import torch

        tiles = np.stack(batch).astype(np.float32).mean(axis=3)
        halves = [tiles[:, :16].mean((1, 2)), tiles[:, 16:].mean((1, 2))]
        return torch.from_numpy(np.stack(halves, axis=1))


def test_structure_that_tells_the_class_is_seen_and_shuffled_classes_are_not():
    draw = np.random.default_rng(0)
    tiles = draw.integers(0, 100, (80, 32, 32, 3), dtype=np.uint8)
    tiles[::2, :16] += 100
    tiles[1::2, 16:] += 100
    names = [fields.CLASSES[k % 2] for k in range(80)]
    judge = fields.GreyClassifier(fields._grey_features(ByMean, tiles[:40]), names[:40])
    group = fields.Group("g", tiles[40:], names[40:])
    assert fields._judge(group, judge, ByMean)["corrected"] == 1
    assert abs(fields._judge(fields.shuffled(group), judge, ByMean)["corrected"]) < 0.5
