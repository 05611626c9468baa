"""The scorecard of an autoencoder: its numbers against others', its table and its picture."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA

from crafts.testing import write_tiny_model
from crafts.workflows.scorecards import codec
from fixtures_scorecards import write_labelled_tiles


def test_the_linear_code_is_a_principal_component_analysis():
    rng = np.random.default_rng(0)
    train, held = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (20, 3))
    mean, basis = codec.fit_linear(train, 8, 8)
    pca = PCA(8, svd_solver="full").fit(codec.patches_of(train, 8))
    rows = codec.patches_of(held, 8)
    error = (pca.inverse_transform(pca.transform(rows)) - rows) ** 2
    expected = np.mean(10 * np.log10(255**2 / error.reshape(3, -1).mean(1)))
    assert codec.linear_psnr(held, 8, mean, basis) == pytest.approx(expected, rel=1e-6)
    assert codec.psnr(held, held) > 100
    other = np.clip(held.astype(int) + rng.integers(-30, 30, held.shape), 0, 255).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similar = [
        structural_similarity(a.mean(2), b.mean(2), data_range=255, **options)
        for a, b in zip(held, other, strict=True)
    ]
    assert codec.ssim(held, other) == pytest.approx(np.mean(similar), rel=1e-6)
    assert codec.laplacian_ratio(held, held) == pytest.approx(1)
    patch = held[1, 8:16, 16:24].reshape(-1)
    assert (codec.patches_of(held, 8)[16 + 4 + 2] == patch).all()


def test_a_checkerboard_in_place_of_detail_is_told_by_its_ratio():
    random = np.random.default_rng(0)
    tiles = random.integers(60, 190, (2, 64, 64, 3), dtype=np.uint8)
    soft = np.stack([gaussian_filter(tile.astype(float), (1, 1, 0)) for tile in tiles])
    board = 8.0 * (-1) ** np.add.outer(np.arange(64), np.arange(64))[..., None]
    gamed = np.clip(np.rint(soft + board), 0, 255).astype(np.uint8)
    assert codec.checkerboard_ratio(tiles, tiles) == pytest.approx(1)
    measures = (codec.laplacian_ratio, codec.checkerboard_ratio)
    ratio, screened = (measure(np.rint(soft).astype(np.uint8), gamed) for measure in measures)
    assert screened > 2 * ratio > 2


def test_the_table_and_the_picture(tmp_path):
    model = write_tiny_model(tmp_path / "model", size=32)
    tiles = write_labelled_tiles(tmp_path / "tiles")
    text = codec.score_codec(model / "vae", tiles, tmp_path / "card", tiles_per_set=4, device="cpu")
    rows = json.loads((tmp_path / "card/codec.json").read_text())["sets"]
    assert [row["set"] for row in rows] == ["lizard", "oral", "other", "mean over sets"]
    assert all(row["gain"] == pytest.approx(row["psnr"] - row["linear"]) for row in rows)
    assert "| mean over sets | 12 |" in text
    assert Image.open(tmp_path / "card/codec.png").height == 6 * (256 + 4)
