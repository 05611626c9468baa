"""Sides of held-out tiles, worse pictures, and shards that cannot be used."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.experiments import configure
from crafts.experiments.corpus.tiles import choose_left_out, crop_center, deal, degrade, open_tiles

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=60).map(
    lambda pairs: [
        {"key": str(i), "label": label, "patient": f"p{patient}"}
        for i, (label, patient) in enumerate(pairs)
    ]
)


@settings(max_examples=60)
@given(ROWS, st.integers(1, 40))
def test_sides_have_the_same_classes_and_no_patient_in_common(rows, most):
    one, two = ([rows[i] for i in side] for side in deal(rows, range(len(rows)), most))
    assert len(one) == len(two) <= most
    assert Counter(row["label"] for row in one) == Counter(row["label"] for row in two)
    assert not {row["patient"] for row in one} & {row["patient"] for row in two}
    assert len({row["key"] for row in (*one, *two)}) == 2 * len(one)


def test_classes_take_turns():
    rows = [{"key": str(i), "label": "ab"[i % 2], "patient": f"p{i}"} for i in range(40)]
    one, _ = deal(rows, range(40), 8)
    assert Counter(rows[i]["label"] for i in one) == {"a": 4, "b": 4}


def test_a_degraded_picture_is_coarser_and_always_the_same():
    pixels = paint_tile(seed=0, index=2, size=64).image
    worse = degrade(pixels, "k")
    assert worse.shape == pixels.shape and worse.dtype == np.uint8
    assert np.array_equal(worse, degrade(pixels, "k"))
    assert not np.array_equal(worse, degrade(pixels, "other"))
    fine = [np.abs(np.diff(image.astype(float), axis=0)).mean() for image in (pixels, worse)]
    assert fine[1] < 0.7 * fine[0]


def test_the_centre_is_cut():
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(crop_center(pixels, 4), pixels[1:5, 2:6])


def test_classes_left_out_are_named_or_chosen():
    classes = [f"c{i:02d}" for i in range(14)]
    assert choose_left_out(configure("ood"), classes) == ("c01", "c07", "c13")
    assert choose_left_out(configure("ood"), classes[:4]) == ("c01", "c03")
    assert choose_left_out(configure("ood", ["leave_out=[c02]"]), classes) == ("c02",)
    with pytest.raises(ConfigError, match="experiment: leave_out: 'moon'; expected c00, c01"):
        choose_left_out(configure("ood", ["leave_out=[moon]"]), classes)


def test_shards_without_held_out_patients_are_refused(tmp_path):
    from crafts.data import pack
    from crafts.data.painter import paint_tiles

    paint_tiles(tmp_path / "tiles", 8, 32)
    splits = tmp_path / "splits.csv"
    splits.write_text("patient,split\npainted-0-0000,train\n")
    pack.run(pack.PackConfig(), tmp_path / "tiles", tmp_path / "shards", splits=splits)
    config = configure("content", ["crop=4"], data=str(tmp_path / "shards"))
    with pytest.raises(DataError, match="4 classes of training tiles, 0 pairs of held-out tiles"):
        open_tiles(config, tmp_path / "o", factor=8)


def test_tiles_smaller_than_a_crop_are_refused(tmp_path):
    config = configure("content", ["crop=4", "painted_tiles=48"], data="painted")
    tiles = open_tiles(config, tmp_path / "o", factor=8)
    assert (tiles.size, len(tiles.classes)) == (32, 4)
    with pytest.raises(DataError, match="a tile of 32 px; expected at least 64 px, a crop of 4"):
        open_tiles(config, tmp_path / "o", factor=16)
