"""Alignment rows with their controls, and the gallery built on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.evaluation import prompt_alignment
from crafts.evaluation.following import alignment_rows, bootstrap_mean, shuffle_texts
from crafts.evaluation.page.gallery import PICKS, build_gallery
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.sets.described import Sets, describe


def build(generated, heldout, train):
    found = nearest(unit_rows(generated.features), unit_rows(train.features))
    described = [describe(one, {}) for one in (generated, heldout, train)]
    return Sets(*described, found.index), found.cosine


@pytest.fixture
def sets(make_set):
    made = make_set(60, prefix="g", seed=1)
    held = make_set(120, patients=12, prefix="h", seed=2)
    return build(made, held, make_set(120, patients=12, prefix="t", seed=3))


def test_rows_stand_beside_their_controls(sets):
    rows = {row.key: row for row in alignment_rows(sets[0], seed=0) if row.scope == "all"}
    assert list(rows) == ["generated", "shuffled", "heldout", "nearest"]
    made = sets[0].generated.set
    wanted = prompt_alignment(made.features, made.texts)
    assert rows["generated"].prompt_alignment.value == pytest.approx(wanted, abs=1e-4)
    assert rows["heldout"].prompt_alignment.kind == "groups"
    assert rows["shuffled"].prompt_alignment.value < wanted - 20
    assert rows["generated"].class_agreement.value > 90
    assert rows["shuffled"].class_agreement.value < rows["generated"].class_agreement.value - 20
    assert rows["heldout"].prompt_alignment.value == pytest.approx(wanted, abs=8)
    assert rows["generated"].same_caption == 1
    assert rows["shuffled"].image_alignment.value < rows["generated"].image_alignment.value - 20


def test_classes_have_their_rows(sets):
    rows = alignment_rows(sets[0], seed=0)
    assert {(row.key, row.name, row.n) for row in rows if row.scope == "class"} >= {
        ("generated", "a", 30), ("shuffled", "b", 30), ("heldout", "a", 60), ("nearest", "b", 30),
    }  # fmt: skip


def test_without_texts_the_reason_stands_there(make_set):
    found, _ = build(
        make_set(30, captions=False), make_set(60, patients=6, captions=False),
        make_set(60, captions=False),
    )  # fmt: skip
    rows = {row.key: row for row in alignment_rows(found, seed=0) if row.scope == "all"}
    assert "shuffled" not in rows
    assert rows["generated"].prompt_alignment.value is None
    assert "reads no text" in rows["generated"].prompt_alignment.why
    assert rows["generated"].same_caption == 0  # partners by class
    assert "no captions" in rows["generated"].class_agreement.why


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), st.integers(0, 9))
def test_nobody_keeps_a_wording_that_does_not_fill_half(wordings, seed):
    names = np.array(wordings)
    order = shuffle_texts(names, seed)
    assert sorted(order.tolist()) == list(range(len(names)))
    if np.unique(names, return_counts=True)[1].max() * 2 <= len(names):
        assert (names[order] != names).all()


def test_intervals_are_over_groups_and_need_several():
    values = np.repeat([0.0, 10.0] * 5, 30)
    groups = np.repeat([f"p{k}" for k in range(10)], 30)
    found = bootstrap_mean(values, groups, seed=0)
    alone = bootstrap_mean(values, np.arange(300).astype(str), seed=0)
    assert found.value == alone.value == 5
    assert found.spread > 4 * alone.spread, "tiles of one patient are not independent"
    assert bootstrap_mean(values, np.repeat("p", 300), seed=0).spread is None


def test_the_gallery_names_best_and_worst_and_the_nearest_pairs(sets):
    found, cosine = sets
    gallery, shown = build_gallery(found, cosine, most=60, seed=0)
    assert [one.name for one in gallery.picks] == ["a", "b"]
    for one in gallery.picks:
        values = [[pick.alignment for pick in part] for part in (one.best, one.median, one.worst)]
        assert [len(part) for part in values] == [PICKS] * 3
        assert min(values[0]) >= max(values[1]) >= min(values[1]) >= max(values[2])
        assert len({p.name for part in (one.best, one.median, one.worst) for p in part}) == 18
        assert all(name.startswith("h") for name in one.real)
    ranked = [pair.cosine for pair in gallery.nearest]
    assert ranked == sorted(ranked, reverse=True) and len(ranked) == 24
    assert ranked[0] == pytest.approx(float(cosine.max()))
    assert {point.set for point in gallery.points} == {"generated", "heldout"}
    assert len(gallery.points) == sum(len(rows) for rows, _ in shown.values()) == 60
    assert "NaN" not in gallery.to_json()


def test_few_tiles_of_a_class_are_shown_once(make_set):
    found, cosine = build(make_set(16), make_set(40, patients=4), make_set(20))
    gallery, _ = build_gallery(found, cosine, most=40, seed=0)
    names = [p.name for p in gallery.picks[0].best + gallery.picks[0].median]
    names += [p.name for p in gallery.picks[0].worst]
    assert len(names) == len(set(names)) == 8


def test_a_constant_text_has_no_shuffled_row(make_set):
    made = make_set(20)
    same = replace(made, rows=tuple({**row, "text": "one"} for row in made.rows))
    found, _ = build(same, make_set(40, patients=4), make_set(20))
    assert "shuffled" not in {row.key for row in alignment_rows(found, seed=0)}
