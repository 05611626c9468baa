"""Random access to shards and latents, compared with their sha256 when they are first touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from crafts.core.arrays import HEADER_ERRORS
from crafts.core.artifacts import Manifest, load_manifest, sha256_bytes, verify
from crafts.core.errors import DataError, IntegrityError, first_line
from crafts.data.shards import INDEX, read_index
from crafts.data.tiles.images import decode_rgb
from crafts.data.tiles.masks import MaskArrays, decode_mask

if TYPE_CHECKING:
    import torch

Verify = Literal["touch", "full"]


class ShardReader:
    """Tiles of a folder of shards, by number.

    Args:
        folder: what ``crafts pack`` wrote.
        how: "touch" checks all sizes and the index now and each image when it is first read;
            "full" hashes every file now.

    Attributes:
        folder: the folder.
        rows: index rows (key, shard, sha256, width, height, text, patient, split, ...).
        plan: kinds of the columns.

    Raises:
        DataError: no finished artifact, or one of another stage.
        IntegrityError: names the file that is missing, cut short or changed.
    """

    def __init__(self, folder: Path, *, how: Verify = "touch") -> None:
        self.folder = folder
        self.manifest = open_artifact(folder, "pack", how)
        self.rows, self.plan = read_index(folder / INDEX)
        self._seen = np.zeros(len(self.rows), dtype=bool)

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.rows)

    def image_bytes(self, index: int) -> bytes:
        """The image file as it was packed.

        Raises:
            IntegrityError: names the shard and the key whose bytes have changed.
        """
        row = self.rows[index]
        path = self.folder / row["shard"]
        data = _read_part(path, row["offset"], row["size"])
        if not self._seen[index]:
            _require_hash(data, row["sha256"], f"{path}: image {row['key']!r}")
            self._seen[index] = True
        return data

    def image(self, index: int) -> np.ndarray:
        """Pixels, uint8 [H, W, 3]."""
        return decode_rgb(self.image_bytes(index))

    def mask(self, index: int) -> MaskArrays | None:
        """Nuclei of a tile, or None where it was packed without a mask.

        Raises:
            IntegrityError: names the shard and the key whose mask has changed.
        """
        row = self.rows[index]
        if not row.get("mask_size"):
            return None
        path = self.folder / row["shard"]
        where = f"{path}: mask {row['key']!r}"
        data = _read_part(path, row["mask_offset"], row["mask_size"])
        _require_hash(data, row["mask_sha256"], where)
        return decode_mask(data, where)


class LatentReader:
    """Latents of a folder, memory-mapped.

    Args:
        folder: what ``crafts encode`` wrote.
        codec_fingerprint: refuse latents of any other codec.
        how: see :class:`ShardReader`; here a row is an image with all its variants.

    Attributes:
        rows: index rows, aligned with the first axis.
        num_variants: variants of each image; 0 is the image as it is.
        shape: (C, h, w).

    Raises:
        DataError: no finished artifact, or one of another stage.
        IntegrityError: a file is missing, cut short or changed, or the codec is another one.
    """

    def __init__(
        self, folder: Path, codec_fingerprint: str | None = None, *, how: Verify = "touch"
    ) -> None:
        self.folder = folder
        self.manifest = open_artifact(folder, "encode", how)
        made_by = self.manifest.extra["codec"]
        if codec_fingerprint is not None and made_by != codec_fingerprint:
            raise IntegrityError(
                str(folder),
                came=f"latents of codec {made_by[:12]}",
                allowed=f"latents of codec {codec_fingerprint[:12]}",
                do="Run `crafts encode` with the codec in use.",
            )
        self.rows, self.plan = read_index(folder / INDEX)
        self._mean = _open_array(folder / "mean.npy")
        has_std = "std.npy" in self.manifest.files
        self._std = _open_array(folder / "std.npy") if has_std else None
        if len(self._mean) != len(self.rows):
            raise IntegrityError(
                str(folder / "mean.npy"),
                came=f"{len(self._mean)} rows",
                allowed=f"the {len(self.rows)} rows of the index",
                do="Run `crafts encode` again.",
            )
        self.num_variants: int = self._mean.shape[1]
        self.shape: tuple[int, int, int] = self._mean.shape[2:]
        self._seen = np.zeros(len(self.rows), dtype=bool)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def moments(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Mean and standard deviation of all variants, float16 [V, C, h, w]; None when always 0.

        Raises:
            IntegrityError: the row has changed since it was written.
        """
        mean = self._mean[index]
        std = None if self._std is None else self._std[index]
        if not self._seen[index]:
            expected = self.rows[index]["latent_sha256"]
            _require_hash(
                moment_bytes(mean, std),
                expected,
                f"{self.folder}: latents {self.rows[index]['key']!r}",
            )
            self._seen[index] = True
        return mean, std

    def sample(
        self, index: int, variant: int = 0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """One latent, float32 [C, h, w].

        Args:
            index: image number.
            variant: in [0, num_variants).
            generator: draws from the codec's distribution; None gives its mean.
        """
        import torch

        mean, std = self.moments(index)
        latent = torch.from_numpy(mean[variant].astype(np.float32))
        if std is None or generator is None:
            return latent
        noise = torch.randn(latent.shape, generator=generator)
        return latent + noise * torch.from_numpy(std[variant].astype(np.float32))


def open_artifact(folder: Path, stage: str, how: Verify) -> Manifest:
    """Check that a folder is a whole artifact of a stage: sizes, and the hash of its index or all.

    Raises:
        DataError: no finished artifact, or one of another stage.
        IntegrityError: names the file at fault.
    """
    manifest = load_manifest(folder)
    if manifest.stage != stage:
        raise DataError(
            str(folder),
            came=f"an artifact of `crafts {manifest.stage}`",
            allowed=f"one of `crafts {stage}`",
            do="Fix the path.",
        )
    for name, entry in manifest.files.items():
        path = folder / name
        came = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
        if came != f"{entry.size} bytes":
            raise IntegrityError(
                str(path),
                came=came,
                allowed=f"the {entry.size} bytes that the manifest lists",
                do="Restore the file or make the artifact again.",
            )
    return verify(folder, only=None if how == "full" else [INDEX])


def moment_bytes(mean: np.ndarray, std: np.ndarray | None) -> bytes:
    """What the sha256 of a row of latents is taken of; a standard deviation of 0 counts as none."""
    extra = b"" if std is None or not std.any() else std.tobytes()
    return mean.tobytes() + extra


def _open_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
        fault = "" if array.dtype == np.float16 and array.ndim == 5 else "another type or shape"
    except HEADER_ERRORS as error:
        fault = f"a damaged header ({first_line(error)})"
    if fault:
        raise IntegrityError(
            str(path),
            came=fault,
            allowed="float16 [N, V, C, h, w]",
            do="Run `crafts encode` again.",
        )
    return array


def _read_part(path: Path, offset: int, size: int) -> bytes:
    # Opened anew each time: readers are then free to fork and to be sent to worker processes.
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            return handle.read(size)
    except FileNotFoundError:
        raise IntegrityError(
            str(path),
            came="missing",
            allowed="the shard that the index names",
            do="Restore the file or make the artifact again.",
        ) from None


def _require_hash(data: bytes, expected: str, where: str) -> None:
    if sha256_bytes(data) != expected:
        raise IntegrityError(
            where,
            came="changed content (sha256 differs)",
            allowed="the bytes that the index lists",
            do="Restore the file or make the artifact again.",
        )
