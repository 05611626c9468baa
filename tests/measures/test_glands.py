"""Glands that are drawn, what only looks like them, and the real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from crafts.core.errors import DataError
from crafts.measures.glands import FACTS, GLAND, find_lumens, join_glands, measure_glands

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
STROMA, NUCLEUS, GLASS = (226, 150, 190), (92, 60, 140), (246, 243, 246)


def draw(
    lumens: int = 2, *, ring: bool = True, loose: int = 60, size: int = 256, radius: int = 22
) -> np.ndarray:
    """Pink tissue with loose nuclei; lumens, each with a ring of nuclei if asked for."""
    rng = np.random.default_rng(4)
    image = Image.new("RGB", (1024, 1024), STROMA)
    pen = ImageDraw.Draw(image)

    def dot(x: float, y: float, r: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse([4 * (x - r), 4 * (y - r), 4 * (x + r), 4 * (y + r)], fill=colour)

    for x, y in rng.uniform(0, 256, (loose, 2)):
        dot(x, y, 4, NUCLEUS)
    for x, y in ((75, 80), (180, 170), (70, 190), (190, 70))[:lumens]:
        dot(x, y, radius + 22, STROMA)
        if ring:
            for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False):
                dot(
                    x + (radius + 9) * np.cos(angle), y + (radius + 9) * np.sin(angle), 4.4, NUCLEUS
                )
        dot(x, y, radius, GLASS)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def shows(tile: np.ndarray) -> bool:
    return bool(measure_glands(tile[None]).scores[0] >= GLAND)


def test_a_lumen_with_a_ring_of_nuclei_is_a_gland() -> None:
    found = measure_glands(np.stack([draw(2), draw(4), draw(0)]))
    assert (found.scores >= GLAND).tolist() == [True, True, False]
    assert found.lumens.tolist() == [2, 4, 0]
    one = np.pi * 22**2 / 256**2
    assert found.shares == pytest.approx([2 * one, 4 * one, 0], rel=0.2)


def test_it_is_the_ring_that_makes_the_gland() -> None:
    assert shows(draw(2))
    assert not shows(draw(2, ring=False))
    assert not shows(draw(2, ring=False, loose=400))  # lymphocytes everywhere are no ring


@pytest.mark.parametrize("size", [96, 128, 300, 512])
def test_size_does_not_matter(size: int) -> None:
    small, usual = measure_glands(draw(2, size=size)[None]), measure_glands(draw(2)[None])
    assert small.lumens[0] == usual.lumens[0] == 2
    assert small.scores[0] == pytest.approx(usual.scores[0], abs=1.0)


def test_turning_changes_nothing_much() -> None:
    tile = draw(3)
    scores = measure_glands(np.stack([tile, tile[::-1], tile.transpose(1, 0, 2)])).scores
    assert scores == pytest.approx(scores[0], abs=0.4)
    assert np.array_equal(measure_glands(tile[None]).scores, scores[:1])  # company does not matter


def test_tiles_without_anything_have_no_lumen() -> None:
    flat = np.stack([np.full((64, 80, 3), value, np.uint8) for value in (0, 120, 255)])
    found = measure_glands(flat)
    assert (found.scores < GLAND).all() and not found.lumens.any() and not found.shares.any()
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    assert not measure_glands(noise).lumens.any()


def test_facts_have_their_ranges() -> None:
    found = find_lumens(draw(4))
    facts = dict(zip(FACTS, found.facts.T, strict=True))
    assert len(found.scores) == len(found.levels) == len(found.facts) >= 4
    assert (np.exp(facts["area"]) == pytest.approx(found.areas)) and (found.areas <= 0.35).all()
    for name in ("peak", "before"):
        assert ((facts[name] >= 0) & (facts[name] <= 1)).all()


def test_what_is_no_tile_is_refused() -> None:
    with pytest.raises(DataError, match="uint8 .N, H, W, 3."):
        measure_glands(draw(1))
    assert len(join_glands([]).scores) == 0


@pytest.mark.skipif(not DATA.is_dir(), reason="the open sets are not at ../shared/data")
def test_real_stroma_muscle_and_lymphocytes_seldom_show_glands() -> None:
    """A look at few tiles; bench/glands.py has the figures."""

    def share(*classes: str) -> float:
        files = [path for name in classes for path in sorted((DATA / name).rglob("*.jpg"))[:24]]
        tiles = (np.asarray(Image.open(path).convert("RGB")) for path in files)
        return float(np.mean([shows(tile) for tile in tiles]))

    others = share("crc_he7k/STR", "crc_he7k/MUS", "crc_he7k/LYM", "lymphoma_iicbu_NC")
    glands = share("crc_he7k/NORM", "lc25000/colon_n", "glas_NC/images")
    assert others <= 0.15 and glands >= 0.4
