import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import DataError
from crafts.imaging.sources import (
    as_mask,
    build_source,
    feathered,
    read_mask,
    read_picture,
)

DRAWS = np.random.default_rng(0)
IMAGE = DRAWS.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def mask_at(top, left, height=1, width=1, shape=(40, 56)):
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_feather_falls_evenly_to_nothing():
    share = feathered(mask_at(20, 28), 3)
    np.testing.assert_allclose(share[20, 28:33], [1, 0.75, 0.5, 0.25, 0])
    assert feathered(mask_at(20, 28), 0).sum() == 1


@pytest.mark.parametrize("at", [(0, 0), (39, 55), (0, 55), (20, 28), (13, 37)])
def test_the_window_lies_in_the_picture_and_around_the_mask(at):
    source = build_source(IMAGE, mask_at(*at), edge=32, feather=4)
    left, top = source.corner
    assert 0 <= left <= 56 - 32
    assert 0 <= top <= 40 - 32
    assert source.region.sum() == 1
    assert np.array_equal(source.pixels, IMAGE[top : top + 32, left : left + 32])
    whole = source.paste(np.zeros((32, 32, 3), np.uint8))
    assert np.array_equal(whole[source.share == 0], IMAGE[source.share == 0])
    assert not whole[at].any()


def test_a_change_that_is_none_leaves_every_bit():
    source = build_source(IMAGE[:32, :32], None, edge=32, feather=8)
    made = DRAWS.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(source.paste(made, made), source.image)
    assert np.array_equal(source.paste(made), made)


@pytest.mark.parametrize(
    ("image", "mask", "came"),
    [
        (IMAGE[:31], mask_at(0, 0, shape=(31, 56)), "56 x 31 px"),
        (IMAGE, mask_at(0, 0, shape=(40, 40)), "40 x 40 px"),
        (IMAGE, np.zeros((40, 56), bool), "no pixel that is marked"),
        (IMAGE, mask_at(3, 3, 4, 33), "a region 37 px across"),
        (IMAGE, None, "a region 56 px across"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_a_sentence(image, mask, came):
    with pytest.raises(DataError) as refused:
        build_source(image, mask, edge=32, feather=2, name="tile.png")
    assert came in refused.value.came
    assert "tile.png" in refused.value.where
    assert refused.value.allowed
    assert refused.value.do


def test_white_is_marked_in_grey_and_in_colour(tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    assert as_mask(grey).tolist() == [[False, False, True, True]]
    Image.fromarray(grey).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), as_mask(grey))


def test_a_transparent_mask_is_refused(tmp_path):
    path = tmp_path / "mask.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    with pytest.raises(DataError, match="transparency"):
        read_mask(path)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_file_that_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_picture(path)
