"""Seams of slides: ``python bench/canvas.py [--model mini] [--size 512] [--seeds 3]``.

Gradient energy across the borders of windows over that across other borders of latents, for
canvases in windows and for the control, which one pass of the network makes from the same noise. A
ratio of the two above 1.05 would be a seam. Few borders make a noisy ratio, so beside it stands
what as many borders drawn at random give: where windows have none, it is 1 but for chance.
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
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import Preset, resolve_preset
from crafts.sampling.sampler import decode_pixels, sample_latents
from crafts.sampling.windows import BAND, Grid, build_grid, build_steps, noise_band, planes_of

PROMPT = "Colon adenocarcinoma, H&E, high power view."


def borders(grid: Grid, side: int) -> np.ndarray:
    """Whether a window begins or ends between two columns and two rows of latents, [2, w - 1]."""
    found = np.zeros((2, side - 1), bool)
    for axis, starts in enumerate((grid.columns, grid.rows)):
        for place in {place for x in starts for place in (x, x + grid.edge)}:
            if 0 < place < side:
                found[axis, place - 1] = True
    return found


def energies(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Mean squared difference of neighbours across borders of latents, [2, w - 1]."""
    found = []
    for turned in (pixels, pixels.transpose(1, 0, 2)):
        steps = np.diff(turned.astype(float), axis=1)[:, factor - 1 :: factor]
        found.append((steps**2).mean((0, 2)))
    return np.stack(found)


def ratio(found: np.ndarray, control: np.ndarray, marked: np.ndarray) -> float:
    """Energy on marked borders over that on others, over the same of the control."""
    on, off = found[marked].mean() / control[marked].mean(), found[~marked].mean()
    return float(on / (off / control[~marked].mean()))


def by_chance(found: np.ndarray, control: np.ndarray, marked: np.ndarray) -> float:
    """Standard deviation of the ratio when as many borders are drawn at random."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(marked.ravel()).reshape(marked.shape) for _ in range(1000)]
    return float(np.std([ratio(found, control, each) for each in drawn]))


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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.5, 0.25])
    asked = parser.parse_args()
    bundle = load(asked.model).bundle
    factor, channels = bundle.codec.factor, bundle.codec.channels
    side, edge = asked.size // factor, bundle.native_size // factor
    preset = resolve_preset(asked.preset, extra=bundle.extra)
    seen: dict[float, list[tuple[np.ndarray, ...]]] = {overlap: [] for overlap in asked.overlaps}
    for seed in range(asked.seeds):
        draw = Draw(PROMPT, seed=seed, guidance_scale=preset.guidance_scale)
        features = encode_draws(bundle.text, [draw])
        bands = [(n, min(BAND, side - n * BAND)) for n in range(-(-side // BAND))]
        parts = [noise_band(draw.number, n, (channels, rows, side)) for n, rows in bands]
        noise = torch.cat(parts, dim=1)
        network = network_denoiser(bundle.denoiser)
        whole = sample_latents(network, features, noise[None], preset, bundle.schedule.config)
        control = decode_pixels(bundle.codec, whole)[0]
        for overlap, rows in seen.items():
            start = time.perf_counter()
            pixels, grid = sample_windows(bundle, features, noise, preset, round(overlap * edge))
            rows.append((energies(pixels, factor), energies(control, factor), borders(grid, side)))
            seconds = time.perf_counter() - start
            print(f"seed {seed}, overlap {overlap:g}: {ratio(*rows[-1]):.3f}, {seconds:.1f} s")
    for overlap, rows in seen.items():
        # each seed in units of its own mean, so that a pale one counts as much
        pooled = [np.stack([row[n] / row[n].mean() for row in rows]) for n in (0, 1)]
        marked = np.stack([row[2] for row in rows])
        chance = by_chance(*pooled, marked)
        print(f"overlap {overlap:g}: {ratio(*pooled, marked):.3f}, by chance 1 +- {chance:.3f}")


if __name__ == "__main__":
    main()
