"""Scales: when pixels compare, when fields of view do, and what is said where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crafts.evaluation.comparing.comparison import Sets, nearest_in
from crafts.evaluation.comparing.marks import find_marks
from crafts.evaluation.comparing.scales import Scale, same_fields, same_pixels, scale_of
from crafts.evaluation.comparing.slices import describe
from crafts.evaluation.results import PromptSource, Results


def sized(make_set, size, mpp="unknown", count=40, **more):
    base = make_set(count, patients=12, **more)
    rows = tuple({**row, "width": size, "height": size + 9, "mpp": mpp} for row in base.rows)
    return describe(replace(base, rows=rows), {})


def test_a_scale_is_that_of_nine_tiles_in_ten(make_set):
    side = sized(make_set, 256, 0.5)
    assert scale_of(side) == Scale(256, 256, 256, 0.5)
    rows = list(side.set.rows)
    rows[0] = {**rows[0], "mpp": 9.0, "width": 2000, "height": 2000}
    odd = describe(replace(side.set, rows=tuple(rows)), {})
    assert scale_of(odd) == Scale(256, 256, 256, 0.5), "one odd tile is no mixture"
    for row in range(20):
        rows[row] = {**rows[row], "mpp": 1.0}
    assert scale_of(describe(replace(side.set, rows=tuple(rows)), {})).mpp is None
    assert scale_of(describe(make_set(4), {})) is None, "no sizes are known"


def one(size, mpp=None, low=None):
    return Scale(low or size, size, size, mpp)


@pytest.mark.parametrize(
    ("made", "real", "pixels", "fields"),
    [
        (one(256), one(256), True, True),
        (one(256), one(512), False, False),  # nothing tells whether one is enlarged
        (one(256, 0.5), one(512, 0.5), True, False),
        (one(256, 0.5), one(512, 0.25), False, True),
        (one(256, 0.5), one(256, 0.25), False, False),
        (one(256, 0.5), one(256, 0.48), True, True),
        (one(256, 0.5), one(256), True, True),
        (one(256), one(256, low=128), False, True),  # a mixture of sizes
        (None, one(256), True, True),
    ],
)
def test_pixels_and_fields_compare_or_not(made, real, pixels, fields):
    assert same_pixels(made, real) is same_pixels(real, made) is pixels
    assert same_fields(made, real) is same_fields(real, made) is fields


def test_another_scale_is_marked_loudly(make_set):
    results = Results(
        lead="frechet_distance", n=500, width=16, seed=0, repetitions=5, repetition="generations",
        matching="class", encoder={}, sets=[], rows=[],
        prompts=PromptSource(heldout=40, checked=True),
    )  # fmt: skip
    made = sized(make_set, 256, 0.5, prefix="g", seed=1, generation="x")
    held, train = (sized(make_set, 512, 0.5, prefix=p, seed=2) for p in "ht")
    nearest, _ = nearest_in(made.set.features, train.set.features)
    found = {
        m.code: m for m in find_marks(results, Sets(made, held, train, nearest), num_generations=5)
    }
    assert set(found) == {"scales_differ_heldout", "scales_differ_train"}
    assert found["scales_differ_heldout"].loud
    assert "256 px at 0.5 µm a pixel, held-out tiles 512 px" in found["scales_differ_heldout"].text
