"""Grids have the physical size that was asked for, at any resolution of the slide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.slides.grid import SNAP, TooCoarseError, choose_view, crop_of, plan_grid

SIZES = ((40_000, 30_000), (10_000, 7_500), (2_500, 1_875))


@pytest.mark.parametrize(
    ("slide_mpp", "mpp", "level", "exact"),
    [
        (0.25, 0.25, 0, True),
        (0.2508, 0.25, 0, True),
        (0.25, 0.5, 0, False),
        (0.25, 1.0, 1, True),
        (0.25, 3.9, 1, False),
        (0.25, 4.0, 2, True),
        (0.25, 20.0, 2, False),
    ],
)
def test_the_coarsest_level_that_is_fine_enough(slide_mpp, mpp, level, exact):
    view = choose_view(SIZES, (slide_mpp, slide_mpp), mpp)
    assert (view.level, view.is_exact) == (level, exact)


def test_a_slide_that_is_too_coarse_is_refused():
    with pytest.raises(TooCoarseError, match="1 microns per pixel, coarser than the 0.5"):
        choose_view(SIZES, (1.0, 1.0), 0.5)
    assert choose_view(SIZES, (0.55, 0.55), 0.5, max_upsampling=1.1).scale[0] < 1


@given(
    st.floats(0.05, 5), st.floats(0.05, 32), st.integers(8, 2048), st.floats(0.95, 1.05), st.data()
)
def test_size_and_place_are_physical(slide_mpp, mpp, size, ratio, data):
    own = slide_mpp, slide_mpp * ratio
    overlap = data.draw(st.integers(0, size - 1))
    try:
        view = choose_view(SIZES, own, mpp, max_upsampling=1.0)
    except TooCoarseError:
        assert max(own) > mpp
        return
    grid = plan_grid(SIZES[0], view, size=size, overlap=overlap)
    for axis in range(2):
        assert grid.extent[axis] * own[axis] == pytest.approx(size * mpp, rel=SNAP + 1e-6)
        assert size * view.mpp[axis] == pytest.approx(grid.extent[axis] * own[axis])
    if len(grid) > 100_000:
        return
    x, y = grid.positions()
    assert len(x) == len(grid)
    if len(grid):
        assert x.max() + grid.extent[0] <= SIZES[0][0] + 1.5
        assert y.max() + grid.extent[1] <= SIZES[0][1] + 1.5
        # no drift: the last column is where its number says
        assert x.max() == round((grid.columns - 1) * grid.step[0])
    level = SIZES[view.level]
    for i in np.unique(np.linspace(0, len(grid) - 1, 5).astype(int)) if len(grid) else ():
        crop = crop_of(int(x[i]), int(y[i]), view, size, level)
        left, top, right, bottom = crop.box
        assert 0 <= left < right <= crop.width and 0 <= top < bottom <= crop.height
        assert round(crop.x / view.downsample[0]) + crop.width <= level[0]
        assert round(crop.y / view.downsample[1]) + crop.height <= level[1]
        # what is read lies where the tile is, within a pixel of the level
        assert abs(crop.x + left * view.downsample[0] - x[i]) <= 1.5 * view.downsample[0]


def test_neighbours_share_the_overlap():
    view = choose_view(SIZES, (0.25, 0.25), 0.25)
    grid = plan_grid(SIZES[0], view, size=256, overlap=56)
    x, y = grid.positions()
    assert list(x[:3]) == [0, 200, 400]
    assert y[grid.columns] == 200


def test_a_slide_smaller_than_a_tile_has_none():
    view = choose_view([(500, 500)], (0.5, 0.5), 0.5)
    assert len(plan_grid((500, 500), view, size=512, overlap=0)) == 0
    assert len(plan_grid((512, 512), view, size=512, overlap=0)) == 1
