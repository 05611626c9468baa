"""Edits do what they say, by the amount they are given, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.controls.layouts import measure_nuclei
from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.controls.synthesis.edit import (
    change_density,
    larger_nuclei,
    more_lymphocytes,
    remove,
    shift,
)
from crafts.core.errors import ConfigError
from fixtures_controls import random_mask

LYMPHOCYTE = CLASSES.index("lymphocyte")
EMPTY = NucleiMask(np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.int32))


@pytest.fixture
def mask() -> NucleiMask:
    return random_mask(0, (200, 200), 40, mpp=0.5)


EDITS = {
    "more_lymphocytes": lambda mask, seed: more_lymphocytes(mask, 0.5, seed=seed),
    "change_density": lambda mask, seed: change_density(mask, 1.5, seed=seed),
    "fewer": lambda mask, seed: change_density(mask, 0.5, seed=seed),
    "larger_nuclei": lambda mask, seed: larger_nuclei(mask, 1.5, seed=seed),
    "remove": lambda mask, seed: remove(mask, 0.5, seed=seed),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edits_are_functions_of_mask_and_seed_and_leave_the_mask_alone(mask, edit):
    before = (mask.instances.copy(), mask.classes.copy())
    one, same, other = (EDITS[edit](mask, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.instances, same.instances)
    assert np.array_equal(one.classes, same.classes)
    assert edit == "larger_nuclei" or not np.array_equal(one.instances, other.instances)
    assert np.array_equal(mask.instances, before[0]) and np.array_equal(mask.classes, before[1])
    assert one.mpp == mask.mpp
    assert EDITS[edit](EMPTY, 0).num_nuclei == 0
    assert EDITS[edit](NucleiMask(mask.classes), 0).instances is not None


def test_lymphocytes_are_added_and_the_others_stay(mask):
    found = more_lymphocytes(mask, 0.5, seed=0)
    table, before = measure_nuclei(found), measure_nuclei(mask)
    added = (table.classes == LYMPHOCYTE).sum() - (before.classes == LYMPHOCYTE).sum()
    assert added + found.skipped.get("found no place", 0) == 20 and added >= 18
    assert np.array_equal(found.instances[mask.instances > 0], mask.instances[mask.instances > 0])
    assert np.array_equal(found.classes[mask.classes > 0], mask.classes[mask.classes > 0])
    new = table.areas[~np.isin(table.numbers, before.numbers)]
    own = before.areas[(before.classes == LYMPHOCYTE) & before.whole]
    assert np.median(new) == pytest.approx(np.median(own), rel=0.3)


def test_lymphocytes_have_their_usual_size_where_none_were():
    classes = np.zeros((100, 100), np.uint8)
    classes[10:40, 10:40] = CLASSES.index("neoplastic")
    for mpp, area in ((0.5, 120), (None, 360)):
        found = more_lymphocytes(NucleiMask(classes, mpp=mpp), 4, seed=0)
        table = measure_nuclei(found)
        new = table.areas[table.classes == LYMPHOCYTE]
        assert len(new) == 4 and new.mean() == pytest.approx(area, rel=0.35)


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 1.0, 1.5])
def test_density_changes_by_the_factor(mask, factor):
    found = change_density(mask, factor, seed=0)
    lost = found.skipped.get("found no place", 0)
    assert abs(found.num_nuclei + lost - round(40 * factor)) <= 3
    assert lost <= 3
    if factor > 1:
        assert np.array_equal(found.classes[mask.classes > 0], mask.classes[mask.classes > 0])
        areas = [np.median(measure_nuclei(m).areas) for m in (mask, found)]
        assert areas[1] == pytest.approx(areas[0], rel=0.15)


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_areas_change_by_the_factor_and_no_nucleus_goes(mask, factor):
    found = larger_nuclei(mask, factor, seed=0)
    assert found.num_nuclei == 40
    was, now = (np.bincount(m.instances.ravel())[1:] for m in (mask, found))
    assert np.median(now / was) == pytest.approx(factor, rel=0.15)
    for number in range(1, 41):
        kinds = set(found.classes[found.instances == number])
        assert kinds == set(mask.classes[mask.instances == number])
    if factor == 1:
        assert np.array_equal(found.instances, mask.instances)
    if factor > 1:
        assert np.array_equal(
            found.instances[mask.instances > 0], mask.instances[mask.instances > 0]
        )


def test_a_shift_moves_every_nucleus_by_so_many_pixels(mask):
    found = shift(mask, (16, -5))
    assert np.array_equal(found.instances[:-5, 16:], mask.instances[5:, :-16])
    assert np.array_equal(found.classes[:-5, 16:], mask.classes[5:, :-16])
    assert not found.classes[-5:].any() and not found.classes[:, :16].any()
    assert np.array_equal(shift(mask, (0, 0)).classes, mask.classes)
    assert shift(mask, (500, 0)).num_nuclei == 0
    assert shift(NucleiMask(mask.classes), (3, 3)).instances is None


def test_nuclei_of_one_class_can_be_left_out(mask):
    counts = np.bincount(measure_nuclei(mask).classes, minlength=11)
    found = remove(mask, 1.0, seed=0, of="lymphocyte")
    assert found.num_nuclei == 40 - counts[LYMPHOCYTE]
    assert not (found.classes == LYMPHOCYTE).any()
    kept = found.instances > 0
    assert np.array_equal(found.instances[kept], mask.instances[kept])


def test_amounts_out_of_range_are_refused(mask):
    for call in (
        lambda: more_lymphocytes(mask, -0.1, seed=0),
        lambda: change_density(mask, 5, seed=0),
        lambda: larger_nuclei(mask, 0, seed=0),
        lambda: larger_nuclei(mask, float("nan"), seed=0),
        lambda: remove(mask, 1.5, seed=0),
        lambda: remove(mask, 0.5, seed=0, of="zebra"),
        lambda: shift(mask, (0.5, 1)),
    ):
        with pytest.raises(ConfigError, match="expected"):
            call()
