"""The judge of structure: a residual network that sorts grey tiles into eleven classes of tissue.

It sees tiles at half their size, of one mean, one contrast and one amplitude spectrum: neither
colour nor the sharpness, scale and compression of a set can lead it. No generator has seen it, and
it has seen no generated tile.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ResNetConfig, ResNetForImageClassification

from crafts.imaging.grey import grey_match, spectrum_match
from crafts.model.files.folders import load_module, save_module
from crafts.model.files.places import SHIPPED

WEIGHTS = SHIPPED / "classifier"
ORGANS = ("colon", "lung", "kidney", "breast", "bone")
CLASSES = (
    "oral normal low", "oral carcinoma low", "oral normal high", "oral carcinoma high",
    "prostate benign", "prostate cancer", *ORGANS,
)  # fmt: skip
TASKS = {
    "oral low": CLASSES[0:2],
    "oral high": CLASSES[2:4],
    "prostate": CLASSES[4:6],
    "organ": ORGANS,
}
"""Questions with the classes that answer them; of a task only its own classes are compared."""

_BATCH = 32
_FLIPS = ((), (2,), (3,), (2, 3))


def structure_of(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the judge sees of tiles [N, H, W, 3]: [N, H/2, W/2], see :func:`spectrum_match`."""
    grey = grey_match(tiles)
    count, height, width = grey.shape
    half = grey[:, : height // 2 * 2, : width // 2 * 2]
    half = half.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return spectrum_match(half)


def build_structure_judge() -> ResNetForImageClassification:
    """With random weights: 0.27 M parameters, BatchNorm, for grey images [B, 1, H, W]."""
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=1,
            embedding_size=32,
            hidden_sizes=[32, 48, 64, 96],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(CLASSES)),
            label2id={name: index for index, name in enumerate(CLASSES)},
        )
    )


def load_structure_judge(folder: Path = WEIGHTS) -> ResNetForImageClassification:
    """The shipped judge, or that of a folder, in float32.

    Raises:
        ConfigError: there is no such folder.
        DataError: weights are missing, damaged or of another network.
    """
    network: ResNetForImageClassification = load_module(folder, ResNetForImageClassification)
    return network.eval()


def save_structure_judge(network: ResNetForImageClassification, folder: Path) -> None:
    """Write float16 weights and configuration; ``network`` itself keeps its precision."""
    folder.mkdir(parents=True, exist_ok=True)
    save_module(network, folder, half=True)
    (folder / "model.safetensors").chmod(0o644)  # written as 0600, which a package would keep


def classify(
    network: ResNetForImageClassification, tiles: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Mean log-probabilities [N, K] over the tile and its three flips; tiles uint8 [N, H, W, 3]."""
    out = []
    for start in range(0, len(tiles), _BATCH):
        grey = torch.from_numpy(structure_of(tiles[start : start + _BATCH]))[:, None]
        with torch.inference_mode():
            views = [network(grey.flip(dims)).logits.log_softmax(1) for dims in _FLIPS]
        out.append(torch.stack(views).mean(0).numpy())
    return np.concatenate(out)
