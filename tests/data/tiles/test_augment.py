"""Symmetries form the group of the square; stain jitter agrees with a slow float64 loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.runtime import generator_for
from crafts.data.tiles.augment import (
    dihedral,
    draw_stain_jitter,
    stain_jitter,
)


@given(st.integers(0, 7), st.integers(1, 6), st.integers(1, 6))
def test_each_symmetry_has_its_inverse(k, height, width):
    image = torch.arange(2 * height * width).reshape(2, height, width)
    undone = [torch.equal(dihedral(dihedral(image, k), other), image) for other in range(8)]
    assert any(undone)


def test_the_eight_symmetries_are_the_group_of_the_square():
    image = torch.arange(9).reshape(3, 3)
    seen = {tuple(dihedral(image, k).flatten().tolist()) for k in range(8)}
    assert len(seen) == 8
    products = {
        tuple(dihedral(dihedral(image, a), b).flatten().tolist())
        for a in range(8)
        for b in range(8)
    }
    assert products == seen


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (0, [[0, 1], [2, 3]]),
        (1, [[1, 3], [0, 2]]),
        (4, [[1, 0], [3, 2]]),
        (6, [[2, 3], [0, 1]]),
    ],
)
def test_turns_are_anticlockwise_and_flips_left_right(k, expected):
    assert dihedral(torch.arange(4).reshape(2, 2), k).tolist() == expected


@pytest.mark.parametrize("k", [-1, 8])
def test_other_symmetries_are_refused(k):
    with pytest.raises(ValueError, match=r"expected 0\.\.7"):
        dihedral(torch.zeros(2, 2), k)


def slow_jitter(pixel: list[float], factors: list[float], offsets: list[float]) -> list[float]:
    """One RGB pixel in [-1, 1], by Cramer's rule and loops in float64."""
    rows = [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]
    rows = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows]
    density = [-math.log(max((v + 1) / 2, 1 / 255)) for v in pixel]

    def determinant(m):
        return sum(
            m[0][i]
            * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3])
            for i in range(3)
        )

    amounts = []
    for stain in range(3):
        replaced = [density if i == stain else rows[i] for i in range(3)]
        amounts.append(determinant(replaced) / determinant(rows))
    changed = [a * f + o for a, f, o in zip(amounts, factors, offsets, strict=True)]
    mixed = [sum(changed[s] * rows[s][c] for s in range(3)) for c in range(3)]
    return [min(1.0, max(-1.0, 2 * math.exp(-v) - 1)) for v in mixed]


def test_jitter_agrees_with_the_slow_loop():
    images = 2 * torch.rand(3, 3, 2, 2, generator=generator_for("images"), dtype=torch.float64) - 1
    factors, offsets = draw_stain_jitter(3, generator_for("jitter"), sigma=0.3, shift=0.1)
    found = stain_jitter(images, factors, offsets)
    for b, y, x in np.ndindex(3, 2, 2):
        expected = slow_jitter(
            images[b, :, y, x].tolist(), factors[b].tolist(), offsets[b].tolist()
        )
        assert found[b, :, y, x].tolist() == pytest.approx(expected, abs=1e-9)


def test_no_jitter_changes_nothing():
    images = torch.linspace(-0.98, 1, 3 * 16).reshape(1, 3, 4, 4)
    still = stain_jitter(images, torch.ones(1, 3), torch.zeros(1, 3))
    assert torch.allclose(still, images, atol=1e-5)


def test_without_offset_white_stays_white_and_more_stain_is_darker():
    factors = torch.full((1, 3), 1.2)
    white = torch.ones(1, 3, 2, 2)
    assert torch.allclose(stain_jitter(white, factors, torch.zeros(1, 3)), white, atol=1e-6)
    tissue = torch.tensor([0.2, -0.3, 0.1]).reshape(1, 3, 1, 1)
    assert (stain_jitter(tissue, factors, torch.zeros(1, 3)) < tissue).all()


def test_draws_are_bounded_and_of_their_generator():
    factors, offsets = draw_stain_jitter(500, generator_for(1), sigma=0.05, shift=0.01)
    assert factors.shape == offsets.shape == (500, 3)
    assert 0.95 <= factors.min() < 0.955 and 1.045 < factors.max() <= 1.05
    assert offsets.abs().max() <= 0.01
    assert torch.equal(factors, draw_stain_jitter(500, generator_for(1))[0])
