"""Sharpness, blocks and stains of tiles that are known."""

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.data.painter import paint_tile
from crafts.measures.appearance import COLUMNS, appearance
from crafts.measures.structure import blur
from crafts.testing.damage import compress


@pytest.fixture(scope="module")
def tiles():
    return np.stack([paint_tile(seed=1, index=k, size=64).image for k in range(24)])


def column(tiles, name):
    return appearance(tiles)[:, COLUMNS.index(name)]


def test_every_blur_lowers_sharpness_and_moves_no_colour(tiles):
    sharp = [column(blur(tiles, sigma), "sharpness") for sigma in (0, 0.7, 1.5, 3)]
    assert all((one > two).all() for one, two in zip(sharp, sharp[1:], strict=False))
    colours = appearance(blur(tiles, 3))[:, 2:] - appearance(tiles)[:, 2:]
    assert np.abs(colours).max() < 0.01


def test_contrast_cancels_out_of_sharpness(tiles):
    pale = np.uint8(128 + (tiles.astype(float) - 128) / 2)
    assert column(pale, "sharpness") == pytest.approx(column(tiles, "sharpness"), abs=0.15)


def test_blocks_show_on_the_grid_only(tiles):
    grades = [column(compress(tiles, quality), "blockiness").mean() for quality in (90, 50, 25, 10)]
    assert grades == sorted(grades)
    assert grades[-1] > 0.4
    shifted = np.roll(compress(tiles, 10), 4, axis=(1, 2))
    assert column(shifted, "blockiness").mean() < 0


def test_a_flat_tile_has_no_step_and_its_own_density():
    flat = np.full((1, 32, 32, 3), (255, 127, 63), np.uint8)
    assert appearance(flat)[0] == pytest.approx(
        [0, 0, 0, -np.log10(128 / 256), -np.log10(64 / 256)]
    )


@pytest.mark.parametrize(
    ("bad", "came"),
    [
        (np.zeros((1, 64, 64, 3)), r"float64 \[64, 64, 3\]"),
        (np.zeros((1, 64, 64), np.uint8), r"uint8 \[64, 64\]"),
        (np.zeros((1, 16, 64, 3), np.uint8), r"uint8 \[16, 64, 3\]"),
    ],
)
def test_refuses_what_is_no_tile(bad, came):
    with pytest.raises(DataError, match=f"tile 0: {came}; expected uint8"):
        appearance(bad)


def test_refuses_nothing():
    with pytest.raises(DataError, match="no tiles; expected at least one"):
        appearance([])
