"""The placement of a suspect on a training tile."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from crafts.auditing.matching import search as module
from crafts.auditing.matching.landmarks import SCALES, describe
from crafts.auditing.matching.search import Index, Match, build_cells, correlate, search

NUMBER = 16


@pytest.fixture(scope="module")
def index(painted):
    tiles = [describe(painted(k)) for k in range(NUMBER)]
    return Index(tiles, build_cells(tiles))


def look_for(index, pixels):
    return search(index, [describe(np.ascontiguousarray(pixels), scales=SCALES)])[0]


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_symmetry_is_found_with_its_matrix(index, painted, quarter, mirrored):
    pixels = np.rot90(painted(3), quarter)
    match = look_for(index, pixels[:, ::-1] if mirrored else pixels)
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    wanted = np.linalg.matrix_power(turn, quarter) @ np.diag([1, -1 if mirrored else 1])
    assert match.index == 3
    assert match.correlation > 0.99
    assert np.allclose(np.reshape(match.matrix, (2, 2)), wanted, atol=0.02)
    assert np.allclose(match.shift, 0, atol=0.5)


def test_a_half_shifted_tile_is_found_with_its_shift(index, painted):
    pixels = painted(40).copy()
    pixels[:, :64] = painted(5)[:, 64:]
    match = look_for(index, pixels)
    assert (match.index, round(match.overlap, 1)) == (5, 0.5)
    assert match.correlation > 0.9
    assert np.allclose(match.shift, (0, 64), atol=1)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75])
def test_an_enlarged_part_is_found_with_its_scale(index, painted, share):
    size = round(128 * share)
    part = Image.fromarray(painted(2)[10 : 10 + size, 20 : 20 + size])
    match = look_for(index, np.asarray(part.resize((128, 128), Image.Resampling.BICUBIC)))
    assert match.index == 2
    assert abs(match.matrix[0] - share) < 0.03
    assert match.correlation > 0.6


def test_a_small_rotation_is_fitted(index, painted):
    turned = Image.fromarray(painted(7)).rotate(5, Image.Resampling.BICUBIC, fillcolor="white")
    match = look_for(index, np.asarray(turned))
    assert match.index == 7
    assert match.correlation > 0.7
    assert abs(np.degrees(np.arctan2(match.matrix[1], match.matrix[0]))) == pytest.approx(5, abs=1)


def test_other_tiles_are_not_matched(index, painted):
    suspects = [describe(painted(k), scales=SCALES) for k in range(40, 60)]
    assert max(match.correlation for match in search(index, suspects)) < 0.5


@pytest.mark.parametrize("quarter", [0, 1])
def test_a_tile_drawn_anew_without_its_detail_is_found_as_a_whole(index, painted, quarter):
    rng = np.random.default_rng(0)
    blurred = Image.fromarray(painted(9)).resize((24, 24), Image.Resampling.BOX)
    soft = np.asarray(blurred.resize((128, 128), Image.Resampling.BICUBIC), dtype=float)
    noisy = (soft + rng.normal(0, 25, soft.shape)).clip(0, 255).astype(np.uint8)
    match = look_for(index, np.rot90(noisy, quarter))
    turn = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), quarter)
    assert (match.index, match.votes) == (9, 0)
    assert match.correlation > 0.35
    assert np.array_equal(np.reshape(match.matrix, (2, 2)), turn)


def test_an_empty_suspect_has_no_match(index):
    assert look_for(index, np.full((128, 128, 3), 255, np.uint8)) == Match()


def test_many_nearly_equal_training_tiles_do_not_hide_each_other(painted):
    def jpeg(quality):
        buffer = io.BytesIO()
        Image.fromarray(painted(1)).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    tiles = [describe(jpeg(40 + k % 60)) for k in range(120)]
    pixels = painted(40).copy()
    pixels[:, :64] = painted(1)[:, 64:]  # a part, so that the look of the whole does not help
    match = look_for(Index(tiles, build_cells(tiles)), pixels)
    assert match.correlation > 0.9
    assert match.votes >= 5  # scattered over 120 tiles there would be one or two on each


@pytest.mark.parametrize(("name", "size"), [("_PAIRS", 50), ("_TOGETHER", 2)])
def test_blocks_do_not_change_the_result(index, painted, monkeypatch, name, size):
    suspects = [describe(painted(k), scales=SCALES) for k in (3, 4, 50)]
    whole = search(index, suspects)
    monkeypatch.setattr(module, name, size)
    assert search(index, suspects) == whole


def test_correlation_is_that_of_numpy_over_the_overlap():
    rng = np.random.default_rng(0)
    source = rng.integers(-120, 120, (40, 40)).astype(np.int8)
    suspect = rng.integers(-120, 120, (40, 40)).astype(np.int8)

    def laid(tile, right):
        return correlate(tile, source, matrix=np.eye(2), shift=np.array([0.0, right]))

    value, overlap = laid(suspect, 10.0)
    wanted = np.corrcoef(suspect[::2, :30:2].ravel(), source[::2, 10::2].ravel())[0, 1]
    assert value == pytest.approx(wanted, abs=1e-6)
    assert overlap == pytest.approx(0.75)
    assert laid(suspect, 100.0) == (0.0, 0.0)
    assert laid(suspect * 0, 0.0)[0] == 0.0
