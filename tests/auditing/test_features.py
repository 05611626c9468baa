"""Neighbours in the space of an encoder, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.auditing.features import Features, authentic, neighbor_ratio, place, ratio_limit
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows


def units(number, seed, width=6):
    rows = np.random.default_rng(seed).normal(size=(number, width))
    return unit_rows(rows.astype(np.float32))


def features(rows, patients=None):
    known = tuple({"patient": name} for name in patients) if patients else ({},) * len(rows)
    return Features(rows, np.arange(len(rows)), known, {}, {"name": "test"})


def test_authenticity_is_that_of_its_definition():
    train, generated = units(40, 3), units(25, 4)
    got = authentic(nearest(generated, train), nearest(train, train, without_self=True))
    for row, value in zip(generated, got, strict=True):
        distances = [1 - float(row @ other) for other in train]
        neighbour = int(np.argmin(distances))
        others = [
            1 - float(train[neighbour] @ other) for k, other in enumerate(train) if k != neighbour
        ]
        assert value == (min(distances) > min(others))


def test_copies_are_not_authentic_and_have_no_ratio():
    train, heldout = units(40, 5), units(40, 6)
    placed, usual = place(features(train[:10]), features(train), features(heldout))
    assert not placed.authentic.any()
    assert placed.ratio.max() < 1e-3
    assert np.array_equal(placed.neighbours.index, np.arange(10))
    assert usual.authentic.mean() > 0.2
    assert np.median(usual.ratio) == pytest.approx(1, abs=0.4)


def test_held_out_tiles_have_no_neighbour_of_their_own_patient():
    train, heldout = units(10, 7), units(6, 8)
    usual = place(features(train), features(train), features(heldout, list("aabbcc")))[1]
    alone = place(features(train), features(train), features(heldout, ["a"] * 6))[1]
    assert np.isfinite(usual.ratio).all()
    assert np.isnan(alone.ratio).all()
    assert place(features(train), features(train), None)[1] is None


def test_ratio_is_one_distance_over_the_other():
    queries = units(5, 9)
    first, second = nearest(queries, units(8, 10)), nearest(queries, units(8, 11))
    assert np.allclose(neighbor_ratio(first, second), first.distance / second.distance)


def test_the_limit_is_the_lowest_thousandth():
    ratios = np.random.default_rng(0).normal(1, 0.1, 5000)
    limit = ratio_limit(np.append(ratios, np.nan))
    assert limit.value == pytest.approx(np.quantile(ratios, 0.001))
    assert limit.n == 5000
    assert ratio_limit(ratios[:199]) is None
