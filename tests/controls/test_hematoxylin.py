"""Colour deconvolution against scikit-image; percentiles against numpy; glass stays dark."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.controls.hematoxylin import hematoxylin_density, hematoxylin_map
from crafts.controls.intensity import ChannelRange, apply_range, measure_range
from crafts.core.errors import ConfigError, DataError

STAIN = np.array([0.65, 0.70, 0.29])


def test_hematoxylin_is_that_of_scikit_image():
    color = pytest.importorskip("skimage.color")
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3)).astype(np.uint8)
    # it measures in units of log(1e-6) and of stains that are not of unit length
    expected = color.rgb2hed(image)[..., 0] * -np.log(1e-6) * np.linalg.norm(STAIN)
    assert np.abs(hematoxylin_density(image) - expected).max() < 1e-4


def test_pure_hematoxylin_gives_its_amount_back_and_eosin_nothing():
    amounts = np.linspace(0, 1.5, 64).reshape(8, 8)
    for stain, share in ((STAIN, 1.0), (np.array([0.07, 0.99, 0.11]), 0.0)):
        unit = stain / np.linalg.norm(stain)
        image = np.rint(255 * np.exp(-amounts[..., None] * unit)).astype(np.uint8)
        assert np.abs(hematoxylin_density(image) - share * amounts).max() < 0.02


def test_the_map_lies_between_two_percentiles_and_says_which():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    values, scale = hematoxylin_map(image)
    density = hematoxylin_density(image).astype(np.float64)
    assert (scale.low, scale.high) == pytest.approx(np.percentile(density, (1, 99.8)), abs=1e-5)
    assert values.shape == (1, 64, 64) and values.dtype == np.float32
    assert values.min() == 0 and values.max() == 1
    again, same = hematoxylin_map(image[:8], scale=scale)
    assert same is scale and np.array_equal(again[0], values[0, :8])


def test_the_noise_of_glass_is_not_stretched():
    glass = np.random.default_rng(0).integers(238, 246, (64, 64, 3)).astype(np.uint8)
    values, scale = hematoxylin_map(glass)
    assert scale.high - scale.low == pytest.approx(0.2)
    assert values.max() < 0.5


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_colour_image_is_refused(image):
    with pytest.raises(DataError, match="expected an RGB image"):
        hematoxylin_map(image)


def test_ranges_refuse_what_has_none():
    for values, reason in (
        (np.zeros((4, 4)), "a constant channel"),
        (np.array([1.0, np.nan]), "1 pixels NaN"),
        (np.zeros(0), "no pixels"),
        (np.zeros(4, complex), "values of type complex"),
    ):
        with pytest.raises(DataError, match=reason):
            measure_range(values, "DAPI")
    for percentiles in ((5, 1), (-1, 50), (1, 101)):
        with pytest.raises(ConfigError, match="two rising numbers"):
            measure_range(np.arange(9), "DAPI", percentiles=percentiles)


def test_sparse_signal_takes_the_whole_range():
    values = np.zeros((100, 100), np.uint16)
    values[0, 0] = 4000
    scale = measure_range(values, "DAPI")
    assert scale.percentiles == (0, 100)
    assert (scale.low, scale.high) == (0, 4000)
    assert apply_range(values, ChannelRange("DAPI", 0, 8000))[0, 0] == 0.5


def test_real_nuclei_are_brighter_than_what_lies_between(real):
    from PIL import Image

    from crafts.controls.masks import load_mask

    path = sorted((real / "monuseg_NC" / "instance_labels").glob("*.png"))[0]
    image = np.asarray(Image.open(real / "monuseg_NC" / "images" / f"{path.stem}.jpg"))
    nuclei = load_mask(path).classes > 0
    values = hematoxylin_map(image)[0][0]
    assert values[nuclei].mean() > 1.5 * values[~nuclei].mean()
