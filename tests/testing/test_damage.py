"""Damages do what they say, more of it at more strength, and nothing at none."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.imaging.stains import optical_density, stain_amounts, stain_vectors
from crafts.testing.damage import (
    compress,
    duplicate,
    shift_stain,
    shuffle_prompts,
    swap_class,
    variations,
    wash_eosin,
)


@pytest.fixture(scope="module")
def tiles():
    return np.stack([paint_tile(seed=3, index=k, size=64).image for k in range(16)])


def test_washing_takes_its_share_of_eosin_and_leaves_hematoxylin(tiles):
    stains = stain_vectors(tiles)
    before = stain_amounts(optical_density(tiles), stains)
    strong = before[..., 1] > 0.2  # elsewhere rounding to whole grey levels is no longer small
    for share in (0.25, 0.5, 1.0):
        after = stain_amounts(optical_density(wash_eosin(tiles, share, stains)), stains)
        lost = 1 - after[..., 1][strong].sum() / before[..., 1][strong].sum()
        assert lost == pytest.approx(share, abs=0.03)
        assert after[..., 0].mean() == pytest.approx(before[..., 0].mean(), abs=0.003)


def test_no_strength_changes_at_most_the_rounding(tiles):
    stains = stain_vectors(tiles)
    for same in (wash_eosin(tiles, 0, stains), shift_stain(tiles, 0, turn=0.3)):
        assert np.array_equal(same, tiles)


@given(st.floats(0, 0.99))
def test_a_stain_shift_multiplies_densities_by_factors_of_mean_one(turn):
    tile = np.full((1, 8, 8, 3), 60, np.uint8)
    change = optical_density(shift_stain(tile, 0.3, turn=turn)) / optical_density(tile)
    factors = change[0, 0, 0]
    assert factors.mean() == pytest.approx(1, abs=0.01)
    assert np.linalg.norm(factors - 1) == pytest.approx(0.3, abs=0.02)


def test_compression_is_that_of_pillow(tiles):
    buffer = io.BytesIO()
    Image.fromarray(tiles[0]).save(buffer, "JPEG", quality=30)
    assert np.array_equal(compress(tiles[:1], 30)[0], np.asarray(Image.open(buffer)))


def test_variations_differ_in_pixels_and_keep_the_colour(tiles):
    found = variations(tiles)
    assert found.shape == tiles.shape
    assert all((one != two).mean() > 0.2 for one, two in zip(found, tiles, strict=True))
    assert np.abs(found.mean((1, 2)) - tiles.mean((1, 2))).max() < 12
    assert np.array_equal(found, variations(tiles))


@given(st.integers(2, 60), st.floats(0, 0.99), st.integers(0, 9))
def test_duplicates_lose_that_many_tiles_and_invent_none(num, share, seed):
    tiles = duplicate(num, share, seed=seed)
    assert len(np.unique(tiles)) == num - min(round(share * num), num - 1)
    assert set(tiles) <= set(range(num))
    assert (tiles[np.isin(np.arange(num), tiles)] == np.unique(tiles)).all()


def test_swapping_shows_another_class_at_the_places_of_one():
    labels = ["a"] * 10 + ["b"] * 4 + ["c"] * 5
    tiles = swap_class(labels, "a", "b", 0.6)
    changed = np.flatnonzero(tiles != np.arange(19))
    assert len(changed) == 6
    assert set(changed) <= set(range(10))
    assert {labels[k] for k in tiles[changed]} == {"b"}


@given(st.integers(2, 50), st.floats(0, 1))
def test_shuffled_prompts_move_tiles_and_lose_none(num, share):
    tiles = shuffle_prompts(num, share)
    assert sorted(tiles) == list(range(num))
    moved = (tiles != np.arange(num)).sum()
    hit = round(share * num)
    assert moved == (hit if hit > 1 else 0)


def test_refuses_what_cannot_be_done(tiles):
    stains = stain_vectors(tiles)
    for call in (
        lambda: wash_eosin(tiles, 1.5, stains),
        lambda: duplicate(5, -0.1),
        lambda: shuffle_prompts(5, 2),
    ):
        with pytest.raises(ConfigError, match="share: .* expected 0 to 1"):
            call()
    with pytest.raises(ConfigError, match="strength: 1; expected 0 to below 1"):
        shift_stain(tiles, 1)
    with pytest.raises(ConfigError, match="compress: quality: 96; expected 1 to 95"):
        compress(tiles, 96)
    with pytest.raises(DataError, match="0 tiles of 'z' and 1 of 'a'; expected some of both"):
        swap_class(["a", "b"], "z", "a", 0.5)
    with pytest.raises(DataError, match="expected square tiles"):
        variations(tiles[:, :32])
    with pytest.raises(DataError, match="expected uint8"):
        compress(tiles / 255, 50)
