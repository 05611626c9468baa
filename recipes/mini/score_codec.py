"""Report how an autoencoder gives tiles back that it never saw, beside a linear code of equal size.

    python recipes/mini/score_codec.py CODEC TILES [--output DIR] [--split heldout] [--by set]
        [--tiles-per-set 48] [--device auto]

CODEC is a folder of diffusers' AutoencoderTiny or AutoencoderKL of any factor, or a whole model in
the layout of SD-1.5, whose autoencoder is taken; TILES holds ``metadata.csv`` (file_name, split,
and the column of --by; the linear code is fitted to the split ``train``). Prints a markdown table;
with --output also writes ``codec.json`` and ``codec.png`` (original above reconstruction, the
middle half of each).

The linear code keeps, of each square of factor x factor pixels, as many principal components as the
autoencoder has latent channels: what a network of this size must beat. A checkerboard ratio far
above that of the Laplacian tells of single pixels that alternate in place of detail. SSIM is that
of Wang et al. (2004) on grey tiles, with a Gaussian window of sigma 1.5.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from montage import montage
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, laplace

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.marks import save_synthetic
from crafts.core.runtime import pick_device
from crafts.model.codec import Codec, load_codec
from crafts.sets.features import as_tensor, read_image

TRAINING_TILES, TRAINING_PATCHES = 1200, 1_300_000  # for the linear code of 192 dimensions
NEEDED_GAIN, NEEDED_LAPLACIAN = 1.5, 0.7
Images = NDArray[np.uint8]


def read_split(tiles: Path, split: str, by: str = "set") -> dict[str, list[Path]]:
    """Files of a split by the values of a column ("all" without it), in the order of the table.

    Raises:
        ConfigError: no table, or no row of this split.
    """
    table = tiles / "metadata.csv"
    files: dict[str, list[Path]] = defaultdict(list)
    splits: set[str] = set()
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                splits.add(row.get("split") or "train")
                if (row.get("split") or "train") == split:
                    files[row.get(by) or "all"].append(tiles / row["file_name"])
    if not files:
        raise ConfigError(
            str(table),
            came=f"no row of split {split!r}" if splits else "no such table, or an empty one",
            allowed=", ".join(sorted(splits)) or "a table with file_name and split",
            do="Pass --split, or make splits with crafts pack --set validation=0.1.",
        )
    return files


def spread(files: list[Path], num: int, factor: int) -> Images:
    """At most ``num`` tiles, taken evenly over the list, uint8 [N, S, S, 3].

    They are cut from the upper left corner to the side of the smallest, a multiple of ``factor``.
    """
    picks = np.unique(np.linspace(0, len(files) - 1, min(num, len(files))).astype(int))
    images = [read_image(files[k]) for k in picks]
    side = min(min(image.shape[:2]) for image in images) // factor * factor
    return np.stack([image[:side, :side] for image in images])


def reconstruct(codec: Codec, images: Images) -> Images:
    """Through the codec's mean and back, uint8 [N, H, W, 3]."""
    out, device = [], next(codec.module.parameters()).device
    for start in range(0, len(images), 4):
        with torch.inference_mode():
            mean, _ = codec.encode(as_tensor(images[start : start + 4]).to(device))
            decoded = codec.decode(mean).clamp(-1, 1)
        out.append(((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def patches_of(images: Images, factor: int) -> NDArray[np.float64]:
    """Squares of ``factor`` pixels as rows [P, 3 factor²]."""
    count, height, width, _ = images.shape
    grid = images.reshape(count, height // factor, factor, width // factor, factor, 3)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 3 * factor**2).astype(np.float64)


def fit_linear(
    images: Images, factor: int, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and leading principal directions [D, channels] of the patches of training tiles."""
    rows = patches_of(images, factor)
    mean = rows.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    return mean, vectors[:, -channels:]


def linear_code(tiles: Path, codec: Codec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and basis of the linear code beside a codec, fitted to the split ``train``."""
    files = [path for paths in read_split(tiles, "train").values() for path in paths]
    side = min(read_image(files[0]).shape[:2]) // codec.factor
    most = max(1, min(TRAINING_TILES, TRAINING_PATCHES // side**2))
    return fit_linear(spread(files, most, codec.factor), codec.factor, codec.channels)


def linear_psnr(
    images: Images, factor: int, mean: NDArray[np.float64], basis: NDArray[np.float64]
) -> float:
    """Mean over tiles of the PSNR in dB of the linear code."""
    rows = patches_of(images, factor) - mean
    error = (rows - rows @ basis @ basis.T) ** 2
    return float(_decibel(error.reshape(len(images), -1).mean(axis=1)).mean())


def psnr(images: Images, other: Images) -> float:
    """Mean over tiles of the PSNR in dB."""
    error = (images.astype(np.float64) - other) ** 2
    return float(_decibel(error.mean(axis=(1, 2, 3))).mean())


def _decibel(mean_squares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10 * np.log10(255**2 / np.maximum(mean_squares, 1e-9)))


def laplacian_ratio(images: Images, other: Images) -> float:
    """Median over tiles of the ratio of the variances of the Laplacian of the grey tiles."""
    ratios = [
        laplace(b.mean(axis=2)).var() / max(laplace(a.mean(axis=2)).var(), 1e-9)
        for a, b in zip(images, other, strict=True)
    ]
    return float(np.median(ratios))


def checkerboard_ratio(images: Images, other: Images) -> float:
    """Median over tiles of the ratio of the energies of the finest diagonal pattern.

    Second differences along both axes answer most to single pixels that alternate, which raise the
    Laplacian at little error and look like a screen: far above the ratio of the Laplacian, a
    decoder has bought its detail that way.
    """
    ratios = [
        _alternating(b.mean(axis=2)).var() / max(_alternating(a.mean(axis=2)).var(), 1e-9)
        for a, b in zip(images, other, strict=True)
    ]
    return float(np.median(ratios))


def _alternating(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diff(np.diff(grey, 2, axis=0), 2, axis=1)


def ssim(images: Images, other: Images) -> float:
    """Mean over tiles of the structural similarity of the grey tiles (Wang et al. 2004)."""
    scores = []
    for first, second in zip(images, other, strict=True):
        a, b = first.mean(axis=2), second.mean(axis=2)
        mean_a, mean_b = _blur(a), _blur(b)
        var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
        both = _blur(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        upper = (2 * mean_a * mean_b + c1) * (2 * both + c2)
        values = upper / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        edge = min(5, (min(values.shape) - 1) // 2)  # windows that reach beyond the tile
        scores.append(values[edge : values.shape[0] - edge, edge : values.shape[1] - edge].mean())
    return float(np.mean(scores))


def _blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter(values, 1.5, radius=5))


def score(
    codec: Codec, tiles: Path, per_set: int, *, split: str = "heldout", by: str = "set"
) -> tuple[list[dict[str, float | str]], list[tuple[str, Images]]]:
    """One row a set (and the mean over sets), and the rows of the montage."""
    held = sorted(read_split(tiles, split, by).items())
    mean, basis = linear_code(tiles, codec)
    table: list[dict[str, float | str]] = []
    pictures: list[tuple[str, Images]] = []
    for name, files in held:
        images = spread(files, per_set, codec.factor)
        restored = reconstruct(codec, images)
        ours, linear = psnr(images, restored), linear_psnr(images, codec.factor, mean, basis)
        ratio = laplacian_ratio(images, restored)
        table.append(
            {
                "set": name,
                "tiles": len(images),
                "psnr": ours,
                "linear": linear,
                "gain": ours - linear,
                "ssim": ssim(images, restored),
                "laplacian": ratio,
                "checkerboard": checkerboard_ratio(images, restored),
            }
        )
        picks = np.linspace(0, len(images) - 1, min(6, len(images))).astype(int)
        middle = slice(images.shape[1] // 4, -images.shape[1] // 4)
        pictures.append((f"{name}\noriginal", images[picks, middle, middle]))
        pictures.append((f"{ours:.1f} dB\nreconstruction", restored[picks, middle, middle]))
    means = {
        key: float(np.mean([row[key] for row in table]))
        for key in ("psnr", "linear", "gain", "ssim", "laplacian", "checkerboard")
    }
    table.append(
        {"set": "mean over sets", "tiles": sum(int(row["tiles"]) for row in table), **means}
    )
    return table, pictures


def markdown(table: list[dict[str, float | str]]) -> str:
    """The table for people; a cell that misses what is needed is set in bold."""

    def cell(value: float, needed: float, form: str) -> str:
        return format(value, form) if value >= needed else f"**{value:{form}}**"

    lines = [
        "| set | tiles | PSNR dB | linear dB | gain dB | SSIM | Laplacian ratio "
        "| checkerboard ratio |",
        "|---" * 8 + "|",
    ]
    for row in table:
        gain, ratio = (
            cell(float(row["gain"]), NEEDED_GAIN, "+.2f"),
            cell(float(row["laplacian"]), NEEDED_LAPLACIAN, ".2f"),
        )
        lines.append(
            f"| {row['set']} | {row['tiles']} | {row['psnr']:.2f} | {row['linear']:.2f} "
            f"| {gain} | {float(row['ssim']):.3f} | {ratio} | {float(row['checkerboard']):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", type=Path)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--split", default="heldout")
    parser.add_argument("--by", default="set")
    parser.add_argument("--tiles-per-set", type=int, default=48)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        codec = load_codec(options.codec).to(pick_device(options.device))
        table, pictures = score(
            codec, options.tiles, options.tiles_per_set, split=options.split, by=options.by
        )
    except CraftsError as error:
        sys.exit(str(error))
    print(markdown(table))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        save_synthetic(
            montage(pictures, side=256),
            options.output / "codec.png",
            "tiles above what the codec makes of them",
        )
        result: Mapping[str, object] = {
            "codec": codec.fingerprint,
            "factor": codec.factor,
            "channels": codec.channels,
            "sets": table,
        }
        write_bytes(options.output / "codec.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
