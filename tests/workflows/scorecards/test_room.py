"""Whether a family of prompts leaves room: a wide gap that is beyond chance, and nothing less."""

from __future__ import annotations

import pytest

from crafts.core.errors import DataError
from crafts.evaluation.results import AlignmentRow, Measured
from crafts.workflows.scorecards.room import find_room, iter_gaps


def row(key, value, spread, name="glands", alignment=None):
    return AlignmentRow(
        key=key, title=key, scope="class", name=name, n=20,
        prompt_alignment=Measured(value=alignment),
        class_agreement=Measured(value=value, spread=spread, kind="groups"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("real", "generated", "verdict"),
    [
        ((80, 6), (50, 8), "room to gain"),  # 30 less at most 10
        ((80, 6), (71, 8), "untestable at this size"),  # 9 points are too few
        ((80, 9), (68, 12), "untestable at this size: chance could explain the gap"),
        ((80, None), (50, None), "untestable at this size: chance could explain the gap"),
        ((60, 2), (80, 2), "untestable at this size"),  # nearer to their type than patients are
    ],
)
def test_room_is_a_wide_gap_beyond_chance(real, generated, verdict):
    (gap,) = iter_gaps([row("heldout", *real), row("generated", *generated)])
    assert gap.verdict == verdict
    assert gap.points == real[0] - generated[0]


def test_the_interval_of_a_difference_joins_both(tmp_path):
    (gap,) = iter_gaps([row("heldout", 80, 3), row("generated", 50, 4)])
    assert gap.half == pytest.approx(5)


def test_only_what_both_sides_have_is_compared():
    rows = [row("heldout", 80, 3), row("generated", 50, 4, name="fat"), row("shuffled", 10, 3)]
    assert list(iter_gaps(rows)) == []
    both = [row("heldout", 80, 3, alignment=60.0), row("generated", 50, 4, alignment=45.0)]
    assert [gap.measure for gap in iter_gaps(both)] == ["class_agreement", "prompt_alignment"]


def test_without_an_evaluation_it_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"metrics.json: no evaluation.*crafts evaluate"):
        find_room(tmp_path)
