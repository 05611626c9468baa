"""The FID Inception written out step by step from a table of weights, in float64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def conv(weights: dict[str, Tensor], name: str, x: Tensor, stride: int = 1, pad=(0, 0)) -> Tensor:
    x = F.conv2d(x, weights[f"{name}.conv.weight"].double(), stride=stride, padding=pad)
    mean, var = weights[f"{name}.bn.running_mean"], weights[f"{name}.bn.running_var"]
    gain, shift = weights[f"{name}.bn.weight"], weights[f"{name}.bn.bias"]
    scale = gain.double() / (var.double() + 1e-3).sqrt()
    x = (x - mean.double()[:, None, None]) * scale[:, None, None] + shift.double()[:, None, None]
    return x.clamp(min=0)


def mean_of_neighbours(x: Tensor) -> Tensor:
    """Mean over the 3x3 neighbours that exist."""
    total, number = torch.zeros_like(x), torch.zeros(x.shape[-2:], dtype=x.dtype)
    height, width = x.shape[-2:]
    for row in range(height):
        for column in range(width):
            rows = slice(max(row - 1, 0), row + 2)
            columns = slice(max(column - 1, 0), column + 2)
            total[..., row, column] = x[..., rows, columns].sum((-2, -1))
            number[row, column] = x[0, 0, rows, columns].numel()
    return total / number


def mixed_5(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    one = conv(w, f"{name}.branch1x1", x)
    five = conv(w, f"{name}.branch5x5_1", x)
    five = conv(w, f"{name}.branch5x5_2", five, pad=(2, 2))
    three = conv(w, f"{name}.branch3x3dbl_1", x)
    three = conv(w, f"{name}.branch3x3dbl_2", three, pad=(1, 1))
    three = conv(w, f"{name}.branch3x3dbl_3", three, pad=(1, 1))
    pool = conv(w, f"{name}.branch_pool", mean_of_neighbours(x))
    return torch.cat([one, five, three, pool], 1)


def mixed_6a(w: dict[str, Tensor], x: Tensor) -> Tensor:
    three = conv(w, "Mixed_6a.branch3x3", x, stride=2)
    double = conv(w, "Mixed_6a.branch3x3dbl_1", x)
    double = conv(w, "Mixed_6a.branch3x3dbl_2", double, pad=(1, 1))
    double = conv(w, "Mixed_6a.branch3x3dbl_3", double, stride=2)
    return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)


def mixed_6(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    flat, tall = (0, 3), (3, 0)
    one = conv(w, f"{name}.branch1x1", x)
    seven = conv(w, f"{name}.branch7x7_1", x)
    seven = conv(w, f"{name}.branch7x7_2", seven, pad=flat)
    seven = conv(w, f"{name}.branch7x7_3", seven, pad=tall)
    double = conv(w, f"{name}.branch7x7dbl_1", x)
    for number, pad in ((2, tall), (3, flat), (4, tall), (5, flat)):
        double = conv(w, f"{name}.branch7x7dbl_{number}", double, pad=pad)
    pool = conv(w, f"{name}.branch_pool", mean_of_neighbours(x))
    return torch.cat([one, seven, double, pool], 1)


def mixed_7a(w: dict[str, Tensor], x: Tensor) -> Tensor:
    three = conv(w, "Mixed_7a.branch3x3_1", x)
    three = conv(w, "Mixed_7a.branch3x3_2", three, stride=2)
    seven = conv(w, "Mixed_7a.branch7x7x3_1", x)
    seven = conv(w, "Mixed_7a.branch7x7x3_2", seven, pad=(0, 3))
    seven = conv(w, "Mixed_7a.branch7x7x3_3", seven, pad=(3, 0))
    seven = conv(w, "Mixed_7a.branch7x7x3_4", seven, stride=2)
    return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


def mixed_7(w: dict[str, Tensor], name: str, x: Tensor, pooled: Tensor) -> Tensor:
    one = conv(w, f"{name}.branch1x1", x)
    three = conv(w, f"{name}.branch3x3_1", x)
    three_a = conv(w, f"{name}.branch3x3_2a", three, pad=(0, 1))
    three_b = conv(w, f"{name}.branch3x3_2b", three, pad=(1, 0))
    double = conv(w, f"{name}.branch3x3dbl_1", x)
    double = conv(w, f"{name}.branch3x3dbl_2", double, pad=(1, 1))
    double_a = conv(w, f"{name}.branch3x3dbl_3a", double, pad=(0, 1))
    double_b = conv(w, f"{name}.branch3x3dbl_3b", double, pad=(1, 0))
    pool = conv(w, f"{name}.branch_pool", pooled)
    return torch.cat([one, three_a, three_b, double_a, double_b, pool], 1)


def inception(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [-1, 1] -> pool3 [B, 2048]."""
    x = conv(w, "Conv2d_1a_3x3", images.double(), stride=2)
    x = conv(w, "Conv2d_2a_3x3", x)
    x = conv(w, "Conv2d_2b_3x3", x, pad=(1, 1))
    x = F.max_pool2d(x, 3, 2)
    x = conv(w, "Conv2d_3b_1x1", x)
    x = conv(w, "Conv2d_4a_3x3", x)
    x = F.max_pool2d(x, 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = mixed_5(w, name, x)
    x = mixed_6a(w, x)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = mixed_6(w, name, x)
    x = mixed_7a(w, x)
    x = mixed_7(w, "Mixed_7b", x, mean_of_neighbours(x))
    x = mixed_7(w, "Mixed_7c", x, F.max_pool2d(x, 3, 1, 1))
    return x.mean((2, 3))
