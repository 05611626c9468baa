"""One deconvolution, against the painter's stains and scikit-image."""

import numpy as np
import pytest
from skimage.color import rgb2hed

from crafts.core.errors import DataError
from crafts.data.painter import paint_tile
from crafts.imaging.stains import (
    HEMATOXYLIN_EOSIN,
    HEMATOXYLIN_EOSIN_REST,
    find_tissue,
    optical_density,
    stain_amounts,
    stain_vectors,
    textbook_stains,
)


@pytest.fixture(scope="module")
def tiles():
    return np.stack([paint_tile(seed=1, index=k, size=64).image for k in range(24)])


def test_finds_the_stains_that_the_painter_used(tiles):
    found = stain_vectors(tiles)
    assert (found * np.array(HEMATOXYLIN_EOSIN)).sum(axis=1) == pytest.approx([1, 1], abs=0.03)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1])


def test_glass_gives_the_textbook_stains():
    assert stain_vectors(np.full((3, 32, 32, 3), 250, np.uint8))[0, 0] == pytest.approx(
        0.65, abs=0.01
    )


def test_amounts_are_those_of_scikit_image(tiles):
    ours = stain_amounts(optical_density(tiles[0]), textbook_stains())
    theirs = rgb2hed(tiles[0])
    assert np.corrcoef(ours[..., 0].ravel(), theirs[..., 0].ravel())[0, 1] > 0.99
    assert np.corrcoef(ours[..., 1].ravel(), theirs[..., 1].ravel())[0, 1] > 0.99


def test_amounts_mix_back_to_the_density(tiles):
    stains = stain_vectors(tiles)
    density = optical_density(tiles[0]).astype(np.float64)
    third = np.cross(*stains)
    rows = np.vstack([stains, third / np.linalg.norm(third)])
    assert stain_amounts(density, stains) @ rows == pytest.approx(density, abs=1e-9)


def test_both_books_mean_the_same_stains():
    one, two = (np.array(rows[:2]) for rows in (HEMATOXYLIN_EOSIN, HEMATOXYLIN_EOSIN_REST))
    assert np.abs(one - two).max() <= 0.006
    assert textbook_stains() == pytest.approx(one / np.linalg.norm(one, axis=1, keepdims=True))


def test_tissue_is_what_is_no_glass():
    tile = np.full((10, 10, 3), 250, np.uint8)
    assert find_tissue(tile).all()  # nothing but glass is taken whole
    tile[:5] = (150, 80, 150)
    assert find_tissue(tile)[:5].all() and not find_tissue(tile)[5:].any()


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)])
def test_what_is_no_tile_is_refused(bad):
    with pytest.raises(DataError, match="tile 0: .*; expected uint8"):
        stain_vectors([bad])
