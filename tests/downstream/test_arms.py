"""Draws of patients and tiles, and classifiers that more tiles do not train for longer."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.downstream.arms import draw_patients, take_alike
from crafts.downstream.classification import Scaling, fit_neighbours, fit_probe
from crafts.downstream.controls import augment, colour_histogram, send_through
from crafts.downstream.opening import Opened, Side
from crafts.sets.described import describe
from crafts.sets.source import Source
from crafts.testing import FakeCodec
from fixtures_sets import feature_set


@pytest.fixture
def opened(tmp_path):
    """Twenty patients of class a or b, of whom two have class b."""
    found = feature_set(80, labels="aaaaaaaaaaaaaaaaaaab", patients=20)
    rows = tuple({**row, "label": "b" if row["patient"] in ("t-3", "t-9") else "a"}
                 for row in found.rows)  # fmt: skip
    tiles = describe(type(found)(found.features, rows, (), found.encoder), {})
    side = Side("real", Source("heldout", tmp_path, "", {"": tmp_path}), tiles)
    return Opened(side, np.arange(80), np.arange(0), [], None, ["a", "b"])


def test_small_draws_lie_in_large_ones_and_have_every_class(opened):
    for seed in range(5):
        few, more, all_of_them = (draw_patients(opened, f, seed=seed) for f in (0.05, 0.5, 1.0))
        assert set(few) <= set(more) <= set(all_of_them)
        assert set(opened.real.tiles.classes[few]) == {"a", "b"}
        assert len(all_of_them) == 80
        # whole patients: one drawn at 5 %, and at most one added for the missing class
        assert len(few) in (4, 8)
    assert not np.array_equal(
        draw_patients(opened, 0.5, seed=0), draw_patients(opened, 0.5, seed=1)
    )


def test_generated_tiles_come_in_the_class_mix_of_the_real_ones():
    known = np.array([0] * 10 + [1] * 10)
    rows = take_alike(known, np.array([0, 0, 0, 1]), 8)
    assert np.bincount(known[rows]).tolist() == [6, 2]
    assert len(take_alike(known, np.array([0, 1]), 1000)) == 20


def test_a_set_given_twice_changes_nothing_in_the_probe():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 5)), np.arange(30) % 3
    features[:, 0] += labels
    _, once = fit_probe(features, labels, total=30)(features)
    _, twice = fit_probe(np.tile(features, (2, 1)), np.tile(labels, 2), total=30)(features)
    np.testing.assert_allclose(once, twice, atol=1e-3)
    assert (once.argmax(1) == labels).mean() > 1 / 3


def test_neighbours_are_found_by_angle_and_never_more_than_there_are():
    features = np.array([[1.0, 0.1], [5, 0], [0.1, 1], [0, 7]])
    labels = np.array([0, 0, 1, 1])
    classes, said = fit_neighbours(features, labels, k=2)(np.array([[9.0, 1], [1, 9]]))
    assert classes.tolist() == [0, 1] and said.tolist() == [[1, 0], [0, 1]]
    assert len(fit_neighbours(features, labels, k=50)(features)[1]) == 4


def test_scaling_leaves_what_does_not_vary():
    features = np.array([[1.0, 2], [1, 4]], dtype=np.float32)
    assert Scaling.of(features)(features) == pytest.approx(np.array([[0, -1], [0, 1]]) / np.sqrt(2))


def test_a_colour_histogram_knows_no_places():
    tile = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mixed = np.random.default_rng(1).permutation(tile.reshape(-1, 3)).reshape(tile.shape)
    assert np.array_equal(colour_histogram(tile), colour_histogram(mixed))
    assert (colour_histogram(tile) ** 2).sum() == pytest.approx(1)


def test_augmentation_is_a_function_of_seed_and_number():
    tile = np.random.default_rng(0).integers(60, 200, (16, 16, 3), dtype=np.uint8)
    first, again = (augment(tile, seed=1, number=2) for _ in range(2))
    assert np.array_equal(first, again) and not np.array_equal(first, tile)
    assert not np.array_equal(first, augment(tile, seed=1, number=3))


def test_a_codec_gets_a_multiple_of_its_factor():
    tile = np.full((19, 17, 3), 90, dtype=np.uint8)
    back = send_through(FakeCodec(8), tile)
    assert back.shape == (16, 16, 3) and np.abs(back.astype(int) - 90).max() <= 1
