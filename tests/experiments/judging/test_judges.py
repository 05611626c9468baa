"""Judges of an experiment on tiles of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.experiments.corpus.tiles import crop_center, open_tiles
from crafts.experiments.judging.judges import CopySearch, GreyClassifier, to_grey
from crafts.experiments.settings import configure


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory):
    config = configure("losses", ["painted_tiles=48", "crop=16", "num_prompts=8"], data="painted")
    return open_tiles(config, tmp_path_factory.mktemp("judges"), factor=8)


def test_turned_training_tiles_are_copies_and_other_patients_tiles_are_not(tiles):
    copied = [np.rot90(image, k) for k, image in enumerate(tiles.images(tiles.training[:6]))]
    mixed = [*copied[:3], *tiles.images(tiles.prompts[:3])]
    search = CopySearch(tiles)
    assert search.rates([copied, tiles.images(tiles.prompts), mixed]) == [100.0, 0.0, 50.0]


def test_the_grey_classifier_reads_structure_and_misses_shuffled_labels():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 12)), ["a", "b", "c", "d"] * 50
    features[np.arange(200), [ord(name) - ord("a") for name in labels]] += 5
    judge = GreyClassifier(features[:120], labels[:120])
    assert judge.accuracy(features[120:], labels[120:]) > 95
    turned = [*labels[121:], labels[120]]
    assert judge.accuracy(features[120:], turned) < 5
    assert judge.accuracy(features[120:], ["e"] * 80) == 0  # a class that it does not know


def test_grey_images_have_one_colour_mean_and_contrast():
    rng = np.random.default_rng(1)
    images = [rng.integers(low, 255, (32, 32, 3)).astype(np.uint8) for low in (0, 100, 180)]
    for image in to_grey([crop_center(one, 24) for one in images]):
        assert image.shape == (24, 24, 3) and (image == image[..., :1]).all()
        assert image.mean() == pytest.approx(170, abs=2)
        assert image.std() == pytest.approx(45, abs=4)
