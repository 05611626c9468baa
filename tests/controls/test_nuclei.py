"""The record refuses what is no mask; vocabulary and tables fit; nuclei come out of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crafts.controls.nuclei import (
    CLASSES,
    PARENTS,
    TABLES,
    NucleiMask,
    connected_nuclei,
    edge_distance,
    find_edges,
    label_classes,
    resolve_table,
    separate,
)
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask


def test_every_table_and_parent_names_classes_that_exist():
    assert CLASSES[0] == "background" and CLASSES[-1] == "unknown"
    assert {name for table in TABLES.values() for name in table.values()} <= set(CLASSES)
    assert set(PARENTS) | set(PARENTS.values()) <= set(CLASSES)
    assert resolve_table("lizard")["3"] == CLASSES.index("lymphocyte")


def test_labels_become_classes_and_unknown_labels_are_refused():
    labels = np.array([[0, 1], [3, 3]], np.uint16)
    assert label_classes(labels, "lizard", where="x").tolist() == [
        [0, CLASSES.index("neutrophil")],
        [CLASSES.index("lymphocyte")] * 2,
    ]
    with pytest.raises(DataError, match="label 9; expected labels of the table"):
        label_classes(np.array([[9]]), "lizard", where="x")
    with pytest.raises(ConfigError, match="expected one of crafts, lizard"):
        resolve_table("nothing")
    with pytest.raises(ConfigError, match="'cat'; expected one of background"):
        resolve_table({"1": "cat"})


@pytest.mark.parametrize(
    ("classes", "instances", "reason"),
    [
        (np.zeros((2, 2), np.int64), None, "int64"),
        (np.zeros((0, 2), np.uint8), None, r"shape \(0, 2\)"),
        (np.zeros((2, 2, 3), np.uint8), None, "shape"),
        (np.full((2, 2), 11, np.uint8), None, "class number 11"),
        (np.zeros((2, 2), np.uint8), np.ones((2, 2), np.int32), "do not cover"),
        (np.ones((2, 2), np.uint8), np.ones((2, 3), np.int32), "do not cover"),
        (np.ones((2, 2), np.uint8), np.full((2, 2), -1, np.int32), "the number -1"),
        (np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint16), "uint16"),
    ],
)
def test_what_is_no_mask_is_refused(classes, instances, reason):
    with pytest.raises(DataError, match=reason):
        NucleiMask(classes, instances)


def test_an_empty_field_is_a_mask():
    empty = NucleiMask(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int32))
    assert empty.num_nuclei == 0
    assert separate(NucleiMask(empty.classes)).num_nuclei == 0


def test_a_field_of_one_nucleus_is_a_mask():
    full = separate(NucleiMask(np.ones((4, 4), np.uint8)))
    assert full.num_nuclei == 1
    assert (edge_distance(full.instances) > 0).all()


def test_edges_and_distances_are_those_of_a_slow_loop():
    mask = random_mask(1, (40, 40), 8)
    ids = mask.instances
    distance, edges = edge_distance(ids), find_edges(ids)
    for y, x in np.argwhere(ids > 0):
        near = [
            ids[b, a]
            for b, a in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= b < 40 and 0 <= a < 40
        ]
        assert edges[y, x] == any(value != ids[y, x] for value in near)
        others = np.argwhere(ids != ids[y, x])
        assert abs(distance[y, x] - np.hypot(*(others - (y, x)).T).min()) <= 1.0
    assert not distance[ids == 0].any() and not edges[ids == 0].any()


def test_two_discs_that_touch_are_cut_and_one_disc_is_not():
    y, x = np.mgrid[:60, :90]
    left, right = np.hypot(y - 30, x - 25) < 15, np.hypot(y - 30, x - 52) < 14
    mask = NucleiMask((left | right).astype(np.uint8))
    assert connected_nuclei(mask.classes).max() == 1
    found = separate(mask)
    assert found.num_nuclei == 2
    for disc in (left & ~right, right & ~left):
        assert np.bincount(found.instances[disc]).max() / disc.sum() > 0.95
    assert separate(NucleiMask(left.astype(np.uint8))).num_nuclei == 1
    assert separate(mask, neck=0).num_nuclei == 1


def test_nuclei_of_two_classes_that_touch_are_two():
    classes = np.zeros((10, 10), np.uint8)
    classes[2:8, 2:5], classes[2:8, 5:8] = 1, 4
    found = separate(NucleiMask(classes))
    assert found.num_nuclei == 2
    assert all(len(np.unique(found.classes[found.instances == n])) == 1 for n in (1, 2))


def test_separating_real_masks_finds_more_nuclei_than_connected_parts(real):
    from crafts.controls.masks import load_mask

    path = sorted((real / "monuseg_NC" / "instance_labels").glob("*.png"))[0]
    truth = load_mask(path)
    parts = connected_nuclei(truth.classes)
    cut = separate(replace(truth, instances=None)).instances

    def f1(found: np.ndarray) -> float:
        pairs, counts = np.unique(
            truth.instances.astype(np.int64) * 100_000 + found, return_counts=True
        )
        mine, theirs = np.bincount(truth.instances.ravel()), np.bincount(found.ravel())
        hits = sum(
            bool(pair // 100_000)
            and bool(pair % 100_000)
            and n / (mine[pair // 100_000] + theirs[pair % 100_000] - n) > 0.5
            for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True)
        )
        return 2 * hits / ((mine[1:] > 0).sum() + (theirs[1:] > 0).sum())

    assert f1(cut) > f1(parts) + 0.03
    assert f1(cut) > 0.85
