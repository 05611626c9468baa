"""Image, mask and map move as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.controls.augment import Move, move_array, move_mask
from crafts.controls.maps import nuclei_map
from crafts.core.errors import ConfigError
from fixtures_controls import random_mask


@settings(max_examples=30)
@given(st.integers(0, 16), st.integers(0, 32), st.integers(0, 7))
def test_every_pixel_keeps_its_nucleus(top, left, symmetry):
    mask = random_mask(1, (64, 80), 12)
    image = np.stack([mask.instances, mask.classes, mask.instances])
    move = Move(top, left, 48, 48, symmetry)
    moved, picture = move_mask(mask, move), move_array(image, move)
    assert moved.size == (48, 48) and picture.shape == (3, 48, 48)
    assert np.array_equal(picture[0], moved.instances)
    assert np.array_equal(picture[1], moved.classes)


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


def test_moves_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="symmetry: 8; expected 0 to 7"):
        Move(0, 0, 4, 4, 8)
    with pytest.raises(ConfigError, match="at least one pixel"):
        Move(-1, 0, 4, 4)
    with pytest.raises(ConfigError, match="inside of 3 x 3 px"):
        move_array(np.zeros((3, 3)), Move(0, 0, 4, 4))
