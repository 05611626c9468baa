"""Paired change of the kernel distance: against a plain computation, and its error rate."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.measures.change import kernel_change, kernel_floor
from crafts.measures.distances import kernel_distance


def _rows(rng, number, shift=0.0, width=16):
    rows = rng.normal(size=(number, width))
    rows[:, 0] += shift
    return rows


def test_distances_are_those_of_the_kernel_distance_of_unit_rows():
    rng = np.random.default_rng(0)
    real, before, after = _rows(rng, 20), _rows(rng, 20, 3.0), _rows(rng, 20, 0.5)
    found = kernel_change(real, before, after)
    for rows, value in ((before, found.before), (after, found.after)):
        unit = [4.0 * part / np.linalg.norm(part, axis=1, keepdims=True) for part in (real, rows)]
        assert value == pytest.approx(kernel_distance(*unit, num_subsets=1)[0], rel=1e-9)
    assert kernel_floor(real, after) == pytest.approx(found.after)


def test_what_came_nearer_is_found_and_what_went_away_too():
    rng = np.random.default_rng(1)
    real, far, near = _rows(rng, 12), _rows(rng, 24, 4.0), _rows(rng, 24)
    found = kernel_change(real, far, near)
    assert found.after < found.before and found.nearer < 0.01 and found.steady
    back = kernel_change(real, near, far)
    assert back.farther < 0.01 and back.nearer > 0.9 and back.steady
    assert back.before == pytest.approx(found.after)


def test_sets_drawn_alike_are_called_changed_about_as_often_as_said():
    rng = np.random.default_rng(2)
    called = 0
    for _ in range(200):
        real, one, two = _rows(rng, 10), _rows(rng, 12, 1.0), _rows(rng, 12, 1.0)
        called += kernel_change(real, one, two, num_swaps=199).nearer <= 0.05
    assert 1 <= called <= 24  # 10 expected; both ends are beyond four deviations


def test_a_change_that_hangs_on_one_patient_is_not_steady():
    rng = np.random.default_rng(3)
    odd = _rows(rng, 6, 8.0)
    real = np.concatenate([_rows(rng, 6), odd])
    before, after = _rows(rng, 16), _rows(rng, 16, 8.0)
    groups = [f"p{i}" for i in range(6)] + ["odd"] * 6
    assert not kernel_change(real, before, after, groups=groups).steady


def test_sets_of_other_sizes_are_refused():
    rng = np.random.default_rng(4)
    with pytest.raises(DataError, match="as many of both"):
        kernel_change(_rows(rng, 5), _rows(rng, 5), _rows(rng, 6))
