"""The Inception v3 of the FID score in plain torch, for weights that users bring.

Layer names are those of ``pt_inception-2015-12-05-*.pth``, the port of the TensorFlow graph that
Heusel et al. (2017) used. The graph differs from the published architecture (Szegedy et al.,
arXiv:1512.00567) in two places, and the score depends on both: means over the border leave the
padding out, and the last block pools by maximum.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from crafts.core.errors import ConfigError, DataError
from crafts.model.files.guards import check_finite

INPUT_SIZE = 299
WIDTH = 2048
NUM_CLASSES = 1008


@dataclass(frozen=True)
class Conv:
    """A convolution with batch normalisation: stride 1 keeps the size, stride 2 pads nothing."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Steps = tuple["Conv | tuple[Conv, Conv]", ...]
"""Convolutions one after the other; two in a tuple read the same input and are joined."""


@dataclass(frozen=True)
class Block:
    """Paths side by side and a pooling path, joined along the channels.

    Attributes:
        paths: of convolutions.
        pool: "average" (without the padding), "max", or "halve" (maximum with stride 2).
        pool_width: channels of the 1x1 convolution behind the pooling; 0 for none.
    """

    paths: tuple[Steps, ...]
    pool: str
    pool_width: int = 0


_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False),
    "max": partial(F.max_pool2d, kernel_size=3, stride=1, padding=1),
    "halve": partial(F.max_pool2d, kernel_size=3, stride=2),
}
_FLAT, _TALL, _SQUARE = (1, 7), (7, 1), (3, 3)
_DOUBLE = (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, _SQUARE))


def _block_35(pool_width: int) -> Block:
    five = (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5)))
    double = (*_DOUBLE, Conv("branch3x3dbl_3", 96, _SQUARE))
    return Block(((Conv("branch1x1", 64),), five, double), "average", pool_width)


def _block_17(inner: int) -> Block:
    seven = (
        Conv("branch7x7_1", inner),
        Conv("branch7x7_2", inner, _FLAT),
        Conv("branch7x7_3", 192, _TALL),
    )
    double = (
        Conv("branch7x7dbl_1", inner),
        Conv("branch7x7dbl_2", inner, _TALL),
        Conv("branch7x7dbl_3", inner, _FLAT),
        Conv("branch7x7dbl_4", inner, _TALL),
        Conv("branch7x7dbl_5", 192, _FLAT),
    )
    return Block(((Conv("branch1x1", 192),), seven, double), "average", 192)


def _block_8(pool: str) -> Block:
    three = (
        Conv("branch3x3_1", 384),
        (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
    )
    double = (
        Conv("branch3x3dbl_1", 448),
        Conv("branch3x3dbl_2", 384, _SQUARE),
        (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    )
    return Block(((Conv("branch1x1", 320),), three, double), pool, 192)


_HALVE_35 = Block(
    (
        (Conv("branch3x3", 384, _SQUARE, 2),),
        (*_DOUBLE, Conv("branch3x3dbl_3", 96, _SQUARE, 2)),
    ),
    "halve",
)
_HALVE_17 = Block(
    (
        (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, _SQUARE, 2)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, _FLAT),
            Conv("branch7x7x3_3", 192, _TALL),
            Conv("branch7x7x3_4", 192, _SQUARE, 2),
        ),
    ),
    "halve",
)
_BLOCKS = {
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": _HALVE_35,
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": _HALVE_17,
    "Mixed_7b": _block_8("average"),
    "Mixed_7c": _block_8("max"),
}


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: [B, C, H, W] -> [B, width, H', W'].

    Args:
        in_channels: C.
        conv: name, width, kernel and stride.
        pad: whether stride 1 keeps the size.
    """

    def __init__(self, in_channels: int, conv: Conv, *, pad: bool = True) -> None:
        super().__init__()
        height, width = conv.kernel
        padding = (height // 2, width // 2) if pad and conv.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(
            in_channels, conv.width, conv.kernel, conv.stride, padding, bias=False
        )
        self.bn = nn.BatchNorm2d(conv.width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C, H, W] -> [B, width, H', W']."""
        return F.relu(self.bn(self.conv(x)))


