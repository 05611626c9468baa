"""Folders of an evaluation: rows without finite features, sets put together, identity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.sets.source import (
    drop_bad,
    find_generation_folders,
    join,
    set_fingerprint,
)


def test_rows_without_finite_features_become_rejects(make_set):
    base = make_set(4)
    features = base.features.copy()
    features[1, 3], features[2] = np.nan, 0
    found = drop_bad(replace(base, features=features))
    assert [row["name"] for row in found.rows] == ["t0.png", "t3.png"]
    assert [name for name, _ in found.rejected] == ["t1.png", "t2.png"]
    assert found.texts.shape == (2, base.features.shape[1])
    assert drop_bad(base) is base
    with pytest.raises(DataError, match="no usable image of 4"):
        drop_bad(replace(base, features=np.full_like(features, np.nan)))


def test_sets_are_put_together_in_their_order(make_set):
    one, two = make_set(3, prefix="a"), make_set(6, prefix="b", captions=False)
    found = join([replace(one, truncated=0.5), two])
    assert [row["name"] for row in found.rows[2:4]] == ["a2.png", "b0.png"]
    assert found.features.shape[0] == 9 and found.texts is None
    assert found.truncated == pytest.approx(0.5 / 3)
    assert join([one]) is one


def test_the_identity_is_of_the_images_and_not_of_their_order(make_set):
    base = make_set(4)
    assert set_fingerprint(base) == set_fingerprint(replace(base, rows=base.rows[::-1]))
    assert set_fingerprint(base) != set_fingerprint(replace(base, rows=base.rows[:3]))


def test_generations_are_folders_that_are_sets(tmp_path):
    assert find_generation_folders(tmp_path) == []
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_text("file_name\n")
    (tmp_path / "notes").mkdir()
    assert [path.name for path in find_generation_folders(tmp_path)] == ["a", "b"]
    (tmp_path / "metadata.csv").write_text("file_name\n")
    assert find_generation_folders(tmp_path) == [], "the folder is a set itself"
    assert find_generation_folders(tmp_path / "absent") == []
