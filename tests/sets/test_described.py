"""What tiles say of themselves, and what their prompts say for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crafts.sets.described import (
    Scale,
    caption_fields,
    captions_of,
    describe,
    prompt_source,
    same_fields,
    same_pixels,
    scale_of,
    shared_files,
    values_of,
)
from fixtures_sets import sized


def test_generated_tiles_take_fields_from_captions_that_agree(make_set):
    real = make_set(12, patients=4, power="high")
    rows = [dict(row) for row in real.rows]
    rows[0]["text"] = rows[1]["text"] = "either class"  # "a" and "b" share it
    captions = caption_fields([replace(real, rows=tuple(rows))])
    made = make_set(4, named=False, prefix="g")
    asked = [{**made.rows[0], "text": text} for text in ("either class", "tile of b,  view 1", "x")]
    own = {**made.rows[0], "text": "tile of b, view 1", "label": "c"}
    found = describe(replace(made, rows=(*asked, own)), captions)
    assert found.classes.tolist() == ["", "b", "", "c"]
    assert found.fields["power"].tolist() == ["high", "high", "", "high"]


def test_groups_are_patients_then_cases_then_tiles(make_set):
    base = make_set(3)
    rows = ({"name": "1", "case": 7}, {"name": "2", "patient": "p", "case": 7}, {"name": "3"})
    found = describe(replace(base, rows=rows), {})
    assert found.groups.tolist() == ["7", "p", "tile 2"]
    assert not found.named_groups
    assert describe(make_set(4, patients=2), {}).named_groups


def test_alternative_wordings_count_as_captions():
    assert captions_of({"text": " a  b", "captions": ["c", "a b"]}) == {"a b", "c"}


def test_prompts_are_traced_to_the_set_they_come_from(make_set):
    def with_texts(*texts):
        base = make_set(len(texts))
        return replace(
            base,
            rows=tuple({**r, "text": t} for r, t in zip(base.rows, texts, strict=True)),
        )

    generated = with_texts("held", "both", "seen", "seen", "new", "")
    found = prompt_source(generated, with_texts("held", "both"), with_texts("both", "seen"))
    counts = (found.heldout, found.both, found.train, found.neither, found.empty)
    assert counts == (1, 1, 2, 1, 1) and found.checked
    assert not prompt_source(generated, with_texts("held"), None).checked


def test_common_files_are_found_whatever_their_names(make_set):
    files = [describe(make_set(n), {}) for n in (4, 6)]
    assert len(shared_files(*files)) == 4
    assert shared_files(files[0], describe(make_set(4, prefix="x"), {})) == []


def test_values_must_occur_on_every_side(make_set):
    sides = [describe(make_set(6, labels=labels), {}) for labels in ("abc", "bc")]
    assert values_of(sides, "label") == ["b", "c"]
    assert values_of(sides, "scanner") == []


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
