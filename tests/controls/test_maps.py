"""Channels of a control map against slow loops; sizes and resolutions that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.controls.maps import CHANNELS, nuclei_map, resize_mask
from crafts.controls.nuclei import CLASSES, PARENTS, NucleiMask
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask


def test_channels_are_those_of_a_slow_loop():
    mask = random_mask(1)
    found = nuclei_map(mask)
    assert found.shape == (12, 96, 128) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    for y, x in np.random.default_rng(0).integers(0, mask.size, (400, 2)):
        name = CLASSES[mask.classes[y, x]]
        expected = {name, PARENTS.get(name, name), "nucleus"} if name != "background" else set()
        on = {CHANNELS[place] for place in np.flatnonzero(found[:-2, y, x])}
        assert on == expected - {"unknown"}
    distance, boundary = found[CHANNELS.index("distance")], found[CHANNELS.index("boundary")]
    for number in range(1, 26):
        own = mask.instances == number
        assert distance[own].max() == 1 and distance[own].min() > 0 and boundary[own].any()
    assert not distance[mask.instances == 0].any() and not boundary[mask.instances == 0].any()


def test_an_unclassified_mask_sets_the_nucleus_channel_only_and_an_empty_one_nothing():
    mask = random_mask(1)
    plain = nuclei_map(replace(mask, classes=np.where(mask.classes > 0, 10, 0).astype(np.uint8)))
    assert np.array_equal(plain[0], mask.classes > 0) and not plain[1:-2].any()
    assert not nuclei_map(NucleiMask(np.zeros((8, 8), np.uint8))).any()


def test_nuclei_that_touch_have_a_boundary_and_peaks_of_their_own():
    ids = np.zeros((10, 20), np.int32)
    ids[2:8, 2:10], ids[2:8, 10:18] = 1, 2
    classes = np.where(ids > 0, 1, 0).astype(np.uint8)
    apart, joined = nuclei_map(NucleiMask(classes, ids)), nuclei_map(NucleiMask(classes))
    boundary = CHANNELS.index("boundary")
    assert apart[boundary, 4, 9] == apart[boundary, 4, 10] == 1
    assert joined[boundary, 4, 9] == joined[boundary, 4, 10] == 0


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([(48, 64), (24, 32), (12, 16), (192, 256)]))
def test_no_nucleus_gets_lost_by_resizing(seed, size):
    mask = random_mask(seed, count=12, mpp=0.5)
    found = resize_mask(mask, size)
    assert found.size == size and found.num_nuclei == 12
    assert found.mpp == pytest.approx(0.5 * 96 / size[0])
    for number in range(1, 13):
        was, now = mask.instances == number, found.instances == number
        assert set(found.classes[now]) == set(mask.classes[was])
        moved = np.argwhere(now).mean(0) / size - np.argwhere(was).mean(0) / mask.size
        assert np.abs(moved * size).max() < 3


def test_resizing_keeps_the_area():
    mask = random_mask(2, (200, 200), 40)
    found = resize_mask(mask, (100, 100))
    assert (found.classes > 0).mean() == pytest.approx((mask.classes > 0).mean(), rel=0.05)


def test_too_many_nuclei_for_a_size_are_refused():
    ids = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    with pytest.raises(DataError, match="400 nuclei for 4 x 4 px"):
        resize_mask(NucleiMask(np.ones((20, 20), np.uint8), ids), (4, 4))


def test_another_size_is_refused_unless_told():
    mask = random_mask(1)
    with pytest.raises(ConfigError, match="128 x 96 px for an image of 64 x 48 px"):
        nuclei_map(mask, size=(48, 64))
    assert nuclei_map(mask, size=(48, 64), resize=True).shape == (12, 48, 64)
    with pytest.raises(DataError, match="the proportions of the image"):
        nuclei_map(mask, size=(64, 64), resize=True)
    for size in ((0, 4), (9000, 9000), (4,)):
        with pytest.raises(ConfigError, match="height and width of 1 to 8192"):
            nuclei_map(mask, size=size)


def test_another_resolution_is_refused():
    mask = random_mask(1, mpp=0.25)
    with pytest.raises(DataError, match="at 0.25 µm for an image of 128 x 96 px at 0.5 µm"):
        nuclei_map(mask, mpp=0.5)
    assert nuclei_map(mask, mpp=0.25).shape == (12, 96, 128)
    assert nuclei_map(mask, size=(48, 64), mpp=0.5, resize=True).shape == (12, 48, 64)
    with pytest.raises(DataError, match="the same field in microns"):
        nuclei_map(mask, size=(48, 64), mpp=0.25, resize=True)
    assert nuclei_map(random_mask(1), mpp=0.5).shape == (12, 96, 128)
