"""Views change words, labels or splits; number, order and strata of the rows stay."""

from __future__ import annotations

import pytest

from crafts.core.errors import ConfigError
from crafts.experiments.corpus.views import LEFT_OUT, Wishes, view_rows
from crafts.testing import count_words

WISHES = Wishes(0.25, 0.3, ("fat",), count_words)
LABELS = ("glands", "stroma", "lymphocytes", "fat")


def rows(number: int = 400) -> list[dict]:
    return [
        {
            "key": f"k{i}",
            "set": "painted",
            "patient": f"p{i // 8}",
            "label": LABELS[i % 4],
            "lymphocytes": "few",
            "text": f"{LABELS[i % 4]} of tile {i} in a caption",
            "captions": [f"{LABELS[i % 4]} of tile {i} in a caption"],
            "split": "heldout" if i % 10 == 9 else "train",
        }
        for i in range(number)
    ]


@pytest.mark.parametrize(
    "view",
    ["clean", "seen", "flipped", "figures", "summary:20", "whole:20", "without:", "without:stain"],
)
def test_rows_keep_their_place_and_stratum(view):
    given = rows(40)
    found = view_rows(view, given, WISHES)
    assert [row["key"] for row in found] == [row["key"] for row in given]
    assert [row["stratum"] for row in found] == [row["label"] for row in given]
    assert view_rows(view, given, WISHES) == found
    assert given == rows(40)


def test_flipped_rows_carry_label_and_words_of_another_class():
    found = view_rows("flipped", rows(), WISHES)
    training = [row for row in found if row["split"] == "train"]
    flipped = [row for row in training if row["label"] != row["stratum"]]
    assert len(flipped) / len(training) == pytest.approx(0.25, abs=0.06)
    assert all(row["text"].startswith(row["label"]) for row in found)
    assert all(row["label"] == row["stratum"] for row in found if row["split"] != "train")


def test_classes_left_out_do_not_train():
    found = view_rows("seen", rows(), WISHES)
    assert {row["label"] for row in found if row["split"] == "train"} == set(LABELS) - {"fat"}
    assert all(row["split"] == LEFT_OUT for row in found if row["label"] == "fat")


def test_a_class_left_out_takes_its_finer_classes_along():
    given = rows(8)
    given[0]["label"], given[1]["label"] = "fat necrosis", "fatty"
    found = view_rows("seen", given, WISHES)
    assert [row["split"] == LEFT_OUT for row in found[:4]] == [True, False, False, True]


def test_flipping_changes_label_and_words_of_training_rows_and_nothing_else():
    for old, new in zip(rows(), view_rows("flipped", rows(), WISHES), strict=True):
        changed = {name for name in old if new[name] != old[name]}
        assert changed <= {"label", "text", "captions"}
        assert not changed or new["split"] == "train"


def test_figures_are_partly_wrong():
    found = view_rows("figures", rows(), WISHES)
    wrong = sum(row["label"] != row["stratum"] for row in found) / len(found)
    assert wrong == pytest.approx(0.3 * 0.75, abs=0.06)
    assert all(row["text"] != old["text"] or len(row["text"]) < 60
               for row, old in zip(found, rows(), strict=True))  # fmt: skip


def test_an_unknown_view_is_refused():
    with pytest.raises(ConfigError, match="experiment: view: 'upside-down'; expected clean, seen"):
        view_rows("upside-down", rows(), WISHES)
