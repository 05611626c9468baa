"""The order of samples is a function of the seed and the global index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.training.order import SampleOrder, balance_weights, choice, normal, uniform


@given(count=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_every_row_is_seen_once_an_epoch(count: int, seed: int, epoch: int) -> None:
    order = SampleOrder(count, seed)
    rows = [order.row(g) for g in range(epoch * count, (epoch + 1) * count)]
    assert sorted(rows) == list(range(count))


def test_the_order_has_no_state() -> None:
    forward, backward = SampleOrder(7, seed=3), SampleOrder(7, seed=3)
    indices = list(range(30))
    ahead = [forward.row(g) for g in indices]
    assert [backward.row(g) for g in reversed(indices)] == ahead[::-1]


def test_epochs_and_seeds_differ() -> None:
    order = SampleOrder(50, seed=0)
    first, second = [order.row(g) for g in range(50)], [order.row(g) for g in range(50, 100)]
    assert first != second
    assert first != [SampleOrder(50, seed=1).row(g) for g in range(50)]


def test_balanced_shares_follow_the_closed_form() -> None:
    labels = ["rare"] * 10 + ["common"] * 90
    for power, expected in ((0.0, 0.1), (0.5, 10**0.5 / (10**0.5 + 90**0.5)), (1.0, 0.5)):
        weights = balance_weights(labels, power)
        assert weights.sum() == pytest.approx(1)
        assert weights[:10].sum() == pytest.approx(expected)
    order = SampleOrder(100, seed=0, weights=balance_weights(labels, 1.0))
    rare = np.mean([order.row(g) < 10 for g in range(4000)])
    assert rare == pytest.approx(0.5, abs=0.03)


def test_draws_are_uniform_and_independent() -> None:
    values = np.array([uniform(0, "timestep", g) for g in range(4000)])
    others = np.array([uniform(0, "caption dropout", g) for g in range(4000)])
    assert np.allclose(np.histogram(values, bins=4, range=(0, 1))[0], 1000, atol=120)
    assert abs(np.corrcoef(values, others)[0, 1]) < 0.05
    assert {choice(0, "variant", g, 8) for g in range(200)} == set(range(8))


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    alone = normal(0, "noise", 17, (4, 8, 8))
    assert torch.equal(alone, [normal(0, "noise", g, (4, 8, 8)) for g in range(20)][17])
    assert abs(float(alone.mean())) < 0.3 and 0.8 < float(alone.std()) < 1.2
