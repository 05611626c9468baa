"""Rows: equal numbers, floors below, the baseline, what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.evaluation.compare import (
    Repetitions,
    compare,
    compare_scopes,
    compute_measures,
    generations_of,
    mean_and_spread,
    missing_classes,
)
from crafts.evaluation.results import Measured
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.sets.described import Sets, describe
from crafts.sets.draws import Sides
from crafts.sets.splits import halve


def build(generated, heldout, train=None, *, repetitions=3, matched=True, most=5000):
    made, held = describe(generated, {}), describe(heldout, {})
    seen = describe(train, {}) if train else None
    index = np.empty(0, dtype=np.int64)
    if train:
        index = nearest(unit_rows(generated.features), unit_rows(train.features)).index
    halves = [halve(held.groups, held.classes, k) for k in range(repetitions)]
    rows = np.arange(len(made))
    sides = Sides([rows] * repetitions, halves, np.arange(len(seen)) if seen else None)
    return Sets(made, held, seen, index), Repetitions(sides, matched, "halvings", most, seed=0)


def test_three_rows_and_the_baseline_with_one_number_of_images(make_set):
    sets, plan = build(
        make_set(60, seed=1, prefix="g", shift=1.0),
        make_set(160, seed=2, patients=20, prefix="h"),
        make_set(200, seed=3, patients=20, prefix="t"),
    )
    found = compare(sets, plan)
    rows = {row.key: row for row in found.rows}
    assert list(rows) == ["heldout", "floor", "nearest", "train", "heldout_train"]
    assert {row.n for row in found.rows} == {60} and rows["floor"].groups == 10
    far = rows["heldout"].measures["kernel_distance"]
    floor = rows["floor"].measures["kernel_distance"]
    assert far.value > 10 * abs(floor.value) and far.kind == "halvings"
    assert rows["nearest"].measures["kernel_distance"].value < far.value / 2
    assert abs(rows["heldout_train"].measures["kernel_distance"].value) < far.value / 10
    assert (
        rows["floor"].measures["precision_k5"].value
        > rows["heldout"].measures["precision_k5"].value
    )
    assert compare(sets, plan).rows == found.rows, "the same seed, the same numbers"


def test_without_training_there_are_two_rows(make_set):
    sets, plan = build(make_set(30, prefix="g"), make_set(80, patients=8, seed=1))
    assert [row.key for row in compare(sets, plan).rows] == ["heldout", "floor"]


def test_the_frechet_distance_needs_twice_the_width(make_set):
    held = make_set(160, patients=20, seed=1)
    for count, there in ((30, False), (32, True)):
        sets, plan = build(make_set(count, prefix="g"), held)
        measured = compare(sets, plan).rows[0].measures["frechet_distance"]
        assert (measured.value is not None) is there
        assert ("fewer than 2 times the width of the features (16)" in measured.why) is not there


def test_a_class_of_one_patient_is_left_out_and_named(make_set):
    held = make_set(90, labels="abc", patients=9, seed=1)
    rows = [{**row, "patient": "only"} if row["label"] == "c" else row for row in held.rows]
    sets, plan = build(make_set(60, labels="abc", prefix="g"), replace(held, rows=tuple(rows)))
    found = compare(sets, plan)
    left = missing_classes(sets, plan, found.numbers)
    assert set(found.numbers) == {"a", "b"} and list(left) == ["c"]
    assert left["c"].startswith("20 generated, ") and " 0 in the halves" in left["c"]
    scoped, why = compare_scopes(sets, plan)
    assert {(row.scope, row.name) for row in scoped} == {("class", "a"), ("class", "b")}
    assert list(why) == ["class: c"]


def test_slices_are_compared_where_both_sides_know_them(make_set):
    def two_powers(found):
        rows = [{**row, "power": ("low", "high")[k % 2]} for k, row in enumerate(found.rows)]
        return replace(found, rows=tuple(rows))

    held = two_powers(make_set(160, labels="a", patients=10, seed=1))
    sets, plan = build(two_powers(make_set(60, labels="a", prefix="g")), held)
    rows, _ = compare_scopes(sets, plan)
    assert {(r.scope, r.name) for r in rows} >= {("power", "low"), ("power", "high")}


def test_the_mix_of_classes_of_the_generated_tiles_rules_all_sides(make_set):
    held = make_set(120, labels="aaab", patients=10, seed=1)
    sets, plan = build(make_set(40, labels="ab", prefix="g"), held)
    found = compare(sets, plan)
    assert found.numbers["a"] == 20 and found.numbers["b"] == found.n - 20
    assert compare(sets, replace(plan, matched=False)).numbers == {"": 40}
    assert compare(sets, replace(plan, most=20)).n <= 20


def test_too_few_images_are_refused(make_set):
    sets, plan = build(make_set(9, prefix="g"), make_set(80, patients=8))
    with pytest.raises(DataError, match="9 images that every side has.*at least 10 generated"):
        compare(sets, plan)


def test_means_and_spreads_are_those_of_numpy_and_a_missing_value_stays_missing():
    each = [{"x": Measured(value=value), "y": Measured(value=1.0)} for value in (1.0, 2.0, 4.0)]
    each[1] = {**each[1], "y": Measured(why="too few")}
    found = mean_and_spread(each, "generations")
    assert found["x"].value == pytest.approx(7 / 3)
    assert found["x"].spread == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert (found["y"].value, found["y"].why) == (None, "too few")


def test_equal_sets_have_distance_zero_and_full_coverage():
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    found = compute_measures(rows, rows.copy(), seed=0)
    assert found["frechet_distance"].value == pytest.approx(0, abs=1e-6)
    assert found["cmmd"].value == pytest.approx(0, abs=1e-9)
    assert found["coverage_k5"].value == found["precision_k3"].value == 1
    assert found["vendi"].value == pytest.approx(found["vendi_reference"].value)


def test_every_generation_has_its_own_numbers(make_set):
    sets, plan = build(make_set(60, prefix="g"), make_set(160, patients=8, seed=1), repetitions=2)
    assert generations_of(plan, compare(sets, plan)) == []
    plan = replace(plan, kind="generations", names=("0", "1"))
    found = generations_of(plan, compare(sets, plan))
    assert [one.name for one in found] == ["0", "1"] and found[0].n == 60
