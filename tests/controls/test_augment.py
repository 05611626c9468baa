"""Image, mask and map move as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.controls.augment import Move, draw_move, move_array, move_image, move_mask
from crafts.controls.maps import nuclei_map
from crafts.core.errors import ConfigError
from fixtures_controls import random_mask


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_every_pixel_keeps_its_nucleus(seed):
    mask = random_mask(1, (64, 80), 12)
    image = np.stack([mask.instances, mask.classes, mask.instances], axis=2).astype(np.uint8)
    move = draw_move(mask.size, size=48, seed=seed)
    moved, picture = move_mask(mask, move), move_image(image, move)
    assert moved.size == (48, 48) and picture.shape == (48, 48, 3)
    assert np.array_equal(picture[..., 0], moved.instances)
    assert np.array_equal(picture[..., 1], moved.classes)
    assert np.array_equal(move_array(mask.instances, move), moved.instances)


def test_the_eight_symmetries_are_different_and_those_of_the_training_loader():
    torch = pytest.importorskip("torch")
    from crafts.data.tiles.augment import dihedral

    image = np.arange(48).reshape(3, 4, 4)
    seen = set()
    for number in range(8):
        found = move_array(image, Move(0, 0, 4, 4, number))
        assert np.array_equal(found, dihedral(torch.from_numpy(image), number).numpy())
        seen.add(found.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize("number", range(8))
def test_the_map_of_a_turned_mask_is_the_turned_map(number):
    mask = random_mask(2, (64, 64), 12)
    move = Move(0, 0, 64, 64, number)
    assert np.allclose(nuclei_map(move_mask(mask, move)), move_array(nuclei_map(mask), move))


def test_draws_reach_every_symmetry_and_corner():
    moves = [draw_move((10, 12), size=9, seed=seed) for seed in range(300)]
    assert {move.symmetry for move in moves} == set(range(8))
    assert {(move.top, move.left) for move in moves} == {(t, l) for t in range(2) for l in range(4)}
    assert draw_move((10, 12), size=9, seed=5) == draw_move((10, 12), size=9, seed=5)


def test_moves_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="symmetry: 8; expected 0 to 7"):
        Move(0, 0, 4, 4, 8)
    with pytest.raises(ConfigError, match="at least one pixel"):
        Move(-1, 0, 4, 4)
    with pytest.raises(ConfigError, match="inside of 3 x 3 px"):
        move_array(np.zeros((3, 3)), Move(0, 0, 4, 4))
    for size in (None, 11):
        with pytest.raises(ConfigError, match="a square that lies inside"):
            draw_move((10, 12), size=size, seed=0)
