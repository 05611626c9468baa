"""Estimate what latents know of each spatial frequency, and what grain would cost at best.

    python recipes/mini/codec_limits.py CODEC TILES [--split validation] [--tiles-per-set 5]

CODEC must have a decoder trained on pixels alone (no discriminator, no grain): only then is its
output the mean of all pictures that the latents allow, and what it lacks is what they do not tell.
Prints for each set the share of the original's power that comes back in bands of frequency, the
gain in PSNR over the linear code of score_codec.py, and what is left of it when independent grain
is added until the variance of the Laplacian is as asked for. The grain is the cheapest that looks
like tissue: from the highest frequency downwards, as much as the original has there and no more
(a decoder that puts more of it into single pixels pays less, and shows a screen). Power is pooled
over a set, where score_codec.py takes the median tile: an estimate, no bound.

A frequency is given by the response w of the Laplacian, 4 - 2 cos x - 2 cos y: 0 for what is
constant, 8 for single pixels that alternate; power at w counts w² in its variance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from score_codec import (
    NEEDED_LAPLACIAN,
    Images,
    linear_code,
    linear_psnr,
    psnr,
    read_split,
    reconstruct,
    spread,
)

from crafts.core.errors import ConfigError, CraftsError
from crafts.model.codec import Codec, load_codec

WINDOW = 64  # pixels
BANDS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.1)
Power = NDArray[np.float64]


def response(side: int = WINDOW) -> Power:
    """Response of the Laplacian to each frequency of a window [side, side], 0 to 8."""
    angle = np.fft.fftfreq(side) * 2 * np.pi
    single = 2 - 2 * np.cos(angle)
    return np.asarray(single[:, None] + single[None, :])


def power(images: Images | NDArray[np.float64]) -> Power:
    """Mean power spectrum of the grey images [N, H, W, 3] in half-overlapping Hann windows.

    Its mean over the frequencies is the variance of the grey values within windows.

    Raises:
        ConfigError: images smaller than a window.
    """
    if min(images.shape[1:3]) < WINDOW:
        raise ConfigError(
            "codec_limits: tiles",
            came=f"{images.shape[2]}x{images.shape[1]} px",
            allowed=f"at least {WINDOW} px",
            do="Leave the smaller tiles out.",
        )
    grey = images.astype(np.float64).mean(axis=-1)
    hann = np.hanning(WINDOW)
    weight = np.outer(hann, hann)
    views = np.lib.stride_tricks.sliding_window_view(grey, (WINDOW, WINDOW), axis=(1, 2))
    step = WINDOW // 2
    windows = views[:, ::step, ::step].reshape(-1, WINDOW, WINDOW)
    windows = (windows - windows.mean(axis=(1, 2), keepdims=True)) * weight
    spectrum = np.abs(np.fft.fft2(windows)) ** 2
    return np.asarray(spectrum.mean(axis=0) / np.square(weight).sum())


def grain_cost(
    original: Power, known: Power, error: float, wanted: float = NEEDED_LAPLACIAN
) -> float:
    """Decibels that the cheapest grain costs which looks like tissue; infinite if there is none.

    Args:
        original: power of the tiles.
        known: power of the reconstruction.
        error: mean squared error of the reconstruction.
        wanted: share of the variance of the Laplacian.
    """
    w = response(len(original))
    missing = np.maximum(original - known, 0).ravel()
    total = (w**2 * original).sum()
    order = np.argsort(-w.ravel(), kind="stable")
    share = (w**2 * known).sum() / total + np.cumsum((w.ravel() ** 2 * missing)[order]) / total
    if share[-1] < wanted:
        return float("inf")
    used = order[: int(np.searchsorted(share, wanted)) + 1]
    if (w**2 * known).sum() / total >= wanted:
        used = used[:0]
    added = missing[used].sum() / missing.size
    return float(10 * np.log10(1 + added / error))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", type=Path)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--tiles-per-set", type=int, default=5)
    options = parser.parse_args()
    try:
        report(load_codec(options.codec), options.tiles, options.split, options.tiles_per_set)
    except CraftsError as error:
        sys.exit(str(error))


def report(codec: Codec, tiles: Path, split: str, per_set: int) -> None:
    """Measure set after set, and print the table."""
    linear = linear_code(tiles, codec)
    w, bands = response(), list(zip(BANDS, BANDS[1:], strict=False))
    titles = [f"w {low:g}-{high:.0f}" if high > 2 else f"w {low:g}-{high:g}" for low, high in bands]
    print("| set | " + " | ".join(titles) + " | gain dB | grain costs | left |")
    print("|---" * (len(bands) + 4) + "|")
    for name, files in sorted(read_split(tiles, split).items()):
        images = spread(files, per_set, codec.factor)
        restored = reconstruct(codec, images)
        original, known = power(images), power(restored)
        masks = [(low <= w) & (w < high) for low, high in bands]
        shares = [f"{known[mask].sum() / original[mask].sum():.2f}" for mask in masks]
        gain = psnr(images, restored) - linear_psnr(images, codec.factor, *linear)
        error = float(np.square(images.astype(np.float64) - restored).mean())
        cost = grain_cost(original, known, error)
        cells = [*shares, f"{gain:+.2f}", f"{cost:.2f}", f"{gain - cost:+.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
