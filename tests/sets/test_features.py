"""Features of arrays in batches, images of files, and what the package imports."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core.errors import DataError
from crafts.sets.features import encode_tiles, read_image


def tiles(num=7, side=8):
    return np.random.default_rng(0).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_any_batch_size_gives_the_same_rows(batch_size):
    seen = []

    def moments(images):
        seen.append(len(images))
        assert images.dtype == torch.float32 and -1 <= images.min() and images.max() <= 1
        return torch.cat([images.mean((2, 3)), images[:, :, 0, 1]], dim=1).half()

    features = encode_tiles(tiles(), moments, batch_size)
    scaled = tiles().astype(np.float64) / 127.5 - 1
    expected = np.concatenate([scaled.mean((1, 2)), scaled[:, 0, 1]], axis=1)
    assert features.dtype == np.float32 and max(seen) <= batch_size and sum(seen) == 7
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_a_cut_file_is_named(tmp_path):
    Image.fromarray(tiles(1, 64)[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"a\.png: an unreadable image"):
        read_image(tmp_path / "a.png")


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
