"""Painted slides: pyramidal TIFF files of any size whose tissue is known to the pixel.

Level 0 is a plane of painted textures inside of ellipses on grey glass; coarser levels are computed
from it piece by piece, so that a slide of 30,000 px needs no memory of its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crafts.data.painter import paint_tile

EDGE = 256  # of a texture and of a TIFF tile
GLASS = 243


@dataclass(frozen=True)
class PaintedSlide:
    """Where tissue lies, as ellipses (x, y, radius x, radius y) in pixels of level 0."""

    side: int
    ellipses: tuple[tuple[float, float, float, float], ...]

    def tissue(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether pixel centres lie in tissue: x [W], y [H] -> bool [H, W]."""
        inside = np.zeros((len(y), len(x)), bool)
        for cx, cy, rx, ry in self.ellipses:
            inside |= ((x[None] - cx) / rx) ** 2 + ((y[:, None] - cy) / ry) ** 2 <= 1
        return inside

    def share(self, x: float, y: float, extent: float, samples: int = 64) -> float:
        """Share of tissue in a square."""
        steps = (np.arange(samples) + 0.5) * extent / samples
        return float(self.tissue(x + steps, y + steps).mean())


def paint_slide(
    path: Path,
    *,
    side: int = 2048,
    mpp: float | None = 0.5,
    levels: int = 3,
    seed: int = 0,
    radius: tuple[float, float] = (0.15, 0.3),
) -> PaintedSlide:
    """Write a slide as a plain pyramidal TIFF (JPEG tiles, levels by factors of 4).

    Args:
        path: of the file.
        side: in pixels of level 0.
        mpp: in the TIFF resolution; None leaves it out.
        levels: of the pyramid.
        seed: of the tissue.
        radius: bounds of the radii of the ellipses, as shares of ``side``.
    """
    import tifffile

    rng = np.random.default_rng(seed)
    ellipses = tuple(
        (*rng.uniform(0.3, 0.7, 2) * side, *rng.uniform(*radius, 2) * side) for _ in range(3)
    )
    slide = PaintedSlide(side, ellipses)
    bank = [
        paint_tile(seed=seed, index=i, size=EDGE, classes=("glands", "stroma", "lymphocytes")).image
        for i in range(6)
    ]
    with tifffile.TiffWriter(path, bigtiff=side > 20_000) as writer:
        for level in range(levels):
            factor = 4**level
            small = side // factor
            scaled = [_shrink(texture, factor) for texture in bank]
            resolution = None if mpp is None else (10_000 / (mpp * factor),) * 2
            writer.write(
                _tiles(slide, small, factor, scaled),
                shape=(small, small, 3),
                dtype=np.uint8,
                tile=(EDGE, EDGE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=int(level > 0),
                resolution=resolution,
                resolutionunit="NONE" if mpp is None else "CENTIMETER",
                metadata=None,
            )
    return slide


def _shrink(texture: np.ndarray, factor: int) -> np.ndarray:
    edge = max(1, EDGE // factor)
    return np.asarray(Image.fromarray(texture).resize((edge, edge), Image.Resampling.BOX))


def _tiles(
    slide: PaintedSlide, small: int, factor: int, bank: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """TIFF tiles of one level, row by row."""
    edge = bank[0].shape[0]
    repeats = EDGE // edge
    for top in range(0, small, EDGE):
        for left in range(0, small, EDGE):
            rows = []
            for i in range(repeats):
                column = [
                    bank[(7 * (top // edge + i) + 3 * (left // edge + j)) % len(bank)]
                    for j in range(repeats)
                ]
                rows.append(np.concatenate(column, 1))
            picture = np.concatenate(rows, 0)
            x, y = ((start + np.arange(EDGE) + 0.5) * factor for start in (left, top))
            noise = ((np.arange(EDGE)[:, None] * 7 + np.arange(EDGE)[None] * 13) % 5).astype(int)
            glass = np.repeat((GLASS - noise)[..., None], 3, -1).astype(np.uint8)
            yield np.ascontiguousarray(
                np.where(slide.tissue(x, y)[..., None], picture, glass).astype(np.uint8)
            )
