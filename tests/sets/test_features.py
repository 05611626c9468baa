"""Feature extraction: order, batches, sources and refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import extract_features


def tiles(num=7, side=8):
    return np.random.default_rng(0).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


def moments(images):
    assert images.dtype == torch.float32
    assert -1 <= images.min() and images.max() <= 1
    return torch.cat([images.mean((2, 3)), images[:, :, 0, 1]], dim=1)


def expected_moments(array):
    scaled = array.astype(np.float64) / 127.5 - 1
    return np.concatenate([scaled.mean((1, 2)), scaled[:, 0, 1]], axis=1)


class Shards:
    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def image(self, index):
        return self.array[index]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_any_batch_size_gives_the_same_rows(batch_size):
    features = extract_features(tiles(), moments, batch_size)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected_moments(tiles()), atol=1e-6)


def test_folder_shards_and_generator_agree(tmp_path):
    array = tiles()
    (tmp_path / "sub").mkdir()
    for index, tile in enumerate(array):
        Image.fromarray(tile).save(tmp_path / ("sub" if index > 4 else "") / f"{index}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    from_array = extract_features(array, moments)
    np.testing.assert_array_equal(extract_features(tmp_path, moments, 2), from_array)
    np.testing.assert_array_equal(extract_features(Shards(array), moments, 2), from_array)
    np.testing.assert_array_equal(extract_features((t for t in array), moments, 2), from_array)


def test_holds_one_batch_at_a_time():
    taken = []

    def stream():
        for index, tile in enumerate(tiles(9)):
            taken.append(index)
            yield tile

    def encoder(images):
        assert len(taken) % 3 == 0 and images.shape[0] == 3
        return images.mean((2, 3))

    assert extract_features(stream(), encoder, 3).shape == (9, 3)


def test_half_precision_features_come_back_as_float32():
    assert extract_features(tiles(2), lambda x: x.mean((2, 3)).half()).dtype == np.float32


def test_sizes_may_be_made_equal():
    mixed = [tiles(1, 8)[0], tiles(1, 12)[0]]
    assert extract_features(mixed, moments, size=8).shape == (2, 6)
    with pytest.raises(DataError, match="sizes 8x8 and 12x12; expected one size"):
        extract_features(mixed, moments)


def test_refusals(tmp_path):
    with pytest.raises(DataError, match="no images"):
        extract_features(tmp_path, moments)
    with pytest.raises(DataError, match="no such folder"):
        extract_features(tmp_path / "absent", moments)
    with pytest.raises(DataError, match=r"item 0: float64 \[8, 8, 3\]; expected uint8"):
        extract_features(np.zeros((1, 8, 8, 3)), moments)
    with pytest.raises(ConfigError, match="batch_size: 0"):
        extract_features(tiles(), moments, 0)


def test_a_cut_file_is_named(tmp_path):
    Image.fromarray(tiles(1, 64)[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"a\.png: an unreadable image"):
        extract_features(tmp_path, moments)


def test_importing_the_package_is_light():
    code = (
        "import sys, crafts.evaluation as e\n"
        "assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert callable(e.separation)\n"
        "from crafts.evaluation import frechet_distance, prdc, image_alignment\n"
        "assert 'torch' not in sys.modules\n"
        "import pytest\n"
        "with pytest.raises(AttributeError, match='no attribute .nothing.'): e.nothing\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
