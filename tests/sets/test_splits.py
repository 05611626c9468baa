"""What two sets must not share, read from their tables alone; halves without a common group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import ConfigError, DataError
from crafts.sets.splits import halve, refuse_same_images, refuse_shared_groups
from fixtures_sets import collect

ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), min_size=2, max_size=60)


def test_shared_patients_are_refused_where_all_are_named(tmp_path):
    train = collect(tmp_path / "train", "patient", ["p", "q"])
    refuse_shared_groups("evaluate", collect(tmp_path / "a", "patient", ["r", "s"]), train)
    refuse_shared_groups("evaluate", collect(tmp_path / "b", "patient", ["p", ""]), train)
    shared = collect(tmp_path / "c", "patient", ["r", "q", "p"])
    with pytest.raises(DataError, match="^evaluate: 2 patients in both, the first is 'p'"):
        refuse_shared_groups("evaluate", shared, train)


def test_one_folder_may_serve_twice_with_other_splits_only(tmp_path):
    places = {"--real": (tmp_path, "heldout"), "--train": (tmp_path, "train")}
    refuse_same_images("audit", places)
    places["--train"] = (tmp_path / "." / "x" / "..", "heldout")
    with pytest.raises(ConfigError, match="audit: the same images for two of --real, --train"):
        refuse_same_images("audit", places)


@given(ROWS, st.integers(0, 5))
def test_halves_share_no_group_and_lose_no_row(rows, seed):
    groups = np.array([str(group) for group, _ in rows])
    classes = np.array([name for _, name in rows])
    one, two = halve(groups, classes, seed)
    assert sorted([*one, *two]) == list(range(len(rows)))
    assert not set(groups[one]) & set(groups[two])


def test_halves_are_even_where_groups_allow_it():
    groups = np.repeat([f"p{k}" for k in range(10)], 6)
    classes = np.repeat(["a", "b"], 30)
    for seed in range(5):
        one, two = halve(groups, classes, seed)
        for name in "ab":
            assert abs((classes[one] == name).sum() - (classes[two] == name).sum()) == 6
    halves = {tuple(halve(groups, classes, seed)[0].tolist()) for seed in range(10)}
    assert len(halves) > 5, "other seeds give other halves"
