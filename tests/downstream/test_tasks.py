"""Retrieval, self-supervision and questions: planted truths, the stage once each, their parts."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.core.records import FeatureSet
from crafts.downstream.arms import COLOUR, NOISE, iter_arms
from crafts.downstream.benchmark import open_task, run
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.opening import Opened, Side
from crafts.downstream.pool import Pool
from crafts.downstream.questions import ask_of, middles, read_questions, shared_words
from crafts.downstream.results import Results
from crafts.downstream.retrieval import fewest_captions, rate
from crafts.downstream.ssl import pair_up
from crafts.downstream.statistics import paired_gain
from crafts.sets.described import describe
from crafts.sets.source import Source
from page_checks import Page

MIXED_IN = "real + generated, 5 x"
CLASSES = ("fat", "glands", "stroma")
TRAIN, REAL, MADE = 24, 96, 60  # tiles; three a patient


def no_copies(suspects, known):
    return []


@pytest.fixture
def examine(tmp_path):
    """A task, its arms (or all), settings -> their scores; each class has its place in features.

    The generated tiles are those of a third group of patients.
    """
    rng = np.random.default_rng(0)
    number = REAL + MADE
    rows = [
        {"name": f"t{k}", "text": f"a tile of {CLASSES[k % 3]}", "label": CLASSES[k % 3],
         "patient": f"p{k // 3}", "organ": "colon"}
        for k in range(number)
    ]  # fmt: skip
    features = rng.normal(size=(number, 12)).astype(np.float32)
    features[np.arange(number), np.arange(number) % 3] += 2
    noise = rng.normal(size=(TRAIN, 12)).astype(np.float32)
    every = np.concatenate([features, features[:TRAIN] + 0.1, noise])
    bright = (40 + 60 * (np.arange(len(every)) % 3))[:, None, None, None]
    pixels = np.clip(bright + rng.normal(0, 20, (len(every), 32, 32, 3)), 0, 255).astype(np.uint8)

    def side(name: str, first: int, last: int) -> Side:
        found = FeatureSet(features[first:last], tuple(rows[first:last]), (), {})
        source = Source("heldout", tmp_path, "", {"": tmp_path})
        return Side(name, source, describe(found, {}))

    def examined(task: str, *only: str, tiles: int = 9, seeds: int = 2, **more):
        opened = Opened(
            *(side("real", 0, REAL), np.arange(TRAIN), np.arange(TRAIN, REAL)),
            *([side("made", REAL, number)], None, list(CLASSES)),
        )
        ends = np.cumsum([0, REAL, MADE, TRAIN, TRAIN])
        names = ("real", "made", "augmented", "noise")
        parts = {name: np.arange(*ends[k : k + 2]) for k, name in enumerate(names)}
        labels = np.where(np.arange(len(every)) < number, np.arange(len(every)) % 3, -1)
        pool = Pool(every, every, pixels, labels, [*rows, *[{}] * 2 * TRAIN], parts)
        values = {"ratios": (5.0,), "pixels": 32, "steps": 25, **more}
        config = BenchmarkConfig(real=tmp_path, generated=(tmp_path,), task=task, **values)
        built = open_task(config, opened)
        exam = built.exams(opened, pool)[0]
        own, found = pool.parts["real"][:tiles], {}
        for seed in range(seeds):
            for arm in built.arms(iter_arms(config, opened, pool, np.arange(tiles), seed=seed)):
                if only and arm.name not in only:
                    continue
                for method, ask in built.train(pool, arm, own=own, seed=seed).items():
                    answers = ask(exam)
                    found.setdefault((method, arm.name), []).append(answers.score * exam.weights)
        return {name: np.array(some) for name, some in found.items()}, exam

    return examined


def gain_of(scores, exam, arm: tuple[str, str], over: tuple[str, str]):
    return paired_gain(scores[arm] - scores[over], list(exam.groups), resamples=200)


def test_a_perfect_generator_helps_retrieval_and_mislabelled_tiles_do_not(examine):
    wrong = ("clip", f"{MIXED_IN}, labels shuffled")
    scores, exam = examine("retrieval", "real", NOISE, MIXED_IN, wrong[1])
    perfect = gain_of(scores, exam, ("clip", MIXED_IN), ("clip", "real"))
    assert perfect.low > 0
    assert scores[wrong].mean() < scores["clip", MIXED_IN].mean()
    noise = gain_of(scores, exam, ("clip", NOISE), ("clip", "real"))
    assert noise.low < 0


def test_shuffled_images_tell_no_more_than_questions_alone(examine):
    blind, mixed = ("fusion", "real, question only"), ("fusion", "real, images shuffled")
    scores, exam = examine("vqa", MIXED_IN, blind[1], mixed[1], tiles=24, seeds=5, steps=60)
    assert scores[blind].mean() == pytest.approx(0.5, abs=0.08)
    gain = gain_of(scores, exam, mixed, blind)
    assert gain.low <= 0 <= gain.high
    assert gain_of(scores, exam, ("fusion", MIXED_IN), blind).low > 0


def test_a_masked_autoencoder_is_pretrained_on_every_arm(examine):
    scores, _ = examine("ssl", steps=3)
    arms = {arm for method, arm in scores if method == "probe"}
    assert arms == {
        *("real", "no pre-training", MIXED_IN, "generated alone", "generated as second view"),
        *("real + classic augmentation", NOISE, COLOUR),
    }


def test_a_second_view_is_a_generated_tile_of_the_same_class():
    labels = np.array([0, 1, 2, 0, 0, 1])
    empty = np.zeros((6, 1), dtype=np.float32)
    pool = Pool(empty, empty, empty[:, :0], labels, [{}] * 6, {})
    pairs = pair_up(pool, np.array([0, 1, 2]), np.array([3, 4, 5]), seed=0)
    assert pairs[0] in (3, 4) and pairs[1:].tolist() == [5, 2]  # no generated one of class 2


def test_a_small_resnet_is_trained_from_pixels(examine):
    scores, _ = examine("classification", MIXED_IN, COLOUR, finetune=True, steps=12)
    assert scores["resnet", MIXED_IN].mean() > 0.5
    assert ("resnet", COLOUR) not in scores


@pytest.mark.parametrize("task", ["retrieval", "vqa"])
def test_the_stage_writes_one_page_for_every_task(task, write_folder, encoder, config_of, tmp_path):
    real = write_folder(
        *("real", range(3 * 12)), split=lambda patient: "train" if patient < 4 else "heldout"
    )
    made = write_folder("made", range(3 * 60, 3 * 64))
    config = config_of(
        *(real, made), task=task, fractions=(1.0,), ratios=(1.0,), seeds=2, steps=3, visible=0.3
    )
    run(config, None, tmp_path / "out", encoder=encoder, find_copies=no_copies)
    results = Results.model_validate_json((tmp_path / "out" / "metrics.json").read_text())
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert page.faults == [] and results.primary in ("mrr", "closed")
    assert ("MedR" in page.text) == (task == "retrieval") and "ECE" in page.text
    real_row = next(row for row in results.rows if row.arm == "real")
    assert 0 < getattr(real_row, results.primary) <= 1 and real_row.accuracy is None
    assert any(line.startswith("Images shuffled") for line in results.tests) == (task == "vqa")
    assert any(line.startswith("made alone, test tiles") for line in results.tests)


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
    assert found.score.tolist() == [1, 0.75, 0.75]


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
    asked = [
        ask_of(row, organs=["colon", "lung"], labels=["x", "y"], counts=counts) for row in rows
    ]
    said = [{one.kind: one.answer for one in some} for some in asked]
    assert (said[0]["malignant"], said[1]["malignant"], said[2]["malignant"]) == ("yes", "no", "no")
    assert said[0]["organ"] == "colon"
    both = [(one.text, one.answer) for one in asked[0] if one.kind == "is organ"]
    assert both == [("Is this colon?", "yes"), ("Is this lung?", "no")]
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
    lines += [f"t{k}.png,Is this fat?,{'yes' if k % 3 == 0 else 'no'}" for k in range(REAL)]
    (tmp_path / "asked.csv").write_text("\n".join(lines) + "\n")
    scores, exam = examine("vqa", "real", questions=tmp_path / "asked.csv")
    assert len(exam.rows) == REAL - TRAIN
    assert {one.text for one in exam.items.closed} == {"Is this fat?"}
    assert scores["fusion", "real"].shape == (2, REAL - TRAIN)
