"""Which tiles are held out for a look, and what is said of them set by set."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.training.sources import PaintedData, ShardData, Split, mean_by_set, place


def rows_of(*sets: str, split: str = "validation") -> list[dict[str, str]]:
    return [{"set": name, "split": split} for name in sets]


def test_a_held_out_sample_is_spread_over_each_set():
    rows = rows_of(*"aaaaa", *"bb") + rows_of("a", split="train")
    split = Split(rows, PaintedData(), seed=0)
    assert split.validation_sample(per_set=3) == [0, 2, 4, 5, 6]
    assert split.validation_sample(per_set=9) == list(range(7))


def test_no_training_row_is_refused():
    with pytest.raises(DataError, match="none of split 'train' in sets"):
        Split(rows_of("a"), ShardData(folder="x", sets=("a",)), seed=0)


def test_small_sets_count_as_much_as_large_ones():
    found = mean_by_set("psnr", rows_of(*"aaab"), [1.0, 2.0, 3.0, 10.0])
    assert found == {"psnr/a": 2.0, "psnr/b": 10.0, "psnr": 6.0}


def test_without_names_of_sets_there_is_one_number():
    assert mean_by_set("psnr", [{}, {}], [1.0, 3.0]) == {"psnr": 2.0}
    assert mean_by_set("psnr", [], []) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e6, 1e6)), min_size=1))
def test_the_mean_over_sets_is_that_of_the_sets(pairs):
    names, values = zip(*pairs, strict=True)
    found = mean_by_set("x", rows_of(*names), values)
    by_set = {name: [v for n, v in pairs if n == name] for name in names}
    assert found.pop("x") == pytest.approx(fmean(map(fmean, by_set.values())))
    assert found == {f"x/{name}": pytest.approx(fmean(part)) for name, part in by_set.items()}


def test_a_batch_keeps_its_values_in_the_layout_of_convolutions():
    images = torch.arange(24.0).reshape(1, 2, 3, 4)
    placed = place(images, torch.device("cpu"), torch.float64)
    assert placed.dtype == torch.float64 and torch.equal(placed.float(), images)
    assert placed.is_contiguous(memory_format=torch.channels_last)
