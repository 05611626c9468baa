"""Tissue against known truth, Otsu against scikit-image, fractions against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import filters, morphology

from crafts.slides.config import TissueConfig
from crafts.slides.reading.reader import open_slide
from crafts.slides.tissue import (
    TissueMap,
    map_tissue,
    mask_tissue,
    otsu_threshold,
    saturation_of,
)
from painted_slide import paint_slide


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(("mpp", "levels"), [(0.25, 3), (0.5, 1), (1.0, 2)])
def test_recall_of_painted_tissue(tmp_path, seed, mpp, levels):
    painted = paint_slide(tmp_path / "a.tif", side=2048, mpp=mpp, levels=levels, seed=seed)
    with open_slide(tmp_path / "a.tif") as slide:
        found = map_tissue(slide, TissueConfig())
    height, width = found.mask.shape
    truth = painted.tissue(
        (np.arange(width) + 0.5) * found.pixel[0], (np.arange(height) + 0.5) * found.pixel[1]
    )
    assert (found.mask & truth).sum() / truth.sum() >= 0.98
    assert (found.mask & truth).sum() / found.mask.sum() >= 0.85


def test_glass_alone_has_no_tissue_and_tissue_alone_is_all_tissue():
    rng = np.random.default_rng(0)
    glass = rng.uniform(0, 0.02, (200, 200)).astype(np.float32)
    assert not mask_tissue(glass, TissueConfig(), (8, 8))[0].any()
    tissue = rng.uniform(0.2, 0.6, (200, 200)).astype(np.float32)
    assert mask_tissue(tissue, TissueConfig(), (8, 8))[0].all()


def test_otsu_is_that_of_scikit_image():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0.05, 0.02, 4000), rng.normal(0.4, 0.1, 2000)])
    values = np.clip(values, 0, 1).astype(np.float32)
    # scikit-image bins over the range of the values, ours over [0, 1]
    assert otsu_threshold(values) == pytest.approx(filters.threshold_otsu(values), abs=0.01)
    assert otsu_threshold(np.zeros(10, np.float32)) == 0


def test_saturation_is_that_of_hsv():
    from skimage.color import rgb2hsv

    pixels = np.random.default_rng(2).integers(0, 256, (20, 20, 3), np.uint8)
    assert np.allclose(saturation_of(pixels), rgb2hsv(pixels)[..., 1], atol=1e-6)


def test_closing_and_small_pieces_are_those_of_scikit_image():
    rng = np.random.default_rng(3)
    values = (rng.uniform(size=(120, 130)) > 0.7).astype(np.float32)
    config = TissueConfig(method="fixed", threshold=0.5, close=24, min_area=0, max_hole=0)
    found, _ = mask_tissue(values, config, (8, 8))
    from scipy.ndimage import median_filter

    expected = morphology.closing(median_filter(values, 3) > 0.5, morphology.disk(3))
    inner = slice(4, -4), slice(4, -4)  # at the border the two pad differently
    assert np.array_equal(found[inner], expected[inner])


def test_holes_are_filled_up_to_their_limit_and_dust_is_dropped():
    values = np.zeros((100, 100), np.float32)
    values[10:60, 10:60] = 0.5
    values[30:36, 30:36] = 0  # 36 px of 64 square microns
    values[80:83, 80:83] = 0.5
    config = TissueConfig(close=0, min_area=1000, max_hole=36 * 64 + 1)
    mask, _ = mask_tissue(values, config, (8, 8))
    assert mask[30:36, 30:36].all() and not mask[70:].any()
    mask, _ = mask_tissue(values, TissueConfig(close=0, max_hole=20 * 64), (8, 8))
    assert not mask[32:34, 32:34].any()


def test_fractions_are_exact_for_fractional_rectangles():
    rng = np.random.default_rng(4)
    mask = rng.uniform(size=(40, 50)) > 0.5
    found = TissueMap(mask, np.zeros_like(mask), 0.1, (10.0, 10.0))
    fine = np.repeat(np.repeat(mask, 10, 0), 10, 1)  # one pixel of level 0 each
    x, y = np.array([0, 13, 377, 95]), np.array([0, 21, 300, 7])
    expected = [fine[b : b + 64, a : a + 87].mean() for a, b in zip(x, y, strict=True)]
    assert np.allclose(found.fractions(x, y, (87, 64)), expected, atol=1e-9)
    assert len(found.fractions(x[:0], y[:0], (87, 64))) == 0


def test_what_low_power_cannot_read_is_unknown():
    unknown = np.zeros((10, 10), bool)
    unknown[:5] = True
    found = TissueMap(~unknown, unknown, 0.1, (10.0, 10.0))
    shares = found.fractions(np.array([0, 0]), np.array([0, 60]), (20, 20))
    assert np.isnan(shares[0]) and shares[1] == 1
