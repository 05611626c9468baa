"""What is kept of a tile does not change when the tile is turned or stained anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.auditing.matching.landmarks import (
    SCALES,
    SIDE,
    align,
    describe,
    grey_image,
    structure_map,
    turn_matrix,
    upright,
)


def symmetries(array):
    for quarter in range(4):
        turned = np.rot90(array, quarter, axes=(-2, -1))
        yield turned
        yield turned[..., ::-1]


@given(seed=st.integers(0, 2**31), size=st.sampled_from([5, 7]))
@settings(max_examples=40)
def test_a_patch_is_brought_into_one_position_from_all_eight(seed, size):
    patch = np.random.default_rng(seed).normal(size=(1, size, size)).astype(np.float32)
    wanted = upright(patch)[0]
    for turned in symmetries(patch):
        assert np.array_equal(upright(np.ascontiguousarray(turned))[0], wanted)


@pytest.mark.parametrize("turn", range(8))
def test_the_matrix_of_a_turn_moves_places_as_the_turn_moves_pixels(turn):
    patch = np.zeros((1, 7, 7), np.float32)
    patch[0, 1, 5] = 1.0
    moved = patch.copy()
    if turn & 1:
        moved = moved[:, ::-1]
    if turn & 2:
        moved = moved[:, :, ::-1]
    if turn & 4:
        moved = moved.transpose(0, 2, 1)
    place = np.argwhere(moved[0])[0] - 3
    assert np.array_equal(turn_matrix(turn) @ (np.array([1, 5]) - 3), place)


def test_a_turned_tile_has_the_same_landmarks(painted):
    own = describe(painted(0)).landmarks
    for turned in symmetries(painted(0).transpose(2, 0, 1)):
        other = describe(np.ascontiguousarray(turned.transpose(1, 2, 0))).landmarks
        likeness = (own.descriptors @ other.descriptors.T).max(axis=1)
        assert (likeness > 0.95).mean() > 0.9


def test_light_and_contrast_do_not_change_the_structure():
    grey = np.random.default_rng(0).normal(120, 40, (SIDE, SIDE)).astype(np.float32)
    own = structure_map(grey)[0]
    changed = structure_map(grey * 0.6 + 50)[0]
    assert np.corrcoef(own.ravel(), changed.ravel())[0, 1] > 0.99


def test_an_empty_tile_has_no_structure_and_no_landmarks():
    described = describe(np.full((64, 64, 3), 240, np.uint8))
    assert described.structure == 0.0
    assert len(described.landmarks) == 0
    assert not described.map.any()


def test_the_shorter_side_is_brought_to_one_size(painted):
    assert grey_image(painted(0)[:64]).size == (2 * SIDE, SIDE)
    assert grey_image(painted(0)[:, :64]).size == (SIDE, 2 * SIDE)
    assert describe(painted(0)[:64], scales=SCALES).map.shape == (SIDE, 2 * SIDE)


def test_align_follows_scipy_affine_transform():
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(1)
    values = rng.normal(size=(20, 24)).astype(np.float32)
    matrix, shift = np.array([[0.8, -0.1], [0.1, 0.8]]), np.array([1.5, -2.0])
    centre_out, centre_in = np.array([7.5, 8.5]), np.array([9.5, 11.5])
    seen, inside = align(values, (16, 18), matrix=matrix, shift=shift)
    offset = centre_in + shift - matrix @ centre_out
    wanted = affine_transform(values, matrix, offset, (16, 18), order=1, mode="nearest")
    assert np.allclose(seen, wanted, atol=1e-5)
    assert inside.mean() > 0.9
    assert np.array_equal(
        align(values, (16, 18), matrix=matrix, shift=shift, step=2)[0], seen[::2, ::2]
    )
