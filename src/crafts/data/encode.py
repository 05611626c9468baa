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
from typing import TYPE_CHECKING

import numpy as np

from crafts.core.artifacts import (
    MANIFEST,
    Manifest,
    fingerprint,
    finish,
    sha256_bytes,
    staging,
    verify,
)
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.core.progress import Progress
from crafts.core.protocols import Codec
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import counted, say
from crafts.data.config import EncodeConfig
from crafts.data.loader import LatentReader, ShardReader, moment_bytes
from crafts.data.shards import INDEX, write_index

if TYPE_CHECKING:
    import torch

_DROPPED = ("shard", "offset", "size", "suffix", "width", "height")


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
    import torch

    from crafts.data.tiles.variants import pass_size

    device = device or torch.device("cpu")
    source = fingerprint(inputs)
    key = {"codec": codec.fingerprint, "preprocessing": preprocessing_key(config)}
    if pass_size(config, device) > 1:
        key["pass"] = str(pass_size(config, device))
    old = _open_old(output, key)
    if old is not None and old.manifest.inputs["shards"] == source and _is_whole(output):
        say(f"encode: {output} is up to date")
        return old.manifest
    shards = ShardReader(inputs)
    ledger = Ledger("encode", rejects_beside(output))
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
    if config.precision == "fp32":  # as it was before there was a choice
        del values["precision"]
    return sha256_bytes(json.dumps(values, sort_keys=True).encode())


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
    device: torch.device,
) -> None:
    """Write latents and index row by row; valid rows of an earlier run are taken over."""
    from crafts.data.tiles.variants import encode_variants, prepare

    say(f"encode: {counted(len(chosen), 'image')}, {counted(config.variants, 'variant')} of each")
    progress = Progress("encode", len(chosen))
    out = _allocate(folder, len(chosen), config, codec)
    known = {row["sha256"]: i for i, row in enumerate(old.rows)} if old else {}
    rows, reused = [], 0
    for number, index in enumerate(chosen):
        row = shards.rows[index]
        moments = _take_over(old, known.get(row["sha256"]))
        reused += moments is not None
        if moments is None:
            tile = prepare(shards.image(index), config)
            moments = encode_variants(tile, row["sha256"], config, codec, device)
            _refuse_infinite(row["key"], *moments)
        digest = _store(out, number, *moments)
        kept = {name: value for name, value in row.items() if name not in _DROPPED}
        rows.append(kept | {"latent_sha256": digest})
        progress.report(number + 1)
    write_index(rows, shards.plan, folder / INDEX)
    out.mean.flush()
    if out.std is not None:
        out.std.flush()
    say(f"encode: {len(chosen) - reused} images encoded, {reused} taken over")


def _refuse_infinite(key: str, mean: np.ndarray, std: np.ndarray) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise DataError(
            f"encode: image {key!r}",
            came="latents that are not finite in float16",
            allowed="scaled latents of magnitude about 1",
            do="Check the codec and its scaling.",
        )


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
