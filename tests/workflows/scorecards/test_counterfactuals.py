"""The scorecard of counterfactuals: edits are judged beside what must not turn the judge."""

import json

import numpy as np
import pytest

from crafts.imaging.stains import optical_density
from crafts.model.vision.structure_judge import build_structure_judge, save_structure_judge
from crafts.testing import write_tiny_model
from crafts.workflows.scorecards import counterfactuals
from fixtures_scorecards import write_labelled_tiles

KINDS = [("oral mucosa", name, "high", "oral") for name in counterfactuals.PAIRS[0]]
KINDS += [("prostate", name, "low", "prostate_gleason_NC") for name in counterfactuals.PAIRS[1]]


@pytest.fixture
def tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("fixtures_scorecards.KINDS", KINDS)
    folder = write_labelled_tiles(tmp_path / "tiles")
    told = {name: {"prompt": f"{name}, H&E", "prompts": [f"{name}."]} for _, name, _, _ in KINDS}
    (folder / "classes.json").write_text(json.dumps(told))
    return folder


def test_edits_are_judged_beside_their_controls(tiles, tmp_path):
    save_structure_judge(build_structure_judge(), tmp_path / "judge")
    text = counterfactuals.score_counterfactuals(
        str(write_tiny_model(tmp_path / "model")),
        tiles,
        tmp_path / "score",
        per_class=3,
        judge=str(tmp_path / "judge"),
    )
    found = json.loads((tmp_path / "score/counterfactuals.json").read_text())
    groups = found["groups"]
    assert list(groups) == [
        counterfactuals.EDIT,
        counterfactuals.STAIN,
        counterfactuals.WORDS,
    ]
    assert groups[counterfactuals.EDIT]["tiles"] == groups[counterfactuals.STAIN]["tiles"] >= 3
    assert all(0 <= one["mean"] <= 1 for one in groups.values())
    assert found["identity"] == 0
    assert "judge flips" in text and "The same text changes 0.000 of 255" in text


def test_flips_are_counted_by_class_and_over_patients():
    names = [pair[k % 2] for k in range(20) for pair in counterfactuals.PAIRS[:1]]
    rows = [{"class": name, "patient": str(k // 2)} for k, name in enumerate(names)]
    before = np.zeros((20, 8, 8, 3), np.uint8)

    def flips(rows, tiles):
        return (tiles.mean(axis=(1, 2, 3)) > 5).astype(float)

    after = before.copy()
    after[::2] = 10
    found = counterfactuals.judge_pairs(rows, before, after, flips=flips)
    assert found["mean"] == 0.5 and found["patients"] == 10 and found["changed"] == 5
    assert found["by_class"] == {names[0]: 1.0, names[1]: 0.0}
    assert found["low"] <= 0.5 <= found["high"]


def test_the_stain_is_that_of_the_others_and_the_structure_its_own():
    draws = np.random.default_rng(0)
    tile = draws.integers(100, 220, (64, 64, 3), dtype=np.uint8)
    others = draws.integers(40, 160, (3, 64, 64, 3), dtype=np.uint8)
    moved = counterfactuals.move_stain(tile, others)
    found, wanted = optical_density(moved), optical_density(others)
    np.testing.assert_allclose(found.mean((0, 1)), wanted.mean((0, 1, 2)), atol=0.01)
    np.testing.assert_allclose(found.std((0, 1)), wanted.std((0, 1, 2)), atol=0.01)
    for channel in range(3):
        pair = np.corrcoef(tile[..., channel].ravel(), moved[..., channel].ravel())
        assert pair[0, 1] > 0.95
