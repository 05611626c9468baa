"""Features of images by any encoder, in batches, with memory for one batch of images only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from crafts.core.errors import ConfigError, DataError

Encoder = Callable[[torch.Tensor], torch.Tensor]
"""Images [B, 3, H, W] in [-1, 1] -> features [B, D]."""

SUFFIXES = (".png", ".jpg", ".jpeg")


@runtime_checkable
class ImageSource(Protocol):
    """Random access to tiles, as a shard reader gives it."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """Tile [H, W, 3] at an index."""
        ...


def extract_features(
    images: Path | ImageSource | Iterable[Any],
    encoder: Encoder,
    batch_size: int = 32,
    *,
    size: int | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Encode images one batch at a time.

    Args:
        images: a folder (PNG and JPEG files, sorted by name, subfolders included), a shard reader,
            an array uint8 [N, H, W, 3], or an iterable of uint8 arrays [H, W, 3].
        encoder: images [B, 3, H, W] in [-1, 1] -> [B, D].
        batch_size: images encoded together.
        size: side in pixels to which images are resized (bicubic); by default they must be equal.
        device: where the encoder lives.

    Returns:
        Features float32 [N, D], in the order of the images.

    Raises:
        DataError: no images, an unreadable one, a wrong type, or sizes that differ within a batch.
        ConfigError: ``batch_size`` < 1.
    """
    if batch_size < 1:
        raise ConfigError(
            "extract_features: batch_size",
            came=str(batch_size),
            allowed="at least 1",
            do="Raise it.",
        )
    rows, stream = [], iter_images(images)
    while batch := list(islice(stream, batch_size)):
        tiles = [_resized(tile, size) for tile in batch]
        _check_sizes(tiles)
        with torch.inference_mode():
            features = encoder(as_tensor(np.stack(tiles)).to(device))
        rows.append(features.float().cpu().numpy())
    if not rows:
        raise DataError(
            f"images: {images if isinstance(images, Path) else type(images).__name__}",
            came="no images",
            allowed="at least one (PNG or JPEG in a folder)",
            do="Check the path.",
        )
    return np.concatenate(rows)


def as_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Tiles uint8 [B, H, W, 3] as float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def iter_images(images: Path | ImageSource | Iterable[Any]) -> Iterator[NDArray[np.uint8]]:
    """Tiles uint8 [H, W, 3] one after the other; see :func:`extract_features`.

    Raises:
        DataError: a file that is no image, or an item that is no uint8 array [H, W, 3].
    """
    if isinstance(images, Path):
        for path in list_images(images):
            yield read_image(path)
        return
    items = (
        (images.image(i) for i in range(len(images))) if isinstance(images, ImageSource) else images
    )
    for index, item in enumerate(items):
        tile = np.asarray(item)
        if tile.dtype != np.uint8 or tile.ndim != 3 or tile.shape[2] != 3:
            raise DataError(
                f"images: item {index}",
                came=f"{tile.dtype} {list(tile.shape)}",
                allowed="uint8 [H, W, 3]",
                do="Convert images to 8-bit RGB.",
            )
        yield tile


def list_images(folder: Path) -> list[Path]:
    """PNG and JPEG files below a folder, sorted; hidden ones left out.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(
            str(folder), came="no such folder", allowed="a folder of images", do="Check the path."
        )
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not path.name.startswith("."))


def read_image(path: Path) -> NDArray[np.uint8]:
    """One file as uint8 RGB [H, W, 3].

    Raises:
        DataError: it cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            str(path),
            came=f"an unreadable image ({reason})",
            allowed="a whole PNG or JPEG file",
            do="Remove the file or write it again.",
        ) from None


def _resized(tile: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    if size is None or tile.shape[:2] == (size, size):
        return tile
    return np.asarray(Image.fromarray(tile).resize((size, size), Image.Resampling.BICUBIC))


def _check_sizes(tiles: list[NDArray[np.uint8]]) -> None:
    shapes = sorted({tile.shape[:2] for tile in tiles})
    if len(shapes) > 1:
        raise DataError(
            "images",
            came=f"sizes {shapes[0][1]}x{shapes[0][0]} and {shapes[-1][1]}x{shapes[-1][0]}",
            allowed="one size",
            do="Pass size= to resize them, or cut tiles of one size.",
        )
