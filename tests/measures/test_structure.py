"""Structure controls: what each keeps, what each destroys."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter, laplace
from sklearn.metrics import balanced_accuracy_score

from crafts.core.errors import ConfigError, DataError
from crafts.measures import structure

SETS = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def textures(num=6, side=48):
    """Discs on a tinted ground: structure and colour to lose."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    out = np.empty((num, side, side, 3), dtype=np.uint8)
    for tile in out:
        tile[:] = (205, 175, 195) + rng.integers(-8, 8, (side, side, 3))
        for cy, cx in rng.integers(4, side - 4, (12, 2)):
            tile[(y - cy) ** 2 + (x - cx) ** 2 < 12] = (90, 60, 140)
    return out


def test_grey_match_gives_one_mean_and_contrast_and_ignores_tint():
    tiles = textures()
    grey = structure.grey_match(tiles, 0.3, 2.0)
    np.testing.assert_allclose(grey.mean((1, 2)), 0.3, atol=1e-4)
    np.testing.assert_allclose(grey.std((1, 2)), 2.0, rtol=1e-4)
    darker = (tiles // 2).astype(np.uint8)
    np.testing.assert_allclose(structure.grey_match(darker), structure.grey_match(tiles), atol=0.05)


def test_a_flat_tile_stays_flat():
    flat = structure.grey_match(np.full((1, 8, 8, 3), 200, dtype=np.uint8), 0.5)
    np.testing.assert_allclose(flat, 0.5)


def test_colour_control_keeps_colour_and_has_the_same_structure_for_every_class():
    tiles = textures()
    drawn = structure.colour_statistics_generator(tiles, 8, seed=1)
    assert drawn.dtype == np.uint8 and drawn.shape == (8, 48, 48, 3)
    # clipping at white moves the statistics a little
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), tiles.mean((0, 1, 2)), atol=4)
    want, got = (np.corrcoef(t.reshape(-1, 3), rowvar=False) for t in (tiles, drawn))
    np.testing.assert_allclose(got, want, atol=0.05)
    other = structure.colour_statistics_generator(255 - tiles, 8, seed=1)
    same = [
        abs(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in zip(structure.grey_match(drawn), structure.grey_match(other), strict=True)
    ]
    assert min(same) > 0.9  # one noise, two tints: nothing but clipping tells them apart
    assert (drawn == structure.colour_statistics_generator(tiles, 8, seed=1)).all()


def test_phase_scramble_keeps_mean_and_spectrum_and_loses_the_shapes():
    tiles = (textures() // 4 + 96).astype(np.uint8)  # room on both sides: no clipping
    scrambled = structure.phase_scramble(tiles, seed=2)
    np.testing.assert_allclose(scrambled.mean((1, 2)), tiles.mean((1, 2)), atol=0.5)
    before, after = (np.abs(np.fft.rfft2(t.astype(float), axes=(1, 2))) for t in (tiles, scrambled))
    strong = before > 200
    np.testing.assert_allclose(after[strong], before[strong], rtol=0.25)
    alike = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(structure.grey_match(tiles), structure.grey_match(scrambled), strict=True)
    ]
    assert max(np.abs(alike)) < 0.3


def test_blur_removes_detail_as_a_direct_convolution_does():
    tiles = textures(1)
    reach = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (reach / 2.0) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    want = np.stack(
        [convolve(tiles[0, ..., c].astype(float), kernel, mode="reflect") for c in range(3)],
        axis=-1,
    )
    np.testing.assert_allclose(structure.blur(tiles, 2.0)[0], want, atol=1.0)
    assert (structure.blur(tiles, 0) == tiles).all()


def test_balanced_accuracy_matches_sklearn():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    assert structure.balanced_accuracy(truth, guess) == pytest.approx(
        balanced_accuracy_score(truth, guess)
    )
    adjusted = balanced_accuracy_score(truth, guess, adjusted=True)
    assert structure.chance_corrected(balanced_accuracy_score(truth, guess), 4) == pytest.approx(
        adjusted
    )


def test_refusals():
    with pytest.raises(DataError, match=r"float64 \[2, 8, 8, 3\]; expected uint8"):
        structure.grey_match(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ConfigError, match="blur: sigma: -1"):
        structure.blur(textures(1), -1)
    with pytest.raises(DataError, match="2 labels and 1 predictions"):
        structure.balanced_accuracy([0, 1], [0])
    with pytest.raises(ConfigError, match="num_classes: 1"):
        structure.chance_corrected(0.5, 1)


@pytest.mark.skipif(
    not SETS.is_dir(), reason="the open histology sets are not beside the repository"
)
def test_controls_on_real_tiles_lose_what_they_claim():
    from crafts.sets.features import list_images, read_image

    tiles = np.stack(
        [read_image(p)[:256, :256] for p in list_images(SETS / "oral_oscc" / "Normal")[:4]]
    )

    def detail(images):
        grey = structure.grey_match(images)
        return np.diff(grey, axis=2).var()

    assert detail(structure.blur(tiles, 4.0)) < 0.2 * detail(tiles)
    scrambled = structure.phase_scramble(tiles)
    assert detail(scrambled) == pytest.approx(detail(tiles), rel=0.35)
    drawn = structure.colour_statistics_generator(tiles, 4)
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), tiles.mean((0, 1, 2)), atol=6)


def test_spectrum_match_makes_sharpness_equal_and_keeps_shapes():
    sharp = structure.grey_match(textures(4, 128))
    soft = np.stack([gaussian_filter(tile, 0.5) for tile in sharp])

    def fine(tiles):
        return np.array([laplace(tile).var() for tile in tiles])

    same = structure.spectrum_match(sharp)
    before = abs(np.log(fine(soft) / fine(sharp)))
    assert before.min() > 0.5
    assert abs(np.log(fine(structure.spectrum_match(soft)) / fine(same))).max() < before.min() / 5
    np.testing.assert_allclose(same.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(same.std(axis=(1, 2)), 1, atol=1e-4)
    for before, after in zip(sharp, same, strict=True):
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.6, "the shapes are still there"


def test_spectrum_match_does_not_bring_back_what_a_blur_took():
    sharp = structure.grey_match(textures(2, 128))
    lost = np.stack([gaussian_filter(tile, 6.0) for tile in sharp])
    fine = [laplace(tile).var() for tile in structure.spectrum_match(lost)]
    assert max(fine) < 0.05 * min(laplace(t).var() for t in structure.spectrum_match(sharp))


def test_spectrum_match_leaves_a_flat_tile_flat_and_refuses_a_gain_below_one():
    assert not structure.spectrum_match(np.full((1, 16, 16), 3.0, dtype=np.float32)).any()
    with pytest.raises(ConfigError, match="max_gain: 0.5"):
        structure.spectrum_match(np.zeros((1, 16, 16), dtype=np.float32), max_gain=0.5)