class MixedBlock(nn.Module):
    """A :class:`Block` as a network; ``width`` is the number of channels that it gives."""

    def __init__(self, in_channels: int, block: Block) -> None:
        super().__init__()
        self.block = block
        self.width = block.pool_width or in_channels
        for path in block.paths:
            channels = in_channels
            for step in path:
                convs = step if isinstance(step, tuple) else (step,)
                for conv in convs:
                    self.add_module(conv.name, ConvUnit(channels, conv))
                channels = sum(conv.width for conv in convs)
            self.width += channels
        if block.pool_width:
            self.branch_pool = ConvUnit(in_channels, Conv("branch_pool", block.pool_width))

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C, H, W] -> [B, width, H', W']."""
        outputs = [self._follow(path, x) for path in self.block.paths]
        pooled = _POOLS[self.block.pool](x)
        outputs.append(self.branch_pool(pooled) if self.block.pool_width else pooled)
        return torch.cat(outputs, dim=1)

    def _follow(self, path: Steps, x: Tensor) -> Tensor:
        for step in path:
            convs = step if isinstance(step, tuple) else (step,)
            x = torch.cat([self.get_submodule(conv.name)(x) for conv in convs], dim=1)
        return x


class FIDInception(nn.Module):
    """Images to the 2,048 features of the last pooling ("pool3"); random weights until loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, Conv("", 32, _SQUARE, 2))
        self.Conv2d_2a_3x3 = ConvUnit(32, Conv("", 32, _SQUARE), pad=False)
        self.Conv2d_2b_3x3 = ConvUnit(32, Conv("", 64, _SQUARE))
        self.Conv2d_3b_1x1 = ConvUnit(64, Conv("", 80))
        self.Conv2d_4a_3x3 = ConvUnit(80, Conv("", 192, _SQUARE), pad=False)
        channels = 192
        for name, block in _BLOCKS.items():
            mixed = MixedBlock(channels, block)
            self.add_module(name, mixed)
            channels = mixed.width

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1], at least 75 pixels a side -> features [B, 2048]."""
        halve = _POOLS["halve"]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(halve(x)))
        x = halve(x)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def prepare_image(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels uint8 [H, W, 3] -> [3, 299, 299] in [-1, 1], bilinear without antialiasing.

    That is what pytorch-fid does; other resizing gives another score (Parmar et al. 2022).
    """
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
    size = (INPUT_SIZE, INPUT_SIZE)
    resized = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
    return 2 * resized - 1


def load_inception(path: Path) -> FIDInception:
    """Read weights of pytorch-fid's layout; a ``.pth`` file is opened for tensors only.

    Args:
        path: ``pt_inception-2015-12-05-*.pth``, or safetensors of the same names.

    Raises:
        ConfigError: no such file, or weights of another network (torchvision's, for ImageNet).
        DataError: a damaged file, or weights of another shape.
    """
    weights = _read_weights(path)
    network = FIDInception()
    own = network.state_dict()
    head = weights.get("fc.weight")
    others = [name for name in weights if name not in own and name not in ("fc.weight", "fc.bias")]
    missing = [
        name for name in own if name not in weights and not name.endswith("num_batches_tracked")
    ]
    if others or missing or (head is not None and len(head) != NUM_CLASSES):
        odd = others or missing or ["fc.weight"]
        raise ConfigError(
            str(path),
            came=f"weights of another network (at {odd[0]!r})",
            allowed="the FID Inception as pytorch-fid stores it (1,008 classes, no auxiliary head)",
            do="Pass pt_inception-2015-12-05-*.pth; torchvision's ImageNet weights give no FID.",
        )
    try:
        network.load_state_dict({name: value for name, value in weights.items() if name in own})
    except RuntimeError as error:
        raise _damaged(path, error) from None
    check_finite(network.state_dict(), path)
    return network.float().eval()


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ConfigError(
            str(path), came="no such file", allowed="Inception weights", do="Check the path."
        )
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise _damaged(path, error) from None
    if not isinstance(found, Mapping) or not all(
        isinstance(value, Tensor) for value in found.values()
    ):
        raise _damaged(path, "no table of tensors")
    return found


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(
        str(path),
        came=f"unreadable weights ({' '.join(str(reason).split())[:160]})",
        allowed="a .pth or .safetensors file of tensors alone",
        do="Download the file again.",
    )
