"""Rows against statistics: what mean and covariance allow, what kept features add, what is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.evaluation.compare import Repetitions, compute_measures
from crafts.evaluation.reference import compare_with_statistics, measures_against
from crafts.measures.distances import frechet_distance, frechet_infinity
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.measures.statistics import compute_statistics
from crafts.sets.described import Sets, describe
from crafts.sets.draws import Sides


@pytest.fixture
def real(make_set):
    return make_set(90, seed=7, patients=9, split="heldout")


def _plan(rows, train=None, *, kind="none", most=500):
    return Repetitions(Sides(rows, [], train), False, kind, most, seed=0)


def _sets(make_set, number=80, train=None):
    made = make_set(number, prefix="g", seed=1, shift=0.5)
    index = np.empty(0, np.int64)
    if train is not None:
        index = nearest(unit_rows(made.features), unit_rows(train.features)).index
    nothing = replace(made, features=made.features[:0], rows=(), texts=None)
    sides = (describe(one, {}) if one is not None else None for one in (made, nothing, train))
    return Sets(*sides, index)


def test_every_measure_has_the_names_of_a_comparison_of_folders(make_set, real):
    made = make_set(80, seed=1)
    names = set(compute_measures(real.features[:80], made.features, seed=0))
    for kept in (0, 60):
        found = measures_against(compute_statistics(real, num_kept=kept), made.features, seed=0)
        assert set(found) == names
        assert all((one.value is None) == bool(one.why) for one in found.values())


def test_mean_and_covariance_give_the_frechet_distances_of_the_features(make_set, real):
    made = make_set(80, seed=1, shift=0.5)
    found = measures_against(compute_statistics(real), made.features, seed=3)
    expected = frechet_distance(real.features, made.features)
    assert found["frechet_distance"].value == pytest.approx(expected, rel=1e-6)
    expected = frechet_infinity(real.features, made.features, seed=3)
    assert found["frechet_infinity"].value == pytest.approx(expected, rel=1e-6)
    assert found["vendi"].value > 1
    left = {name for name, one in found.items() if one.value is None}
    assert {"frechet_normalised", "kernel_distance", "cmmd", "recall_k5", "vendi_reference"} <= left
    assert "keep 0 features" in found["cmmd"].why


def test_kept_features_are_compared_with_as_many_tiles(make_set, real):
    made, statistics = make_set(40, seed=1), compute_statistics(real, num_kept=40)
    found = measures_against(statistics, made.features, seed=0)
    expected = compute_measures(statistics.sample, made.features, seed=0)
    for name in ("kernel_distance", "recall_k3", "vendi", "vendi_reference"):
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-6)
    # all kept features on both sides: nothing is left to the draw
    same = measures_against(compute_statistics(real, num_kept=90), real.features, seed=0)
    assert same["precision_k3"].value == 1 and same["cmmd"].value == pytest.approx(0, abs=1e-9)


def test_small_sets_have_no_frechet_distance(make_set, real):
    few = measures_against(compute_statistics(real), make_set(31, seed=1).features, seed=0)
    assert (
        "31 images, fewer than 2 times the width of the features (16)"
        in few["frechet_distance"].why
    )
    small = replace(compute_statistics(real), num_images=20)
    found = measures_against(small, make_set(80, seed=1).features, seed=0)
    assert "statistics of 20 images" in found["frechet_distance"].why
    unknown = replace(small, num_images=None)
    assert measures_against(unknown, make_set(80, seed=1).features, seed=0)[
        "frechet_distance"
    ].value


def test_rows_have_one_number_and_training_tiles_stand_in_for_the_floor(make_set, real):
    train = make_set(70, prefix="t", seed=5, patients=7)
    sets, every = _sets(make_set, train=train), np.arange(80)
    plan = _plan([every], np.arange(70))
    found = compare_with_statistics(sets, compute_statistics(real, num_kept=50), plan)
    assert [row.key for row in found.rows] == ["heldout", "nearest", "train", "heldout_train"]
    assert {row.n for row in found.rows} == {found.n} == {70}
    values = {row.key: row.measures["frechet_distance"] for row in found.rows}
    assert values["heldout_train"].value < values["heldout"].value, "real against real is nearer"
    assert all(one.kind == "none" and one.spread is None for one in values.values())
    assert set(found.rows[3].measures) == {"frechet_distance", "kernel_distance", "cmmd"}
    assert found.rows[0].title == "generated vs statistics of held-out tiles"


def test_generations_have_a_spread(make_set, real):
    plan = _plan([np.arange(k, k + 40) for k in range(5)], kind="generations")
    found = compare_with_statistics(_sets(make_set), compute_statistics(real), plan)
    measured = found.rows[0].measures["frechet_distance"]
    assert measured.kind == "generations" and measured.spread > 0 and len(found.each) == 5


def test_few_images_are_refused(make_set, real):
    with pytest.raises(DataError, match="9 images on a side; expected at least 10 generated"):
        compare_with_statistics(_sets(make_set, 9), compute_statistics(real), _plan([np.arange(9)]))
