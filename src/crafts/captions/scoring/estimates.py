"""A rough estimate of a tile's scores from its colours and nuclei alone.

A stand-in where no model of patches is at hand: two dyes by colour deconvolution (Ruifrok and
Johnston 2001), nuclei as dark blobs of hematoxylin, fat as roundish empty holes with thin walls
between them, stroma as what is pink. All are shares of the tissue, so bare glass counts for none.
It knows no texture and no context: lymphoid and small-cell tumours look alike to it, folded or
overstained tissue reads as tumor, small alveoli as fat, and necrosis (pink and blue dust without
whole nuclei) is weak. On tiles of known kind it sorted lymphocytes, fat and stroma well, necrosis
poorly, and tumor no better than chance (docs/summaries.md has the figures). So captions take only
the first three from here unless told otherwise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.imaging.opening import read_rgb
from crafts.imaging.stains import optical_density, stain_amounts, textbook_stains
from crafts.imaging.stripping import RefusedImageError

Floats = NDArray[np.float64]

_GLASS = 0.12  # mean optical density below which a pixel is empty
_NUCLEUS = 0.42  # amount of hematoxylin of a nucleus
_EOSIN = 0.12
_STANDARD_MPP = 0.5  # what a tile of unknown scale is taken for; only areas of nuclei depend on it
_LYMPHOCYTE = 10.0, 55.0  # um2
_TUMOR_NUCLEUS = 55.0, 400.0
_HOLE = 600.0, 20_000.0  # um2
_WIDEST = 120.0  # um
_WALL = 12.0  # um: most between the holes of two fat cells
_LEAST_WALLED = 0.4  # share of a hole's outline behind which the next hole begins
_LEAST_TISSUE = 0.05
_FULL_TIL, _FULL_TUMOR = 0.12, 0.20  # shares of the tissue's area that count as 1


def estimate_scores(pixels: NDArray[np.uint8], mpp: float | None) -> dict[str, float]:
    """Estimate all five scores.

    Args:
        pixels: RGB [H, W, 3].
        mpp: microns per pixel; None is taken for 0.5.

    Returns:
        Kind -> share of the tissue, in [0, 1], rounded to 4 digits; deterministic. {} where less
        than 5 % of the tile is tissue.
    """
    density, hematoxylin, eosin = separate_dyes(pixels)
    scale = (mpp or _STANDARD_MPP) ** 2
    empty = density < _GLASS
    fat = _fat(empty, mpp or _STANDARD_MPP)
    stained = float((~empty).mean())
    tissue = stained + float(fat.mean())
    if tissue < _LEAST_TISSUE:
        return {}
    nuclei = (hematoxylin > _NUCLEUS) & ~empty
    small, large = _blobs(nuclei, scale, _LYMPHOCYTE), _blobs(nuclei, scale, _TUMOR_NUCLEUS)
    pink = (eosin > _EOSIN) & ~nuclei & ~empty
    # dust: blue too pale or too small for a nucleus, where no nucleus is near
    dust = ~empty & ~_grown(small | large, int(12 / (mpp or _STANDARD_MPP)))
    dust &= hematoxylin > 0.5 * _NUCLEUS
    found = {
        "tumor": large.mean() / tissue / _FULL_TUMOR,
        "til": small.mean() / tissue / _FULL_TIL,
        "stroma": pink.mean() / tissue,
        "fat": fat.mean() / tissue,
        "necrosis": dust.mean() / tissue,
    }
    return {kind: round(min(float(value), 1.0), 4) for kind, value in found.items()}


def estimate_file(image: Path, mpp: str) -> dict[str, float] | None:
    """All five scores of an image file; None where it does not open.

    Args:
        image: of any kind that `crafts pack` takes.
        mpp: microns per pixel as a table has it; what is no number above 0 is unknown.
    """
    try:
        pixels = read_rgb(image)
    except (RefusedImageError, OSError, ValueError):
        return None
    try:
        size = float(mpp)
    except ValueError:
        size = 0.0
    return estimate_scores(pixels, size if 0 < size < float("inf") else None)


def separate_dyes(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Mean optical density and the amounts of hematoxylin and eosin, each [H, W] and >= 0."""
    density = optical_density(pixels).astype(np.float64)
    amounts = stain_amounts(density, textbook_stains())
    return density.mean(-1), amounts[..., 0].clip(0), amounts[..., 1].clip(0)


def _blobs(mask: NDArray[np.bool_], scale: float, bounds: tuple[float, float]) -> NDArray[np.bool_]:
    """Connected pixels whose area in um2 is within bounds."""
    from scipy.ndimage import binary_opening, label

    labels, number = label(binary_opening(mask))
    areas = np.bincount(labels.ravel(), minlength=number + 1) * scale
    fits = (areas >= bounds[0]) & (areas < bounds[1])
    fits[0] = False
    return np.asarray(fits[labels], bool)


def _fat(empty: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Holes of fat cells: of their size, roundish, and walled off thinly from the next hole.

    Glass beside tissue and the lumen of a gland are empty, too, but behind their rim comes tissue.
    """
    from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label

    labels, _ = label(_blobs(empty, mpp**2, _HOLE))
    depth = distance_transform_edt(np.pad(empty, 1, mode="edge"))[1:-1, 1:-1]
    reach = max(2, round(_WALL / mpp))
    found = np.zeros_like(empty)
    for number, place in enumerate(find_objects(labels), 1):
        window = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in place)
        hole = labels[window] == number
        if max(part.stop - part.start for part in place) * mpp > _WIDEST:
            continue
        # an ellipse three times as long as wide has this area; a cleft has more
        if hole.sum() > 3 * np.pi * float(depth[window][hole].max()) ** 2:
            continue
        rim = binary_dilation(hole) & ~empty[window]
        others = labels[window] * ~hole > 0
        if rim.any() and _grown(others, reach)[rim].mean() >= _LEAST_WALLED:
            found[window] |= hole
    return found


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return mask
    return np.asarray(distance_transform_edt(~mask) <= pixels, bool)
