"""Seams of slides: ``python bench/canvas.py [--model mini] [--size 512] [--seeds 4]``.

Gradient energy on the borders of windows over that elsewhere, for canvases in windows and for the
control, which one pass of the network makes from the same noise. A ratio of the two above 1.05
would be a seam.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from crafts.api import load
from crafts.conditions.text import TextFeatures
from crafts.model.bundle import Bundle
from crafts.sampling.draws import Draw, encode_draws
from crafts.sampling.presets import Preset, resolve_preset
from crafts.sampling.sampler import decode_pixels, network_denoiser, sample_latents
from crafts.sampling.windows import BAND, Grid, build_grid, build_steps, noise_band, planes_of

PROMPT = "Colon adenocarcinoma, H&E, high power view."


def borders(grid: Grid, factor: int, side: int) -> np.ndarray:
    """Columns of pixels after which a window begins or ends, bool [W - 1]."""
    found = np.zeros(side - 1, bool)
    for place in {place for x in grid.columns for place in (x, x + grid.edge)}:
        if 0 < place < side // factor:
            found[place * factor - 1] = True
    return found


def energy(pixels: np.ndarray, marked: np.ndarray) -> float:
    """Mean squared difference of neighbours across marked columns, over that across others."""
    across = (np.diff(pixels.astype(float), axis=1) ** 2).mean((0, 2))
    return float(across[marked].mean() / across[~marked].mean())


def sample_windows(
    bundle: Bundle,
    features: Sequence[TextFeatures],
    noise: torch.Tensor,
    preset: Preset,
    shared: int,
) -> tuple[np.ndarray, Grid]:
    """Pixels of a canvas, and the windows of its last step.

    Args:
        bundle: the model.
        features: of the one prompt.
        noise: [C, h, w].
        preset: solver, steps and guidance scale.
        shared: latents that neighbours share.
    """
    height, width = noise.shape[1:]
    edge = bundle.native_size // bundle.codec.factor
    steps = build_steps(
        *(network_denoiser(bundle.denoiser), features, preset, bundle.schedule.config),
        grids=lambda step: build_grid(height, width, edge=edge, overlap=shared, step=step),
        shares=lambda top, bottom: {0: torch.ones(bottom - top, width)},
        batch_size=4,
    )
    rows = torch.stack([noise, *[torch.zeros_like(noise)] * (planes_of(steps[0].scheduler) - 1)])
    for step in steps:
        rows = step.push(rows)
    return decode_pixels(bundle.codec, rows[:1])[0], steps[-1].grid


def main() -> None:
    """Print the ratios and seconds of each seed, and their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.5, 0.25])
    asked = parser.parse_args()
    bundle = load(asked.model).bundle
    factor, channels = bundle.codec.factor, bundle.codec.channels
    side, edge = asked.size // factor, bundle.native_size // factor
    preset = resolve_preset(asked.preset, extra=bundle.extra)
    found: dict[float, list[float]] = {overlap: [] for overlap in asked.overlaps}
    for seed in range(asked.seeds):
        draw = Draw(PROMPT, seed=seed, guidance_scale=preset.guidance_scale)
        features = encode_draws(bundle.text, [draw])
        bands = [(n, min(BAND, side - n * BAND)) for n in range(-(-side // BAND))]
        parts = [noise_band(draw.number, n, (channels, rows, side)) for n, rows in bands]
        noise = torch.cat(parts, dim=1)
        network = network_denoiser(bundle.denoiser)
        whole = sample_latents(network, features, noise[None], preset, bundle.schedule.config)
        control = decode_pixels(bundle.codec, whole)[0]
        for overlap, ratios in found.items():
            start = time.perf_counter()
            pixels, grid = sample_windows(bundle, features, noise, preset, round(overlap * edge))
            marked = borders(grid, factor, asked.size)
            ratios.append(energy(pixels, marked) / energy(control, marked))
            seconds = time.perf_counter() - start
            print(
                f"seed {seed}, overlap {overlap:g}: {ratios[-1]:.3f}, {seconds:.1f} s", flush=True
            )
    for overlap, ratios in found.items():
        low, high = min(ratios), max(ratios)
        print(f"overlap {overlap:g}: {np.mean(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
