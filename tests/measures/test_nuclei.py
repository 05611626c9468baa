"""Masks found beside masks asked for, against naive loops and closed forms."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.controls.augment import Move, move_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN, NucleiMask, separate
from crafts.core.errors import DataError
from crafts.measures.nuclei import (
    aggregated_jaccard,
    class_dice,
    compare_masks,
    count_nuclei,
    dice,
    find_shift,
    match_nuclei,
)
from fixtures_controls import random_mask
from reference.nuclei import naive_dice, naive_jaccard, naive_panoptic

SMALL = (40, 48)


def labels(seed: int, count: int) -> np.ndarray:
    found = random_mask(seed, SMALL, count).instances
    assert found is not None
    return found


def as_mask(ids: np.ndarray) -> NucleiMask:
    return NucleiMask(np.where(ids > 0, UNKNOWN, 0).astype(np.uint8), ids)


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(0, 6), st.integers(1, 6), st.integers(0, 4))
def test_nuclei_are_matched_as_published(seed: int, first: int, second: int, shift: int) -> None:
    asked = labels(seed, second)
    found = np.maximum(np.roll(asked, shift, axis=1), labels(seed + 1, first) * 7)
    matches = match_nuclei(found, asked)
    f1 = matches.matched / (matches.matched + (matches.only_found + matches.only_asked) / 2)
    quality = matches.overlap / matches.matched if matches.matched else 0.0
    expected = naive_panoptic(found, asked)
    assert f1 == pytest.approx(expected["f1"])
    assert quality == pytest.approx(expected["segmentation_quality"])
    assert aggregated_jaccard(found, asked) == pytest.approx(naive_jaccard(found, asked))
    assert dice(found > 0, asked > 0) == pytest.approx(naive_dice(found, asked))
    scores = compare_masks([as_mask(asked)], [as_mask(found)])
    assert scores.panoptic_quality == pytest.approx(expected["panoptic_quality"])


def test_a_mask_agrees_with_itself() -> None:
    masks = [random_mask(seed, count=10 + 3 * seed) for seed in range(3)]
    scores = compare_masks(masks, masks)
    assert scores.dice == scores.f1 == scores.aji == scores.panoptic_quality == 1
    assert scores.count_correlation == pytest.approx(1) and scores.count_ratio == 1
    assert set(scores.class_dice.values()) == {1.0}
    assert "unknown" not in scores.class_dice


def test_what_nothing_was_asked_of_is_counted_apart() -> None:
    full = random_mask(1, SMALL, 5)
    empty = NucleiMask(np.zeros(SMALL, np.uint8), np.zeros(SMALL, np.int32))
    scores = compare_masks([full, empty], [full, full])
    assert scores.dice == 1 and scores.empty == 1
    assert scores.false_share == pytest.approx((full.classes > 0).mean())
    assert scores.count_ratio == 2 and scores.count_correlation is None
    nothing = compare_masks([empty], [empty])
    assert nothing.dice is None and nothing.f1 is None and nothing.false_share == 0
    assert aggregated_jaccard(empty.instances, empty.instances) == 1
    assert aggregated_jaccard(full.instances, empty.instances) == 0


def test_masks_of_classes_have_counts_and_no_instances() -> None:
    mask = random_mask(3, count=12)
    of_classes = replace(mask, instances=None)
    scores = compare_masks([of_classes], [mask])
    assert scores.f1 is None and scores.aji is None and scores.dice == 1
    assert count_nuclei(of_classes) == separate(of_classes).num_nuclei


def classes_mask(*names: str) -> NucleiMask:
    """A row of ten pixels for each class."""
    rows = [[CLASSES.index(name)] * 10 for name in names]
    return NucleiMask(np.array(rows, np.uint8))


def test_a_class_takes_in_those_that_belong_to_it() -> None:
    asked = classes_mask("lymphocyte", "inflammatory", "neoplastic", "unknown", "background")
    found = classes_mask("plasma", "lymphocyte", "epithelial", "lymphocyte", "lymphocyte")
    scores = class_dice([asked], [found])
    # asked for as inflammatory or unknown: no fault of the lymphocyte; on background it is one
    assert scores["lymphocyte"] == 0
    assert scores["inflammatory"] == pytest.approx(2 * 20 / (20 + 30))
    assert scores["epithelial"] == 1 and scores["neoplastic"] == 0
    assert class_dice([asked], [found], classes=["epithelial"]).keys() == {"epithelial"}
    assert class_dice([classes_mask("unknown")], [classes_mask("plasma")]) == {}


@pytest.mark.parametrize(("right", "down"), [(0, 0), (16, 0), (-7, 12)])
def test_a_shift_is_found(right: int, down: int) -> None:
    mask = random_mask(2, (128, 160), 30)
    moved = move_mask(mask, Move(20, 20, 80, 100)).classes > 0
    asked = move_mask(mask, Move(20 + down, 20 + right, 80, 100)).classes > 0
    assert find_shift(asked, moved) == (right, down)


def test_a_shift_that_cannot_be_told_is_refused() -> None:
    mask = np.zeros((48, 80), bool)
    mask[10:16, 10:16] = True
    with pytest.raises(DataError, match="32 px for masks of 48 x 80 px; expected .* 23 px"):
        find_shift(mask, mask)
    assert find_shift(mask, np.roll(mask, 20, axis=1), reach=23) == (20, 0)


def test_many_nuclei_take_memory_as_their_number_not_as_its_square() -> None:
    side = np.arange(400)
    cells = (side // 5)[:, None] * 80 + side // 5 + 1
    asked = np.where((side % 5 < 3)[:, None] & (side % 5 < 3), cells, 0).astype(np.int32)
    tracemalloc.start()
    matches = match_nuclei(asked, asked)
    assert aggregated_jaccard(asked, asked) == 1 and matches.matched == 6400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6400**2  # a byte for each pair of all with all


def test_masks_that_do_not_belong_together_are_refused() -> None:
    mask = random_mask(1, SMALL, 3)
    with pytest.raises(DataError, match="0 asked for, 1 found"):
        compare_masks([], [mask])
    with pytest.raises(DataError, match="one size"):
        compare_masks([mask], [random_mask(1, (41, 48), 3)])
