"""Scorecard of an autoencoder: how it gives tiles back that it never saw, beside a linear code.

The linear code keeps, of each square of factor x factor pixels, as many principal components as the
autoencoder has latent channels: what a network of this size must beat. A checkerboard ratio far
above that of the Laplacian tells of single pixels that alternate in place of detail. SSIM is that
of Wang et al. (2004) on grey tiles, with a Gaussian window of sigma 1.5.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, laplace

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError
from crafts.core.markdown import table
from crafts.core.marks import save_synthetic
from crafts.core.runtime import pick_device
from crafts.imaging.montage import montage
from crafts.model.codec import Codec, load_codec
from crafts.sets.features import as_tensor, read_image

TRAINING_TILES, TRAINING_PATCHES = 1200, 1_300_000  # for the linear code of 192 dimensions
NEEDED_GAIN, NEEDED_LAPLACIAN = 1.5, 0.7
Images = NDArray[np.uint8]
Grey = NDArray[np.float64]
_NUMBERS = ("psnr", "linear", "gain", "ssim", "laplacian", "checkerboard")
_TITLES = (
    "set", "tiles", "PSNR dB", "linear dB", "gain dB", "SSIM", "Laplacian ratio",
    "checkerboard ratio",
)  # fmt: skip


def score_codec(
    source: Path,
    tiles: Path,
    output: Path | None = None,
    split: str = "heldout",
    by: str = "set",
    tiles_per_set: int = 48,
    device: str = "auto",
) -> str:
    """Measure, write, and give the table for people.

    Args:
        source: folder of diffusers' AutoencoderTiny or AutoencoderKL of any factor, or a whole
            model in the layout of SD-1.5, whose autoencoder is taken.
        tiles: ``metadata.csv`` (file_name, split, and the column ``by``) and images; the linear
            code is fitted to the split ``train``.
        output: gets ``codec.json`` and ``codec.png`` (original above reconstruction, the middle
            half of each); None writes nothing.
        split: that is measured.
        by: column whose values are the rows.
        tiles_per_set: of each value of ``by``, at most.
        device: where the codec runs.

    Raises:
        ConfigError: no such codec, no table, or no row of the split.
    """
    codec = load_codec(source).to(pick_device(device))
    rows, pictures = score(codec, tiles, tiles_per_set, split=split, by=by)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        shows = "tiles above what the codec makes of them"
        save_synthetic(montage(pictures, side=256), output / "codec.png", shows)
        facts = {"codec": codec.fingerprint, "factor": codec.factor, "channels": codec.channels}
        write_bytes(output / "codec.json", json.dumps({**facts, "sets": rows}, indent=1).encode())
    return "\n".join(table(_TITLES, map(_cells, rows)))


def score(
    codec: Codec, tiles: Path, per_set: int, *, split: str = "heldout", by: str = "set"
) -> tuple[list[dict[str, Any]], list[tuple[str, Images]]]:
    """One row a set and the mean over sets, and the rows of the picture."""
    mean, basis = _fit_to_training(tiles, codec)
    rows: list[dict[str, Any]] = []
    pictures: list[tuple[str, Images]] = []
    for name, files in sorted(read_split(tiles, split, by).items()):
        images = _open_evenly(files, per_set, codec.factor)
        restored = reconstruct(codec, images)
        ours, linear = psnr(images, restored), linear_psnr(images, codec.factor, mean, basis)
        rows.append(
            {
                "set": name,
                "tiles": len(images),
                "psnr": ours,
                "linear": linear,
                "gain": ours - linear,
                "ssim": ssim(images, restored),
                "laplacian": laplacian_ratio(images, restored),
                "checkerboard": checkerboard_ratio(images, restored),
            }
        )
        picks = np.linspace(0, len(images) - 1, min(6, len(images))).astype(int)
        middle = slice(images.shape[1] // 4, -images.shape[1] // 4)
        pictures.append((f"{name}\noriginal", images[picks, middle, middle]))
        pictures.append((f"{ours:.1f} dB\nreconstruction", restored[picks, middle, middle]))
    means = {key: float(np.mean([row[key] for row in rows])) for key in _NUMBERS}
    rows.append({"set": "mean over sets", "tiles": sum(row["tiles"] for row in rows), **means})
    return rows, pictures


def read_split(tiles: Path, split: str, by: str = "set") -> dict[str, list[Path]]:
    """Files of a split by the values of a column ("all" without it), in the order of the table.

    Raises:
        ConfigError: no table, or no row of this split.
    """
    path = tiles / "metadata.csv"
    files: dict[str, list[Path]] = defaultdict(list)
    splits: set[str] = set()
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                splits.add(row.get("split") or "train")
                if (row.get("split") or "train") == split:
                    files[row.get(by) or "all"].append(tiles / row["file_name"])
    if not files:
        raise ConfigError(
            str(path),
            came=f"no row of split {split!r}" if splits else "no such table, or an empty one",
            allowed=", ".join(sorted(splits)) or "a table with file_name and split",
            do="Pass --split, or make splits with crafts pack --set validation=0.1.",
        )
    return files


def _open_evenly(files: Sequence[Path], num: int, factor: int) -> Images:
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


def patches_of(images: Images, factor: int) -> Grey:
    """Squares of ``factor`` pixels as rows [P, 3 factor²]."""
    count, height, width, _ = images.shape
    grid = images.reshape(count, height // factor, factor, width // factor, factor, 3)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 3 * factor**2).astype(np.float64)


def fit_linear(images: Images, factor: int, channels: int) -> tuple[Grey, Grey]:
    """Mean [D] and leading principal directions [D, channels] of the patches of training tiles."""
    rows = patches_of(images, factor)
    mean = rows.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    return mean, vectors[:, -channels:]


def _fit_to_training(tiles: Path, codec: Codec) -> tuple[Grey, Grey]:
    files = [path for paths in read_split(tiles, "train").values() for path in paths]
    side = min(read_image(files[0]).shape[:2]) // codec.factor
    most = max(1, min(TRAINING_TILES, TRAINING_PATCHES // side**2))
    return fit_linear(_open_evenly(files, most, codec.factor), codec.factor, codec.channels)


def linear_psnr(images: Images, factor: int, mean: Grey, basis: Grey) -> float:
    """Mean over tiles of the PSNR in dB of the linear code."""
    rows = patches_of(images, factor) - mean
    error = (rows - rows @ basis @ basis.T) ** 2
    return _decibel(error.reshape(len(images), -1).mean(axis=1))


def psnr(images: Images, other: Images) -> float:
    """Mean over tiles of the PSNR in dB."""
    return _decibel(((images.astype(np.float64) - other) ** 2).mean(axis=(1, 2, 3)))


def _decibel(mean_squares: Grey) -> float:
    return float((10 * np.log10(255**2 / np.maximum(mean_squares, 1e-9))).mean())


def laplacian_ratio(images: Images, other: Images) -> float:
    """Median over tiles of the ratio of the variances of the Laplacian of the grey tiles."""
    return _ratio(laplace, images, other)


def checkerboard_ratio(images: Images, other: Images) -> float:
    """Median over tiles of the ratio of the energies of the finest diagonal pattern.

    Second differences along both axes answer most to single pixels that alternate, which raise the
    Laplacian at little error and look like a screen: far above the ratio of the Laplacian, a
    decoder has bought its detail that way.
    """
    return _ratio(lambda grey: np.diff(np.diff(grey, 2, axis=0), 2, axis=1), images, other)


def _ratio(answer: Callable[[Grey], Grey], images: Images, other: Images) -> float:
    pairs = zip(images.mean(axis=3), other.mean(axis=3), strict=True)
    return float(np.median([answer(b).var() / max(answer(a).var(), 1e-9) for a, b in pairs]))


def ssim(images: Images, other: Images) -> float:
    """Mean over tiles of the structural similarity of the grey tiles (Wang et al. 2004)."""
    scores = []
    for a, b in zip(images.mean(axis=3), other.mean(axis=3), strict=True):
        mean_a, mean_b = _blur(a), _blur(b)
        var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
        both = _blur(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        upper = (2 * mean_a * mean_b + c1) * (2 * both + c2)
        values = upper / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        edge = min(5, (min(values.shape) - 1) // 2)  # windows that reach beyond the tile
        scores.append(values[edge : values.shape[0] - edge, edge : values.shape[1] - edge].mean())
    return float(np.mean(scores))


def _blur(values: Grey) -> Grey:
    return np.asarray(gaussian_filter(values, 1.5, radius=5))


def _cells(row: Mapping[str, Any]) -> list[object]:
    """A number that misses what is needed is set in bold."""

    def held(value: float, needed: float, form: str) -> str:
        return format(value, form) if value >= needed else f"**{value:{form}}**"

    return [
        row["set"],
        row["tiles"],
        *(f"{row[name]:.2f}" for name in ("psnr", "linear")),
        held(row["gain"], NEEDED_GAIN, "+.2f"),
        f"{row['ssim']:.3f}",
        held(row["laplacian"], NEEDED_LAPLACIAN, ".2f"),
        f"{row['checkerboard']:.2f}",
    ]
