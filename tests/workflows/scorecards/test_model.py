"""The scorecard of a model end to end on painted tiles and very small networks."""

import json

import numpy as np
import pytest

from crafts.model.vision.structure_judge import CLASSES
from crafts.workflows.scorecards import model
from crafts.workflows.scorecards.classes import caption_of, class_of, read_rows, spread_rows
from crafts.workflows.scorecards.judges import judge_structure
from crafts.workflows.scorecards.requests import lymphocyte_rows
from fixtures_scorecards import KINDS, write_labelled_tiles, write_models


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_labelled_tiles(tmp_path_factory.mktemp("scorecards") / "tiles")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


def test_classes_follow_organ_label_and_power():
    def row(organ, label, power="low", name="prostate_gleason_NC"):
        return class_of({"organ": organ, "label": label, "power": power, "set": name})

    assert row("oral mucosa", "oral normal high", "high") == "oral normal high"
    assert row("oral mucosa", "oral carcinoma low") == "oral carcinoma low"
    assert row("oral mucosa", "oral carcinoma", "") is None
    assert row("prostate", "prostate benign") == "prostate benign"
    assert row("prostate", "prostate cancer") == "prostate cancer"
    assert row("prostate", "prostate cancer high", "high", "monuseg_NC") is None
    assert row("colon", "colon polyp") == "colon"
    assert row("colon", "colon fat", "medium", "crc_he7k") is None
    assert row("stomach", "stomach carcinoma") is None


def test_rows_come_from_patients_in_turn(tiles):
    rows = spread_rows(read_rows(tiles, "train"), 5)
    for name in {row["class"] for row in rows}:
        patients = [row["patient"] for row in rows if row["class"] == name]
        assert len(patients) == 5 and len(set(patients)) == 4
    assert all("power" in caption_of(row) for row in rows)


def test_judging_restricts_to_the_task_and_corrects_for_chance():
    names = ["oral normal low", "oral normal low", "oral carcinoma low", "prostate benign"]
    scores = np.zeros((4, len(CLASSES)), dtype=np.float32)
    scores[:, 10] = 9  # bone is no answer to a question about the mouth
    scores[[0, 1, 2], [0, 1, 1]] = 1
    found = judge_structure(scores, names)
    assert set(found) == {"oral low"}  # of the prostate only one class occurs
    assert found["oral low"]["accuracy"] == pytest.approx(0.75)
    assert found["oral low"]["corrected"] == pytest.approx(0.5)
    assert found["oral low"]["oral normal low"] == pytest.approx(0.5)


def test_requests_are_distinct_and_pairs_share_their_noise(tiles):
    rows = spread_rows(read_rows(tiles, "heldout"), 3)
    unseen = {label: [f"{label} at weak power", "no p"] for _, label, _, _ in KINDS}
    asked = list(model.class_rows(rows, 3)), list(model.class_rows(rows, 3, unseen))
    seeds = {row["seed"] for part in asked for row in part}
    assert len(seeds) == len(asked[0]) + len(asked[1]) == 24
    for part in asked:
        assert len({row["id"] for row in part}) == 12
        assert {row["shows"] for row in part} <= set(CLASSES)
    assert all("weak" in row["prompt"] for row in asked[1])
    pairs = list(lymphocyte_rows(2))
    assert [row["id"][:3] for row in pairs] == ["man", "few"] * 2
    assert pairs[0]["seed"] == pairs[1]["seed"] != pairs[2]["seed"]
    assert all("lymphocyt" in row["prompt"].lower() for row in pairs)


def test_a_shuffled_group_keeps_its_tiles_and_the_multiset_of_classes():
    tiles = np.arange(20 * 12, dtype=np.uint8).reshape(20, 2, 2, 3)
    group = model.Group("g", tiles, list("ab" * 10))
    other = model.shuffled(group)
    assert (other.tiles == group.tiles).all()
    assert sorted(other.classes) == sorted(group.classes) and other.classes != group.classes


def test_a_scorecard_says_structure_beside_its_controls_and_goes_on(tiles, models, tmp_path):
    given = (str(models / "model"), tiles, tmp_path)
    options = {"per_class": 8, "preset": "fast", "encoder": str(models / "clip")}
    text = model.score_model(*given, **options)
    found = json.loads((tmp_path / "score.json").read_text())
    assert list(found["structure"])[0] == model.GENERATED and len(found["structure"]) == 8
    assert found["tiles"][model.REAL] == 32 and found["tiles"][model.GENERATED] == 32
    assert set(found["share_of_real"]) <= {"oral low", "organ"}
    assert found["lymphocytes"]["pairs"] == 8 and "| real, held-out | 32 |" in text
    assert (tmp_path / "evaluation/report.html").is_file()
    kinds = ("generated", "unseen", "lymphocytes")
    images = [path for kind in kinds for path in (tmp_path / kind / "images").iterdir()]
    made = {path: path.stat().st_mtime_ns for path in images}
    assert len(made) == 32 + 32 + 16
    assert model.score_model(*given, **options) == text
    assert made == {path: path.stat().st_mtime_ns for path in made}
