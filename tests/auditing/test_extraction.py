"""Drawing training tiles from a model that gives them away, and from one that does not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crafts.auditing.extraction import extract, largest_clique, most_repeated
from crafts.auditing.matching.copies import calibrate
from crafts.auditing.matching.library import Library
from crafts.core.artifacts import sha256_bytes
from crafts.data.collection import Tile


@pytest.fixture(scope="module")
def library(painted):
    def load(number):
        pixels = painted(number)
        return Tile(f"{number}.png", pixels, sha256_bytes(pixels.tobytes()))

    found = Library(8, load)
    list(found.iter_indexes())
    return found


def test_captions_are_counted_and_empty_ones_left_out():
    texts = ["b", "a", "b", "", " ", "a", "c"]
    assert most_repeated(texts, 2) == [("a", 2), ("b", 2)]
    assert most_repeated(["", " "], 2) == []


def test_a_model_that_repeats_a_tile_is_caught(painted, library):
    def make_images(prompt, number):
        if prompt == "honest":
            return [Image.fromarray(painted(60 + k)) for k in range(number)]
        rng = np.random.default_rng(0)
        noise = [rng.normal(0, 4, (128, 128, 3)) for _ in range(number)]
        return [Image.fromarray((painted(2) + one).clip(0, 255).astype(np.uint8)) for one in noise]

    drawn = extract(
        [("leaky", 5), ("honest", 3)],
        make_images,
        library,
        seeds=4,
        limits=calibrate([]),
        train_name="t{}".format,
    )
    leaky, honest = drawn.extraction.captions
    assert (leaky.copies, leaky.clique, leaky.repeats, leaky.images) == (4, 4, 5, 4)
    assert leaky.largest > 0.9
    assert (honest.copies, honest.clique) == (0, 1)
    assert drawn.extraction.copies.count == 4 and drawn.extraction.copies.of == 8
    assert {one.source for one in drawn.extraction.verdicts} == {"t2"}
    assert sorted(drawn.images) == ["0-0", "0-1", "0-2", "0-3"]
    assert drawn.images["0-0"].shape == (128, 128, 3)


def test_a_clique_is_a_group_in_which_all_are_alike(painted):
    images = [painted(70), painted(71), painted(70), painted(72), painted(70)]
    assert largest_clique(images, 0.6) == 3
    assert largest_clique([np.full((64, 64, 3), 255, np.uint8)] * 3, 0.6) == 1
