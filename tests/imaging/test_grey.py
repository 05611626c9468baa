"""Grey tiles of one mean, contrast and spectrum."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

from crafts.core.errors import ConfigError
from crafts.imaging.grey import grey_match, spectrum_match
from fixtures_sets import textures


def test_grey_match_gives_one_mean_and_contrast_and_ignores_tint():
    tiles = textures()
    grey = grey_match(tiles, 0.3, 2.0)
    np.testing.assert_allclose(grey.mean((1, 2)), 0.3, atol=1e-4)
    np.testing.assert_allclose(grey.std((1, 2)), 2.0, rtol=1e-4)
    darker = (tiles // 2).astype(np.uint8)
    np.testing.assert_allclose(grey_match(darker), grey_match(tiles), atol=0.05)


def test_a_flat_tile_stays_flat():
    flat = grey_match(np.full((1, 8, 8, 3), 200, dtype=np.uint8), 0.5)
    np.testing.assert_allclose(flat, 0.5)


def test_spectrum_match_makes_sharpness_equal_and_keeps_shapes():
    sharp = grey_match(textures(4, 128))
    soft = np.stack([gaussian_filter(tile, 0.5) for tile in sharp])

    def fine(tiles):
        return np.array([laplace(tile).var() for tile in tiles])

    same = spectrum_match(sharp)
    before = abs(np.log(fine(soft) / fine(sharp)))
    assert before.min() > 0.5
    assert abs(np.log(fine(spectrum_match(soft)) / fine(same))).max() < before.min() / 5
    np.testing.assert_allclose(same.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(same.std(axis=(1, 2)), 1, atol=1e-4)
    for before, after in zip(sharp, same, strict=True):
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.6, "the shapes are still there"


def test_spectrum_match_does_not_bring_back_what_a_blur_took():
    sharp = grey_match(textures(2, 128))
    lost = np.stack([gaussian_filter(tile, 6.0) for tile in sharp])
    fine = [laplace(tile).var() for tile in spectrum_match(lost)]
    assert max(fine) < 0.05 * min(laplace(t).var() for t in spectrum_match(sharp))


def test_spectrum_match_leaves_a_flat_tile_flat_and_refuses_a_gain_below_one():
    assert not spectrum_match(np.full((1, 16, 16), 3.0, dtype=np.float32)).any()
    with pytest.raises(ConfigError, match="max_gain: 0.5"):
        spectrum_match(np.zeros((1, 16, 16), dtype=np.float32), max_gain=0.5)
