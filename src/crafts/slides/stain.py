"""Stain normalisation of a slide, off by default; it refuses rather than invents colour.

Macenko et al. (ISBI 2009) separate two dyes in optical density; Reinhard et al. (2001) match mean
and spread in the opponent space l-alpha-beta. Both are fitted once for a slide, on its tissue. A
tile stays as it is, and the refusal is counted, where too little tissue, one dye only, or an absurd
amount of dye make the answer a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BETA = 0.15  # optical density below which a pixel is glass
_IO = 240.0  # brightness of glass
_MIN_TISSUE, _MIN_PIXELS = 0.1, 1000
_ANGLES = 10.0, 80.0  # degrees between the dyes
_RATIO = 0.2, 5.0  # of dye, or of spread, to the reference
_RANK = 1e-3  # second eigenvalue to the first
# reference of Macenko's published code: columns are hematoxylin and eosin
_REFERENCE = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
_REFERENCE_DYE = np.array([1.9705, 1.0308])
# mean and spread in l-alpha-beta (natural logarithm) of the tissue of CMU-1, OpenSlide's test slide
_REFERENCE_LAB = np.array([[8.06, -0.17, 0.06], [0.87, 0.19, 0.05]])
_TO_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_TO_LAB = np.diag(1 / np.sqrt([3.0, 6.0, 2.0])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0.0]])


class StainRefusedError(Exception):
    """No answer that would not be a guess; the message is the reason, one or two words."""


@dataclass(frozen=True)
class StainFit:
    """What a slide needs to look like the reference.

    Attributes:
        method: "macenko" or "reinhard".
        values: Macenko: columns are the two dyes [3, 2], and a row below them with the 99th
            percentile of their amounts. Reinhard: mean and spread in l-alpha-beta [2, 3].
    """

    method: Literal["macenko", "reinhard"]
    values: tuple[tuple[float, ...], ...]


def fit_stain(pixels: NDArray[np.uint8], method: Literal["macenko", "reinhard"]) -> StainFit:
    """Fit the stain of a slide.

    Args:
        pixels: RGB [N, 3] or [H, W, 3] of its tiles.
        method: which.

    Raises:
        StainRefusedError: "tissue" (under 10 %); Macenko: "rank" (one dye), "angle" (of the dyes
            outside of 10 to 80 degrees), "dye" (not 0.2 to 5 times the reference); Reinhard:
            "spread" (not 0.2 to 5 times the reference).
    """
    flat = pixels.reshape(-1, 3)
    density = _density(flat)
    tissue = _find_tissue(density, method)
    if method == "reinhard":
        lab = _lab(flat[tissue])
        if not _within(lab.std(0) / _REFERENCE_LAB[1]):
            raise StainRefusedError("spread")
        return StainFit("reinhard", _as_tuples(np.stack([lab.mean(0), lab.std(0)])))
    dyes = _find_dyes(density[tissue])
    most = np.percentile(_amounts(density, dyes), 99, axis=1)
    if not _within(most / _REFERENCE_DYE):
        raise StainRefusedError("dye")
    return StainFit("macenko", _as_tuples(np.vstack([dyes, most])))


def normalize_stain(pixels: NDArray[np.uint8], fit: StainFit) -> NDArray[np.uint8]:
    """A tile in the colours of the reference.

    Args:
        pixels: RGB [H, W, 3].
        fit: of its slide.

    Raises:
        StainRefusedError: "tissue", less than 10 % of the tile; it is to stay as it is.
    """
    flat = pixels.reshape(-1, 3)
    density = _density(flat)
    tissue = _find_tissue(density, fit.method)
    values = np.array(fit.values)
    if fit.method == "reinhard":
        return _match_lab(flat, values, tissue).reshape(pixels.shape)
    amounts = _amounts(density, values[:3]) * (_REFERENCE_DYE / values[3])[:, None]
    colors = _IO * np.exp(-_REFERENCE @ amounts)
    return np.clip(colors.T, 0, 255).astype(np.uint8).reshape(pixels.shape)


def _within(ratio: Floats) -> bool:
    """Whether the reference lies near enough to be reached without inventing colour."""
    return bool(((ratio >= _RATIO[0]) & (ratio <= _RATIO[1])).all())  # no NaN passes


def _density(flat: NDArray[np.uint8]) -> Floats:
    return -np.log((flat.astype(np.float64) + 1) / _IO)


def _find_tissue(density: Floats, method: str) -> NDArray[np.bool_]:
    """Pixels that count: all channels absorb (Macenko), or they do on average (Reinhard)."""
    absorbed = density.min(1) if method == "macenko" else density.mean(1)
    tissue: NDArray[np.bool_] = absorbed >= _BETA
    if tissue.sum() < min(_MIN_PIXELS, tissue.size) or tissue.mean() < _MIN_TISSUE:
        raise StainRefusedError("tissue")
    return tissue


def _find_dyes(density: Floats) -> Floats:
    """Unit vectors of hematoxylin and eosin as columns: the extreme angles in the main plane."""
    values, vectors = np.linalg.eigh(np.cov(density.T))
    if not np.isfinite(values).all() or values[1] < _RANK * values[2]:
        raise StainRefusedError("rank")
    plane = vectors[:, 1:]
    along = density @ plane
    angles = np.percentile(np.arctan2(along[:, 1], along[:, 0]), (1, 99))
    first, second = (plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in angles)
    # hematoxylin absorbs more red
    dyes = np.stack([first, second] if first[0] > second[0] else [second, first], 1)
    between = np.degrees(np.arccos(np.clip(abs(float(dyes[:, 0] @ dyes[:, 1])), -1, 1)))
    if not _ANGLES[0] <= between <= _ANGLES[1]:
        raise StainRefusedError("angle")
    return dyes


def _amounts(density: Floats, dyes: Floats) -> Floats:
    """Amounts of the dyes, [2, N], by least squares."""
    return np.asarray(np.linalg.lstsq(dyes, density.T, rcond=None)[0], np.float64)


def _lab(flat: NDArray[np.uint8]) -> Floats:
    lms = (flat.astype(np.float64) + 1) @ _TO_LMS.T
    return np.log(lms) @ _TO_LAB.T


def _match_lab(flat: NDArray[np.uint8], source: Floats, tissue: Any) -> Any:
    """Tissue takes mean and spread of the reference; glass keeps its colour."""
    lab = _lab(flat)
    matched = (lab - source[0]) * (_REFERENCE_LAB[1] / np.maximum(source[1], 1e-6))
    lms = np.exp((matched + _REFERENCE_LAB[0]) @ np.linalg.inv(_TO_LAB).T)
    colors = np.clip(np.rint(lms @ np.linalg.inv(_TO_LMS).T - 1), 0, 255).astype(np.uint8)
    return np.where(tissue[:, None], colors, flat)


def _as_tuples(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in values)
