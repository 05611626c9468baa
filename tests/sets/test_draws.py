"""Generations, equal numbers of equal mix."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crafts.sets.draws import Sides, draw, find_generations, quotas, share_out


def test_generations_are_the_kth_image_of_each_prompt():
    rows = [{"id": i, "text": f"p{i}", "k": k, "name": f"{i}-{k}"} for i in "ab" for k in range(3)]
    found = find_generations(rows)
    assert [(name, index.tolist()) for name, index in found] == [
        ("0", [0, 3]), ("1", [1, 4]), ("2", [2, 5]),
    ]  # fmt: skip


def test_prompts_of_several_ids_are_counted_together_and_only_full_generations_count():
    rows = [{"id": str(i), "text": "ab"[i % 2], "k": 0, "seed": 9 - i} for i in range(7)]
    found = find_generations(rows)
    assert len(found) == 3  # four of "a", three of "b"
    assert found[0][1].tolist() == [5, 6]  # the lowest seeds
    assert len({row for _, index in found for row in index}) == 6


def test_generations_of_folders_go_by_their_folder():
    rows = [{"generation": name, "text": ""} for name in ("x", "y", "x")]
    assert [(n, i.tolist()) for n, i in find_generations(rows)] == [("x", [0, 2]), ("y", [1])]


def test_tiles_without_prompts_are_one_generation():
    assert find_generations([{"text": ""}] * 4)[0][1].tolist() == [0, 1, 2, 3]


def test_generations_are_shared_out_among_repetitions_where_there_are_enough():
    generations = [(str(k), np.array([2 * k, 2 * k + 1])) for k in range(7)]
    found = share_out(generations, 5, least=2)
    assert [name for name, _ in found] == ["0, 5", "1, 6", "2", "3", "4"]
    assert found[0][1].tolist() == [0, 1, 10, 11]
    assert share_out(generations[:4], 5, least=2) == []
    assert share_out(generations, 5, least=3) == []


@given(st.lists(st.sampled_from("ab"), min_size=8, max_size=40), st.integers(0, 3))
def test_every_side_gets_one_mix_of_classes_and_no_row_twice(labels, seed):
    classes = {name: np.array(labels) for name in ("generated", "heldout", "train")}
    every = np.arange(len(labels))
    sides = Sides([every] * 2, [(every[::2], every[1::2]), (every[1::2], every[::2])], every)
    numbers = quotas(sides, classes, most=10)
    assert sum(numbers.values()) <= 10
    for repetition in (0, 1):
        drawn = draw(sides, repetition, numbers, classes, seed=seed)
        for side, rows in vars(drawn).items():
            mine = classes["generated"][rows]
            assert {name: int((mine == name).sum()) for name in numbers} == numbers, side
            assert len(set(rows.tolist())) == len(rows)
        assert set(drawn.reference) <= set(sides.halves[repetition][0])
        assert set(drawn.floor) <= set(sides.halves[repetition][1])
        again = draw(sides, repetition, numbers, classes, seed=seed)
        assert np.array_equal(drawn.generated, again.generated)
