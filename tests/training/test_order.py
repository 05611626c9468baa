"""The order of samples is a function of the seed and the global index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.config import load_config
from crafts.training.order import SampleOrder, balance_weights, choice, normal, uniform
from crafts.training.sources import PaintedData, Split


@given(count=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 3))
@settings(max_examples=30)
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


@given(
    rows=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("pqrs")), min_size=1),
    power=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=60)
def test_patients_of_a_class_have_equal_shares_and_classes_keep_theirs(rows, power) -> None:
    labels, groups = zip(*rows, strict=True)
    plain = balance_weights(labels, power)
    spread = balance_weights(labels, power, groups=groups)
    assert spread.sum() == pytest.approx(1)
    for label in set(labels):
        inside = [i for i, name in enumerate(labels) if name == label]
        assert spread[inside].sum() == pytest.approx(plain[inside].sum())
        patients = {groups[i] for i in inside}
        for patient in patients:
            own = [i for i in inside if groups[i] == patient]
            assert spread[own].sum() == pytest.approx(spread[inside].sum() / len(patients))
            assert np.ptp(spread[own]) == 0


def painted(**balance: object) -> PaintedData:
    return load_config(PaintedData, dict(balance))


def table() -> list[dict[str, str]]:
    """Ninety tiles of one patient, nine of another, one without patient; ten of another class."""
    rows = [{"label": "colon", "patient": "a"}] * 90 + [{"label": "colon", "patient": "b"}] * 9
    return [*rows, {"label": "colon"}, *[{"label": "lung", "patient": "a"}] * 10]


def shares(split: Split, draws: int = 6000) -> dict[str, float]:
    rows = table()
    names = [
        f"{rows[i]['label']} {rows[i].get('patient', 'nobody')}"
        for i in (split.row(g) for g in range(draws))
    ]
    return {name: names.count(name) / draws for name in set(names)}


def test_a_split_spreads_patients_within_classes() -> None:
    found = shares(Split(table(), painted(balance=1.0, spread_groups=True), seed=0))
    expected = {"colon a": 1 / 6, "colon b": 1 / 6, "colon nobody": 1 / 6, "lung a": 1 / 2}
    assert found == pytest.approx(expected, abs=0.02)
    found = shares(Split(table(), painted(balance=1.0), seed=0))
    assert found["colon a"] == pytest.approx(0.45, abs=0.02)
    assert found["lung a"] == pytest.approx(0.5, abs=0.02)


def test_patients_are_spread_without_balance_too() -> None:
    found = shares(Split(table(), painted(spread_groups=True), seed=0))
    natural = 100 / 110 / 3
    assert found["colon b"] == pytest.approx(natural, abs=0.02)
    assert found["lung a"] == pytest.approx(10 / 110, abs=0.02)


def test_a_tile_without_patient_is_not_lumped_with_others() -> None:
    rows = [{"label": "x", "patient": "a"}] * 2 + [{"label": "x"}, {"label": "x", "patient": ""}]
    split = Split(rows, painted(spread_groups=True), seed=1)
    counts = np.bincount([split.row(g) for g in range(6000)], minlength=4) / 6000
    assert counts == pytest.approx([1 / 6, 1 / 6, 1 / 3, 1 / 3], abs=0.02)


def test_a_spread_order_is_a_function_of_seed_and_index() -> None:
    config = painted(balance=0.5, spread_groups=True)
    one, other = (Split(table(), config, seed=4) for _ in range(2))
    ahead = [one.row(g) for g in range(200)]
    assert [other.row(g) for g in reversed(range(200))] == ahead[::-1]
    assert ahead != [Split(table(), config, seed=5).row(g) for g in range(200)]


def test_without_balance_and_spread_every_row_is_seen_once_an_epoch() -> None:
    split = Split(table(), painted(), seed=0)
    assert sorted(split.row(g) for g in range(110)) == list(range(110))
