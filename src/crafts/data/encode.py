"""``crafts encode``: shards into memory-mapped latents, never stale.

A row is valid for one image (sha256), one codec (fingerprint) and one preprocessing. A second run
takes over the rows for which all three are unchanged and encodes the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from crafts.core.artifacts import (
    MANIFEST,
    Manifest,
    fingerprint,
    finish,
    sha256_bytes,
    staging,
    verify,
)
from crafts.core.config import Config
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.core.protocols import Codec
from crafts.core.records import Ledger
from crafts.core.runtime import generator_for, say
from crafts.data.loader import LatentReader, ShardReader, moment_bytes
from crafts.data.shards import INDEX, iter_batches, write_index
from crafts.data.tiles.augment import dihedral, draw_stain_jitter, stain_jitter

_SAY_EVERY = 500  # images
_DROPPED = ("shard", "offset", "size", "suffix", "width", "height")


class EncodeConfig(Config):
    """Configuration of ``crafts encode``.

    Attributes:
        tile_size: side of what is encoded, in pixels; a multiple of the codec's factor.
        larger: an image larger than a tile is rejected, or cut to its centre (crop), or shrunk
            until its shorter side fits (resize) and then cut.
        smaller: an image smaller than a tile is rejected, or enlarged until its shorter side fits
            and then cut.
        variants: encoded versions of each image: 0 is the image itself, 1..7 are the other
            symmetries of the square, from 8 on the symmetries again with mild stain jitter.
        stain_sigma: spread of the stain factors, see
            :func:`crafts.data.tiles.augment.draw_stain_jitter`.
        stain_shift: spread of the stain offsets.
        max_reject_fraction: share of rejected images above which the run fails, in [0, 1].
        batch_size: images in one pass of the codec; limits memory only.
    """

    tile_size: int = Field(256, ge=8, le=4096)
    larger: Literal["reject", "crop", "resize"] = "reject"
    smaller: Literal["reject", "resize"] = "reject"
    variants: int = Field(8, ge=1, le=256)
    stain_sigma: float = Field(0.05, ge=0, le=0.5)
    stain_shift: float = Field(0.01, ge=0, le=0.2)
    max_reject_fraction: float = Field(0.1, ge=0, le=1)
    batch_size: int = Field(16, ge=1)


@dataclass
class _Output:
    """The growing arrays, memory-mapped; ``std`` appears with the first spread that is not 0."""

    folder: Path
    shape: tuple[int, ...]
    mean: np.memmap
    std: np.memmap | None = None


def run(
    config: EncodeConfig,
    inputs: Path,
    output: Path,
    *,
    codec: Codec,
    device: torch.device | None = None,
) -> Manifest:
    """Encode every image of a shards folder in all variants.

    Args:
        config: configuration.
        inputs: shards folder.
        output: latents folder; what stands there and is still valid is taken over.
        codec: image codec.
        device: where images are sent before the codec gets them; None leaves them on the CPU.

    Raises:
        ConfigError: ``tile_size`` is no multiple of the codec's factor.
        DataError: too many rejects, or latents that float16 cannot hold.
        IntegrityError: damaged shards.
    """
    if config.tile_size % codec.factor:
        raise ConfigError(
            "encode: tile_size",
            came=str(config.tile_size),
            allowed=f"a multiple of {codec.factor}",
            do="Choose another tile_size.",
        )
    source = fingerprint(inputs)
    key = {"codec": codec.fingerprint, "preprocessing": preprocessing_key(config)}
    old = _open_old(output, key)
    if old is not None and old.manifest.inputs["shards"] == source and _is_whole(output):
        say(f"encode: {output} is up to date")
        return old.manifest
    shards = ShardReader(inputs)
    ledger = Ledger("encode")
    chosen = _choose(shards, config, ledger)
    ledger.check(config.max_reject_fraction)
    with staging(output, "encode", sources=[inputs]) as folder:
        ledger.write(folder / "rejects.jsonl")
        _write_arrays(folder, shards, chosen, config, codec, old, device)
        return finish(
            folder,
            stage="encode",
            config=config.model_dump(mode="json", exclude={"batch_size"}),
            inputs={"shards": source},
            counts=ledger.counts(),
            extra=key,
        )


def preprocessing_key(config: EncodeConfig) -> str:
    """Hash of all that decides which pixels the codec sees."""
    values = config.model_dump(mode="json", exclude={"batch_size", "max_reject_fraction"})
    return sha256_bytes(json.dumps(values, sort_keys=True).encode())


def prepare(pixels: np.ndarray, config: EncodeConfig) -> torch.Tensor:
    """Bring an image to the size of a tile.

    Args:
        pixels: uint8 [H, W, 3].
        config: sizes and what to do with other sizes.

    Returns:
        float32 [3, tile_size, tile_size] in [-1, 1].
    """
    size = config.tile_size
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if shorter < size or (shorter > size and config.larger == "resize"):
        scale = size / shorter
        target = (max(size, round(width * scale)), max(size, round(height * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.LANCZOS))
        height, width = pixels.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    tile = np.ascontiguousarray(pixels[top : top + size, left : left + size].transpose(2, 0, 1))
    return torch.from_numpy(tile).float() / 127.5 - 1


def make_variant(
    tile: torch.Tensor, variant: int, sha256: str, config: EncodeConfig
) -> torch.Tensor:
    """Variant of one prepared tile [3, H, W]; draws depend on the image and the variant alone."""
    turned = dihedral(tile, variant % 8)
    if variant < 8:
        return turned
    draws = draw_stain_jitter(
        1,
        generator_for("variant", sha256, variant),
        sigma=config.stain_sigma,
        shift=config.stain_shift,
    )
    return stain_jitter(turned[None], *draws)[0]


def _choose(shards: ShardReader, config: EncodeConfig, ledger: Ledger) -> list[int]:
    ledger.listed(len(shards))
    chosen, kept = [], []
    for index, row in enumerate(shards.rows):
        if fault := _size_fault(row["width"], row["height"], config):
            ledger.reject(row["key"], fault)
            continue
        ledger.use(row["key"])
        chosen.append(index)
        kept.append(kept_share(row["width"], row["height"], config))
    if cut := [share for share in kept if share < 1]:
        say(
            f"encode: {len(cut)} of {len(kept)} images are cut to their centre, of which the least "
            f"keeps {min(cut):.0%} of its area"
        )
    return chosen


def _size_fault(width: int, height: int, config: EncodeConfig) -> str:
    size = f"{width} x {height} px"
    if min(width, height) < config.tile_size:
        least = f"tile_size {config.tile_size} (smaller=resize enlarges it)"
        return f"{size}, smaller than {least}" if config.smaller == "reject" else ""
    if max(width, height) > config.tile_size and config.larger == "reject":
        options = "larger=resize shrinks it, larger=crop takes its centre"
        return f"{size}, larger than tile_size {config.tile_size} ({options})"
    return ""


def kept_share(width: int, height: int, config: EncodeConfig) -> float:
    """Share of an image's area that :func:`prepare` leaves, in (0, 1].

    Args:
        width: in pixels.
        height: in pixels.
        config: sizes and what to do with other sizes.
    """
    shorter = min(width, height)
    side = config.tile_size if config.larger == "crop" else shorter
    return min(side, shorter) ** 2 / (width * height)


def _allocate(folder: Path, count: int, config: EncodeConfig, codec: Codec) -> _Output:
    side = config.tile_size // codec.factor
    shape = (count, config.variants, codec.channels, side, side)
    return _Output(folder, shape, _open_array(folder / "mean.npy", shape))


def _open_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array on the disk; room for all of it is taken at once, so that a full disk is told."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    return array


def _write_arrays(
    folder: Path,
    shards: ShardReader,
    chosen: Sequence[int],
    config: EncodeConfig,
    codec: Codec,
    old: LatentReader | None,
    device: torch.device | None,
) -> None:
    """Write latents and index row by row; valid rows of an earlier run are taken over."""
    out = _allocate(folder, len(chosen), config, codec)
    known = {row["sha256"]: i for i, row in enumerate(old.rows)} if old else {}
    rows, reused = [], 0
    for number, index in enumerate(chosen):
        row = shards.rows[index]
        moments = _take_over(old, known.get(row["sha256"]))
        reused += moments is not None
        if moments is None:
            tile = prepare(shards.image(index), config)
            moments = _encode_image(tile, row, config, codec, device)
        digest = _store(out, number, *moments)
        kept = {name: value for name, value in row.items() if name not in _DROPPED}
        rows.append(kept | {"latent_sha256": digest})
        if number % _SAY_EVERY == 0:
            say(f"encode: {number} of {len(chosen)} images")
    write_index(rows, shards.plan, folder / INDEX)
    out.mean.flush()
    if out.std is not None:
        out.std.flush()
    say(f"encode: {len(chosen) - reused} images encoded, {reused} taken over")


@torch.inference_mode()
def _encode_image(
    tile: torch.Tensor,
    row: dict[str, Any],
    config: EncodeConfig,
    codec: Codec,
    device: torch.device | None,
) -> tuple[np.ndarray, np.ndarray]:
    """All variants of one tile; batches never span images: a row does not depend on others."""
    means, stds = [], []
    for part in iter_batches(config.variants, config.batch_size):
        images = torch.stack([make_variant(tile, v, row["sha256"], config) for v in part])
        mean, std = codec.encode(images.to(device) if device else images)
        means.append(mean.cpu().to(torch.float16))
        stds.append(std.cpu().to(torch.float16))
    mean, std = torch.cat(means), torch.cat(stds)
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise DataError(
            f"encode: image {row['key']!r}",
            came="latents that are not finite in float16",
            allowed="scaled latents of magnitude about 1",
            do="Check the codec and its scaling.",
        )
    return mean.numpy(), std.numpy()


def _store(out: _Output, number: int, mean: np.ndarray, std: np.ndarray | None) -> str:
    if std is not None and std.any():
        if out.std is None:  # a deterministic codec never gets here and has no std.npy
            out.std = _open_array(out.folder / "std.npy", out.shape)
        out.std[number] = std
    out.mean[number] = mean
    return sha256_bytes(moment_bytes(mean, std))


def _open_old(output: Path, key: dict[str, str]) -> LatentReader | None:
    """Latents of an earlier run, when codec and preprocessing are the same."""
    if not (output / MANIFEST).is_file():
        return None
    try:
        old = LatentReader(output)
    except DataError as error:
        say(f"encode: earlier latents are not used ({error})")
        return None
    return old if old.manifest.extra == key else None


def _take_over(
    old: LatentReader | None, index: int | None
) -> tuple[np.ndarray, np.ndarray | None] | None:
    if old is None or index is None:
        return None
    try:
        return old.moments(index)
    except IntegrityError as error:
        say(f"encode: encoded again ({error})")
        return None


def _is_whole(output: Path) -> bool:
    try:
        verify(output)
    except IntegrityError as error:
        say(f"encode: made again ({error})")
        return False
    return True
