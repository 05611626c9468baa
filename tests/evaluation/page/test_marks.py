"""Marks: loud where numbers would mislead, silent where all is well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crafts.evaluation.page.marks import find_marks
from crafts.evaluation.results import Results
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.sets.described import PromptSource, Sets, describe
from fixtures_sets import sized

GOOD = Results(
    lead="frechet_distance", n=500, width=16, seed=0, repetitions=5, repetition="generations",
    matching="class", encoder={}, sets=[], rows=[],
    prompts=PromptSource(heldout=40, checked=True),
)  # fmt: skip


@pytest.fixture
def sets(make_set):
    def build(made=None, held=None, train=None):
        made = make_set(40, prefix="g", seed=1, generation="x") if made is None else made
        held = make_set(80, patients=12, prefix="h", seed=2) if held is None else held
        train = make_set(80, patients=12, prefix="t", seed=3) if train is None else train
        index = nearest(unit_rows(made.features), unit_rows(train.features)).index
        return Sets(*(describe(one, {}) for one in (made, held, train)), index)

    return build


def codes(results, sets, number=5):
    return {mark.code: mark for mark in find_marks(results, sets, num_generations=number)}


def test_a_sound_comparison_has_no_mark(sets):
    assert codes(GOOD, sets()) == {}


def test_training_prompts_are_marked_loudly_and_first(sets):
    source = PromptSource(heldout=1, both=4, train=35, checked=True)
    marks = find_marks(GOOD.model_copy(update={"prompts": source}), sets(), num_generations=5)
    assert [(mark.code, mark.loud) for mark in marks] == [
        ("training_prompts", True), ("shared_prompts", False),
    ]  # fmt: skip
    assert "35 of 40 prompts are captions of training tiles" in marks[0].text


@pytest.mark.parametrize(
    ("changes", "code", "loud"),
    [
        ({"prompts": PromptSource(neither=40)}, "prompts_not_checked", True),
        ({"prompts": PromptSource(empty=40, checked=True)}, "no_prompts", True),
        ({"prompts": PromptSource(empty=1, heldout=39, checked=True)}, "no_prompts", False),
        ({"lead": "kernel_distance"}, "few_images", False),
        ({"repetition": "halvings"}, "no_generations", False),
        ({"left_out": {"fat": "1 patient"}}, "classes_left_out", False),
    ],
)
def test_each_weakness_has_its_mark(sets, changes, code, loud):
    found = codes(GOOD.model_copy(update=changes), sets())
    assert {name: mark.loud for name, mark in found.items()} == {code: loud}


def test_sets_without_patients_are_marked(sets, make_set):
    assert codes(GOOD, sets(held=make_set(80, prefix="h")))["no_groups"].loud
    assert codes(GOOD, sets(train=make_set(80, prefix="t")))["train_groups_unknown"].loud
    few = codes(GOOD, sets(held=make_set(80, patients=9, prefix="h")))
    assert "from 9 patients" in few["few_groups"].text


def test_real_files_among_the_generated_are_marked(sets, make_set):
    train = make_set(80, patients=12, prefix="t", seed=3)
    made = make_set(40, prefix="g", seed=1, generation="x")
    rows = [{**row, "sha256": train.rows[k]["sha256"]} for k, row in enumerate(made.rows[:3])]
    found = codes(GOOD, sets(made=replace(made, rows=(*rows, *made.rows[3:])), train=train))
    assert found["same_files_train"].loud and found["same_files_train"].text.startswith("3 ")


def test_tiles_that_do_not_say_how_they_were_made_and_unknown_classes(sets, make_set):
    made = make_set(40, prefix="g", seed=1, captions=False)
    assert not codes(GOOD, sets(made=made))["origin_unknown"].loud
    rows = tuple({**row, "label": ""} if k % 2 else row for k, row in enumerate(made.rows))
    found = codes(GOOD.model_copy(update={"matching": "none"}), sets(made=replace(made, rows=rows)))
    assert "20 of 40 generated tiles is not known" in found["classes_not_matched"].text


def test_another_scale_is_marked_loudly(make_set):
    made = sized(make_set, 256, 0.5, prefix="g", seed=1, generation="x")
    held, train = (sized(make_set, 512, 0.5, prefix=p, seed=2) for p in "ht")
    index = np.zeros(len(made), np.int64)
    found = codes(GOOD, Sets(made, held, train, index))
    assert set(found) == {"scales_differ"}  # one box for both real sets
    assert found["scales_differ"].loud
    text = found["scales_differ"].text
    assert "256 px at 0.5 µm a pixel, held-out tiles 512 px" in text
    assert "training tiles 512 px" in text and "column mpp" not in text
    unknown = codes(GOOD, Sets(made, sized(make_set, 512, prefix="h", seed=2), None, None))
    assert "training tiles" not in unknown["scales_differ"].text
    assert "Add the column mpp to all, or cut all" in unknown["scales_differ"].text
