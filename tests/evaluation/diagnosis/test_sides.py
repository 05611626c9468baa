"""Class agreement against loops and sets that are known."""

import numpy as np
import pytest

from crafts.evaluation.diagnosis.sides import (
    class_directions,
    compare_classes,
    scores_without_own,
    shares,
)

NAMES = ["a", "b", "c"]


def make(seed=0, num=90):
    rng = np.random.default_rng(seed)
    labels = np.array(NAMES)[np.arange(num) % 3]
    groups = np.array([f"{label}{k % 4}" for label, k in zip(labels, range(num), strict=True)])
    centres = dict(zip(NAMES, rng.standard_normal((3, 6)), strict=True))
    rows = np.stack([centres[label] for label in labels]) + rng.standard_normal((num, 6))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels, groups


def test_directions_without_the_own_group_are_those_of_a_naive_loop():
    rows, labels, groups = make()
    found = scores_without_own(rows, labels, groups, NAMES)
    for k in range(len(rows)):
        keep = groups != groups[k]
        expected = rows[k] @ class_directions(rows[keep], labels[keep], NAMES).T
        assert found[k] == pytest.approx(expected)


def test_a_class_of_one_group_keeps_its_own_tiles():
    rows, labels, groups = make()
    groups[labels == "a"] = "only"
    assert np.isfinite(scores_without_own(rows, labels, groups, NAMES)).all()


def test_shares_count_each_class_by_itself():
    scores = np.eye(3)[[0, 0, 1, 1, 2, 2, 0]]
    labels = np.array(["a", "a", "a", "b", "b", "c", "c"])
    found = shares(scores, labels, NAMES)
    assert found == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]))


def test_drops_and_what_is_shown_instead():
    before, after = np.eye(3), np.array([[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]])
    drops, shown = compare_classes(before, after, NAMES)
    assert drops == pytest.approx({"a": 0.75, "b": 0, "c": 0})
    assert shown["a"] == pytest.approx({"b": 0.75, "c": 0})
    assert shown["b"] == pytest.approx({"a": 0, "c": 0})
