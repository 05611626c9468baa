"""Structure controls: what each keeps, what each destroys."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import convolve
from sklearn.metrics import balanced_accuracy_score

from crafts.core.errors import ConfigError, DataError
from crafts.imaging.grey import grey_match
from crafts.measures import structure
from fixtures_sets import textures

SETS = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_colour_control_keeps_colour_and_has_the_same_structure_for_every_class():
    tiles = textures()
    drawn = structure.color_statistics_generator(tiles, 8, seed=1)
    assert drawn.dtype == np.uint8 and drawn.shape == (8, 48, 48, 3)
    # clipping at white moves the statistics a little
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), tiles.mean((0, 1, 2)), atol=4)
    want, got = (np.corrcoef(t.reshape(-1, 3), rowvar=False) for t in (tiles, drawn))
    np.testing.assert_allclose(got, want, atol=0.05)
    other = structure.color_statistics_generator(255 - tiles, 8, seed=1)
    same = [
        abs(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in zip(grey_match(drawn), grey_match(other), strict=True)
    ]
    assert min(same) > 0.9  # one noise, two tints: nothing but clipping tells them apart
    assert (drawn == structure.color_statistics_generator(tiles, 8, seed=1)).all()


def test_phase_scramble_keeps_mean_and_spectrum_and_loses_the_shapes():
    tiles = (textures() // 4 + 96).astype(np.uint8)  # room on both sides: no clipping
    scrambled = structure.phase_scramble(tiles, seed=2)
    np.testing.assert_allclose(scrambled.mean((1, 2)), tiles.mean((1, 2)), atol=0.5)
    before, after = (np.abs(np.fft.rfft2(t.astype(float), axes=(1, 2))) for t in (tiles, scrambled))
    strong = before > 200
    np.testing.assert_allclose(after[strong], before[strong], rtol=0.25)
    alike = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(grey_match(tiles), grey_match(scrambled), strict=True)
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
        grey_match(np.zeros((2, 8, 8, 3)))
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
    from crafts.sets.features import read_image

    paths = sorted(path for path in (SETS / "oral_oscc" / "Normal").rglob("*") if path.is_file())
    tiles = np.stack([read_image(path)[:256, :256] for path in paths[:4]])

    def detail(images):
        grey = grey_match(images)
        return np.diff(grey, axis=2).var()

    assert detail(structure.blur(tiles, 4.0)) < 0.2 * detail(tiles)
    scrambled = structure.phase_scramble(tiles)
    assert detail(scrambled) == pytest.approx(detail(tiles), rel=0.35)
    drawn = structure.color_statistics_generator(tiles, 4)
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), tiles.mean((0, 1, 2)), atol=6)
