"""Retrieval, self-supervision and questions on painted tiles: planted truths and their parts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.downstream.benchmark import run
from crafts.downstream.questions import ask_of, middles, read_questions, shared_words
from crafts.downstream.results import Results
from crafts.downstream.retrieval import fewest_captions, rate
from page_checks import Page

TRAIN, TEST = 12, 20  # patients


def no_copies(suspects, known):
    return []


@pytest.fixture
def examine(write_folder, encoder, config_of, tmp_path):
    """A task and settings -> its results and page, with tiles of a third group as generated."""

    def examined(task: str, **more) -> tuple[Results, Page]:
        real = write_folder(
            *("real", range(3 * (TRAIN + TEST))),
            split=lambda p: "train" if p < TRAIN else "heldout",
        )
        perfect = write_folder("perfect", range(3 * 60, 3 * 90))
        values = {"fractions": (0.05,), "ratios": (20.0,), "seeds": 3, "steps": 60, "pixels": 32}
        config = config_of(real, perfect, task=task, **{**values, **more})
        output = tmp_path / "out"
        run(config, None, output, encoder=encoder, find_copies=no_copies)
        found = Results.model_validate_json((output / "metrics.json").read_text())
        return found, Page((output / "report.html").read_text())

    return examined


def by_arm(results: Results) -> dict:
    method = next(iter(results.methods))
    return {row.arm: row for row in results.rows if row.method == method and row.on == "test"}


def test_a_perfect_generator_helps_retrieval_and_noise_does_not(examine):
    results, page = examine("retrieval")
    arms = by_arm(results)
    assert page.faults == [] and "R@5" in page.text and "MedR" in page.text
    assert arms["real + generated, 20 x"].gain > 0
    assert arms["real + noise of its colours"].outcome != "helped"
    assert arms["real + generated, 20 x, labels shuffled"].recall < (
        arms["real + generated, 20 x"].recall
    )
    assert 1 <= arms["real"].text_median <= 3 and arms["real"].closed is None


def test_shuffled_images_tell_no_more_than_questions_alone(examine):
    results, page = examine("vqa", fractions=(1.0,))
    arms = by_arm(results)
    assert page.faults == []
    blind, mixed = arms["real, question only"], arms["real, images shuffled"]
    assert blind.closed == pytest.approx(0.5, abs=0.05)
    assert arms["real"].closed > blind.closed + 0.2 and abs(mixed.closed - blind.closed) < 0.15
    line = next(one for one in results.tests if one.startswith("Images shuffled"))
    low, high = (float(part.strip("()")) for part in line.split("(")[1].split(")")[0].split(" to "))
    assert low <= 0 <= high
    assert results.controls == []


def test_a_masked_autoencoder_is_pretrained_on_every_arm(examine):
    results, page = examine("ssl", steps=8, seeds=2)
    arms = by_arm(results)
    assert page.faults == []
    assert set(arms) >= {
        *("real", "no pre-training", "real + generated, 20 x", "generated alone"),
        *("generated as second view", "real, colour histogram only"),
    }
    assert not any("shuffled" in name for name in arms)
    assert arms["generated as second view"].accuracy != arms["real"].accuracy


def test_a_small_resnet_is_trained_from_pixels(examine):
    results, _ = examine("classification", finetune=True, steps=30, seeds=2, ratios=(5.0,))
    rows = {row.arm: row for row in results.rows if row.method == "resnet"}
    assert rows["real + generated, 5 x"].accuracy > 1 / 3 and rows["real"].ece is not None
    assert "real, colour histogram only" not in rows


def test_captions_of_one_meaning_stand_once():
    known = [{"fat", "adipose"}, {"fat", "fatty"}, {"gland"}, {"fat"}]
    assert fewest_captions(known) == ["fat", "gland"]


def test_recall_by_hand():
    right = np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
    found = rate(np.array([[0.9, 0.1], [0.2, 0.3], [0.5, 0.5]]), right)
    # ranks of the tiles: 1, 2, and 2 as a wrong one that ties stands before
    assert found.measures["text_1"] == pytest.approx(1 / 3)
    assert found.measures["text_median"] == 2
    assert found.measures["image_1"] == 1  # both captions find a tile of theirs first
    assert found.score.tolist() == [1, 1, 1]


def test_questions_come_from_what_a_table_says():
    rows = [
        {"name": "a", "organ": "colon", "label": "colon carcinoma", "lymphocytes": "12"},
        {
            "name": "b",
            "organ": "lung",
            "label": "lung normal",
            "text": "Lung, grade 2.",
            "nuclei": "",
        },
        {"name": "c", "label": "without tumour", "lymphocytes": 4},
    ]
    counts = middles(rows)
    assert counts == {"lymphocytes": 8}
    asked = [ask_of(row, organs=["colon", "lung"], counts=counts) for row in rows]
    said = [{one.kind: one.answer for one in some} for some in asked]
    assert (said[0]["malignant"], said[1]["malignant"], said[2]["malignant"]) == ("yes", "no", "no")
    assert said[0]["organ"] == "colon" and said[0]["is organ"] in ("yes", "no")
    assert said[1]["grade"] == "2" and "grade" not in said[0]
    assert (said[0]["lymphocytes"], said[2]["lymphocytes"]) == ("yes", "no")
    assert "organ" not in said[2] and "lymphocytes" not in said[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("path.csv", "image,question,answer\na.jpg,Is there a tumour?,Yes.\na.jpg,What?,a gland\n"),
        (
            "quilt.jsonl",
            '{"image_name": "q/a.jpg", "question": "Is there a tumour?", "answer": "yes"}\n'
            '{"image_name": "q/a.jpg", "question": "What?", "answer": "A gland."}\n',
        ),
    ],
)
def test_questions_of_pathvqa_and_quilt_vqa_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_questions(tmp_path / name)["a"]
    assert [(one.answer, one.closed) for one in found] == [("yes", True), ("a gland", False)]


def test_a_file_without_answers_is_refused(tmp_path):
    (tmp_path / "q.csv").write_text("image,question\na.png,What?\n")
    with pytest.raises(DataError, match="row 1: columns image, question; expected image"):
        read_questions(tmp_path / "q.csv")


def test_answers_share_words():
    assert shared_words("a lung", "the lung") == pytest.approx(0.5)
    assert shared_words("colon", "lung") == 0 and shared_words("Lung", "lung") == 1


def test_brought_questions_are_asked_instead(examine, tmp_path):
    lines = ["image,question,answer"]
    lines += [
        f"real{k:04d}.png,Are these glands?,{'yes' if k % 3 == 0 else 'no'}" for k in range(96)
    ]
    (tmp_path / "asked.csv").write_text("\n".join(lines) + "\n")
    results, _ = examine("vqa", questions=tmp_path / "asked.csv", fractions=(1.0,), seeds=2)
    assert by_arm(results)["real"].closed > 0.6
    assert "open_f1" not in json.dumps(results.rows[0].model_dump(exclude_none=True))
