"""Macenko and Reinhard against slow, plain versions; every guard refuses its case."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.data.painter import paint_tile
from crafts.slides.stain import StainFit, StainRefusedError, fit_stain, normalize_stain

HE = np.array([[0.650, 0.072], [0.704, 0.990], [0.286, 0.105]])


def stained(dyes: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Beer-Lambert: amounts [2, N] of dyes [3, 2] -> RGB [N, 3]."""
    return np.clip(240 * np.exp(-(dyes @ amounts)).T - 1, 0, 255).round().astype(np.uint8)


def two_dyes(count: int = 20_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 1.6, (2, count))
    weights[:, : count // 4] *= [[1.0], [0.02]]
    weights[:, count // 4 : count // 2] *= [[0.02], [1.0]]
    return stained(HE / np.linalg.norm(HE, axis=0), weights + 0.15)


def macenko_slowly(pixels: np.ndarray) -> np.ndarray:
    """Macenko et al. as its authors wrote it, step by step."""
    density = -np.log((pixels.astype(float) + 1) / 240)
    kept = np.array([row for row in density if min(row) >= 0.15])
    _, vectors = np.linalg.eigh(np.cov(kept, rowvar=False))
    plane = vectors[:, [1, 2]]
    angles = [np.arctan2(row @ plane[:, 1], row @ plane[:, 0]) for row in kept]
    low, high = np.percentile(angles, 1), np.percentile(angles, 99)
    first = plane @ [np.cos(low), np.sin(low)]
    second = plane @ [np.cos(high), np.sin(high)]
    dyes = np.array([first, second] if first[0] > second[0] else [second, first]).T
    amounts = np.linalg.pinv(dyes) @ density.T
    most = [np.percentile(row, 99) for row in amounts]
    reference = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
    scaled = [amounts[0] * 1.9705 / most[0], amounts[1] * 1.0308 / most[1]]
    return np.clip(240 * np.exp(-(reference @ np.array(scaled))), 0, 255).T


def test_macenko_is_that_of_its_authors():
    pixels = two_dyes(4000)
    found = normalize_stain(pixels[None], fit_stain(pixels, "macenko"))[0]
    assert np.abs(found.astype(float) - macenko_slowly(pixels)).mean() <= 1


def test_macenko_finds_the_dyes_that_were_used():
    dyes = np.array(fit_stain(two_dyes(), "macenko").values)[:3]
    expected = HE / np.linalg.norm(HE, axis=0)
    assert np.degrees(np.arccos(np.clip((dyes * expected).sum(0), -1, 1))).max() < 6


def test_reinhard_gives_tissue_the_moments_of_the_reference_and_leaves_glass():
    pixels = paint_tile(seed=0, index=0, size=128, classes=("glands",)).image
    glass = np.full((64, 128, 3), 245, np.uint8)
    tile = np.concatenate([pixels, glass])
    found = normalize_stain(tile, fit_stain(tile, "reinhard"))
    assert np.array_equal(found[128:], glass)
    again = np.array(fit_stain(found, "reinhard").values)
    assert np.abs(again[0] - [8.06, -0.17, 0.06]).max() < 0.15


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_two_scanners_come_closer(method):
    a = two_dyes(seed=1)
    b = np.clip(a.astype(float) * [0.9, 1.05, 0.8], 0, 255).astype(np.uint8)
    before = np.abs(a.mean(0) - b.mean(0)).mean()
    first, second = (normalize_stain(x[None], fit_stain(x, method)).mean((0, 1)) for x in (a, b))
    assert np.abs(first - second).mean() < before / 2


def tile(color: tuple[int, int, int], noise: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.array(color) + rng.integers(-noise, noise + 1, (64, 64, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (tile((255, 255, 255)), "tissue"),
        (tile((240, 240, 240), 8), "tissue"),
        (tile((200, 120, 180)), "rank"),
        (tile((0, 0, 0)), "rank"),
        (stained(HE, np.stack([np.linspace(0.4, 2, 5000), np.full(5000, 0.01)])), "rank"),
    ],
)
def test_degenerate_tiles_are_refused(pixels, reason):
    with pytest.raises(StainRefusedError, match=reason):
        fit_stain(pixels, "macenko")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (tile((255, 255, 255)), "tissue"),
        (tile((200, 120, 180)), "spread"),
        (tile((200, 120, 180), 1), "spread"),
    ],
)
def test_reinhard_refuses_what_it_would_have_to_blow_up(pixels, reason):
    with pytest.raises(StainRefusedError, match=reason):
        fit_stain(pixels, "reinhard")


def test_one_dye_with_noise_and_too_little_dye_are_refused():
    rng = np.random.default_rng(0)
    weak = stained(HE / np.linalg.norm(HE, axis=0), rng.uniform(0.16, 0.3, (2, 9000)))
    with pytest.raises(StainRefusedError, match="tissue|rank|angle|dye"):
        fit_stain(weak, "macenko")
    eosin = stained(HE, np.stack([np.zeros(9000), rng.uniform(0.3, 2, 9000)]))
    eosin = np.clip(eosin + rng.integers(-2, 3, eosin.shape), 0, 255).astype(np.uint8)
    with pytest.raises(StainRefusedError):
        fit_stain(eosin, "macenko")


def test_a_tile_of_glass_is_left_alone():
    fit = StainFit("macenko", tuple(map(tuple, [*HE.tolist(), [1.0, 1.0]])))
    with pytest.raises(StainRefusedError, match="tissue"):
        normalize_stain(tile((245, 245, 245), 3), fit)
