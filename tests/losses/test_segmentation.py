"""Losses of the segmenter against loops in float64 and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from crafts.losses.segmentation import class_loss, distance_loss, nucleus_loss


def test_nucleus_loss_is_cross_entropy_and_dice_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    target = (torch.rand(3, 4, 5, generator=generator) < 0.4).double()
    total = 0.0
    for image in range(3):
        entropy = shared = weight = 0.0
        for x, y in zip(
            logits[image].flatten().tolist(), target[image].flatten().tolist(), strict=True
        ):
            p = 1 / (1 + math.exp(-x))
            entropy -= y * math.log(p) + (1 - y) * math.log(1 - p)
            shared += p * y
            weight += p + y
        total += entropy / 20 + 1 - (2 * shared + 1) / (weight + 1)
    assert float(nucleus_loss(logits, target)) == pytest.approx(total / 3)


def test_right_answers_cost_next_to_nothing() -> None:
    target = torch.zeros(2, 8, 8)
    target[0, 2:5, 2:5] = 1
    sure = 40 * (2 * target - 1)
    assert float(nucleus_loss(sure, target)) < 1e-4  # the second image has no nucleus
    assert float(distance_loss(sure, target)) < 1e-6
    assert float(distance_loss(torch.zeros(2, 8, 8), target)) == pytest.approx(0.5)


def test_a_wide_label_is_right_as_any_of_its_classes() -> None:
    allowed = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    logits = torch.randn(2, 3, 1, 3, generator=torch.Generator().manual_seed(1)).double()
    classes = torch.tensor([[[0, 1, 2]], [[3, 0, 2]]])
    p = logits.softmax(1)
    first = -(math.log(p[0, 0, 0, 1]) + math.log(p[0, 1, 0, 2] + p[0, 2, 0, 2])) / 2
    second = -math.log(p[1, 1, 0, 2] + p[1, 2, 0, 2])
    found = class_loss(logits, classes, allowed)
    assert float(found) == pytest.approx((first + second) / 2)


def test_pixels_of_unknown_class_have_no_gradient() -> None:
    allowed = torch.tensor([[False, False], [True, False], [False, False]])
    logits = torch.randn(1, 2, 1, 3, requires_grad=True)
    class_loss(logits, torch.tensor([[[0, 1, 2]]]), allowed).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    moved = logits.grad.abs().sum((0, 1, 2))
    assert moved[0] == moved[2] == 0 < moved[1]
    nothing = class_loss(torch.randn(1, 2, 1, 3), torch.zeros(1, 1, 3), allowed)
    assert float(nothing) == 0
