"""Used + rejected = listed, or the run fails."""

from __future__ import annotations

import json

import pytest

from crafts.core.errors import DataError
from crafts.core.records import Ledger, rejects_beside
from crafts.core.tabular.rows import BEHIND


def ledger(used: int, rejected: int, lost: int = 0) -> Ledger:
    made = Ledger("pack")
    made.listed(used + rejected + lost)
    for index in range(used):
        made.use(f"u{index}")
    for index in reversed(range(rejected)):
        made.reject(f"r{index}", "bad")
    return made


def test_counts_and_file(tmp_path):
    made = ledger(3, 2)
    assert made.counts() == {"listed": 5, "used": 3, "rejected": 2}
    made.write(tmp_path / "rejects.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert rows == [{"item": "r0", "reason": "bad"}, {"item": "r1", "reason": "bad"}]


def test_the_share_of_rejects_has_a_limit():
    ledger(9, 1).check(0.1)
    with pytest.raises(
        DataError,
        match="2 of 10 items rejected; the first is 'r1': bad; expected a share of at most 0.1",
    ):
        ledger(8, 2).check(0.1)


def test_nothing_used_is_an_error_even_when_all_may_be_rejected():
    with pytest.raises(DataError, match="no usable item of 1; the first is 'r0'"):
        ledger(0, 1).check(1.0)
    with pytest.raises(DataError, match="no usable item of 0"):
        ledger(0, 0).check(1.0)


def test_a_lost_item_is_found():
    with pytest.raises(DataError, match=r"used \+ rejected = listed"):
        ledger(5, 0, lost=1).check(1.0)


def test_what_proves_unusable_later_is_counted_once():
    found = ledger(3, 1)
    found.withdraw("u0", "no mask")
    assert found.counts() == {"listed": 4, "used": 2, "rejected": 2}
    assert found.rejects[-1] == {"item": "u0", "reason": "no mask"}
    found.check(0.5)


def test_the_cause_is_named_before_what_it_took_along():
    made = Ledger("pack")
    made.listed(3)
    made.reject("row 10", f"{BEHIND} 4, not certain to be a row")
    made.reject("row 4", "a broken row (a quote)")
    made.reject("row 9", "another broken row")
    with pytest.raises(DataError, match=r"the first is 'row 4': a broken row \(a quote\)"):
        made.check(1.0)


def test_a_reason_that_is_an_error_itself_is_cut_to_what_came():
    made = Ledger("tile")
    made.listed()
    made.reject("s", str(DataError("s.tif", came="16 bits", allowed="8", do="Save it anew.")))
    with pytest.raises(DataError, match=r"the first is 's': s.tif: 16 bits; expected at least one"):
        made.check(1.0)


@pytest.mark.parametrize("used", [0, 1])
def test_a_run_that_fails_leaves_its_rejects_where_it_says(tmp_path, used):
    made = Ledger("pack", rejects_beside(tmp_path / "out"))
    made.listed(1 + used)
    made.reject("a", "bad")
    for number in range(used):
        made.use(str(number))
    path = tmp_path / "out.rejects.jsonl"
    with pytest.raises(DataError, match=f"items that {path} lists"):
        made.check(0.1)
    assert json.loads(path.read_text()) == {"item": "a", "reason": "bad"}
    path.unlink()
    made.check(1.0) if used else None
    assert not path.exists()
