"""Groups never stand in two splits, rare strata are held out first, order does not matter."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.data.splits import SPLITS, assign_splits, check_splits, read_splits

strata = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.integers(0, 60).map(str), min_size=1, max_size=40),
    min_size=1,
)


@given(strata, st.integers(0, 3))
def test_every_group_gets_one_split_whatever_the_order(table, seed):
    found = assign_splits(table, seed=seed)
    assert set(found) == {group for groups in table.values() for group in groups}
    assert set(found.values()) <= set(SPLITS)
    turned = {name: list(reversed(table[name])) for name in reversed(table)}
    assert assign_splits(turned, seed=seed) == found


@pytest.mark.parametrize(
    ("groups", "held", "valid"),
    [(100, 20, 10), (10, 5, 1), (9, 2, 1), (3, 1, 0), (2, 0, 0), (1, 0, 0)],
)
def test_shares_of_one_stratum(groups, held, valid):
    counts = Counter(assign_splits({"a": [str(i) for i in range(groups)]}).values())
    assert (counts["heldout"], counts["validation"]) == (held, valid)


def test_a_rare_stratum_gets_its_share_of_shared_groups():
    common = [f"p{i}" for i in range(100)]
    found = assign_splits({"common": common, "rare": common[:10]})
    assert sum(found[group] == "heldout" for group in common[:10]) == 5


def test_the_seed_decides():
    table = {"a": [str(i) for i in range(30)]}
    assert assign_splits(table, seed=0) != assign_splits(table, seed=1)


def test_a_patient_in_two_splits_is_named():
    rows = [
        {"patient": "p", "split": "train"},
        {"patient": "q", "split": "heldout"},
        {"patient": "", "split": "train"},
    ]
    check_splits(rows)
    with pytest.raises(DataError, match="patient 'p': tiles in 'train' and in 'heldout'"):
        check_splits([*rows, {"patient": "p", "split": "heldout"}])


def test_rows_without_patient_or_split_say_nothing():
    check_splits([{"patient": "p", "split": "train"}, {"patient": "p"}, {"split": "heldout"}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns none"),
        ("a,b\n1,2\n", "columns"),
        ("patient,split\n,train\n", "no patient and no key"),
        ("patient,split\np,maybe\n", "row 1: split 'maybe'"),
        ("patient,split\np,train\np,test\n", "row 2: patient 'p' in two splits"),
        ("patient,split\np\n", "row 1: split ''"),
    ],
)
def test_unusable_splits_files_are_refused(tmp_path, text, message):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_splits(path)


def test_a_missing_splits_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="unreadable"):
        read_splits(tmp_path / "gone.csv")
