"""Score an autoencoder on tiles of groups it never saw, beside a linear code of equal size.

    python recipes/mini/score_codec.py CODEC TILES [--output DIR] [--tiles-per-set 48]

CODEC is a folder of diffusers' AutoencoderTiny or AutoencoderKL; TILES holds ``metadata.csv``
(file_name, split, set). Prints a markdown table; with --output also writes ``codec.json`` and
``codec.png`` (original above reconstruction, middle 128 pixels at twice their size).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from montage import montage
from numpy.typing import NDArray
from scipy.ndimage import laplace

from crafts.core.artifacts import write_bytes
from crafts.evaluation.features import as_tensor, read_image
from crafts.model.codec import Codec, load_codec

TRAINING_TILES = 1200  # for the linear code: 1.2 M patches for 192 dimensions
NEEDED_GAIN, NEEDED_LAPLACIAN = 1.5, 0.7
Images = NDArray[np.uint8]


def read_split(tiles: Path, split: str) -> dict[str, list[Path]]:
    """Files of a split by set, in the order of the table."""
    files: dict[str, list[Path]] = defaultdict(list)
    with (tiles / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["split"] == split:
                files[row["set"]].append(tiles / row["file_name"])
    return files


def spread(files: list[Path], num: int) -> Images:
    """At most ``num`` tiles, taken evenly over the list, uint8 [N, H, W, 3]."""
    picks = np.unique(np.linspace(0, len(files) - 1, min(num, len(files))).astype(int))
    return np.stack([read_image(files[k]) for k in picks])


def reconstruct(codec: Codec, images: Images) -> Images:
    """Through the codec's mean and back, uint8 [N, H, W, 3]."""
    out = []
    for start in range(0, len(images), 8):
        with torch.inference_mode():
            mean, _ = codec.encode(as_tensor(images[start : start + 8]))
            decoded = codec.decode(mean).clamp(-1, 1)
        out.append(((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
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


def score(
    codec: Codec, tiles: Path, per_set: int
) -> tuple[list[dict[str, float | str]], list[tuple[str, Images]]]:
    """One row a set (and the mean over sets), and the rows of the montage."""
    training = [path for files in read_split(tiles, "train").values() for path in files]
    mean, basis = fit_linear(spread(training, TRAINING_TILES), codec.factor, codec.channels)
    table: list[dict[str, float | str]] = []
    pictures: list[tuple[str, Images]] = []
    for name, files in sorted(read_split(tiles, "heldout").items()):
        images = spread(files, per_set)
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
                "laplacian": ratio,
            }
        )
        picks = np.linspace(0, len(images) - 1, min(6, len(images))).astype(int)
        middle = slice(images.shape[1] // 4, -images.shape[1] // 4)
        pictures.append((f"{name}\noriginal", images[picks, middle, middle]))
        pictures.append((f"{ours:.1f} dB\nreconstruction", restored[picks, middle, middle]))
    means = {
        key: float(np.mean([row[key] for row in table]))
        for key in ("psnr", "linear", "gain", "laplacian")
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
        "| set | tiles | PSNR dB | linear dB | gain dB | Laplacian ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in table:
        gain, ratio = (
            cell(float(row["gain"]), NEEDED_GAIN, "+.2f"),
            cell(float(row["laplacian"]), NEEDED_LAPLACIAN, ".2f"),
        )
        lines.append(
            f"| {row['set']} | {row['tiles']} | {row['psnr']:.2f} | {row['linear']:.2f} "
            f"| {gain} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", type=Path)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tiles-per-set", type=int, default=48)
    options = parser.parse_args()
    codec = load_codec(options.codec)
    table, pictures = score(codec, options.tiles, options.tiles_per_set)
    print(markdown(table))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        montage(pictures, side=256).save(options.output / "codec.png")
        result: Mapping[str, object] = {
            "codec": codec.fingerprint,
            "factor": codec.factor,
            "sets": table,
        }
        write_bytes(options.output / "codec.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
