"""Features of images by any encoder, in batches, with memory for one batch of images only.

:func:`build_extractor` reads folders with all that is known of their images;
:func:`encode_tiles` is the plain loop for an array and any callable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.progress import Progress
from crafts.core.protocols import BuildExtractor, ExtractFeatures
from crafts.core.records import FeatureSet
from crafts.core.runtime import say
from crafts.data.collection import Collection, Tile
from crafts.data.config import Columns
from crafts.imaging.opening import read_rgb
from crafts.imaging.stripping import RefusedImageError
from crafts.model.vision.image_encoders import ImageEncoder, open_encoder
from crafts.sets.cache import FeatureCache

Encoder = Callable[[torch.Tensor], torch.Tensor]
"""Images [B, 3, H, W] in [-1, 1] -> features [B, D]."""


def encode_tiles(
    tiles: NDArray[np.uint8], encoder: Encoder, batch_size: int = 32
) -> NDArray[np.float32]:
    """Features [N, D] of tiles uint8 [N, H, W, 3], in their order."""
    with torch.inference_mode():
        rows = [
            encoder(as_tensor(tiles[k : k + batch_size])).float().cpu()
            for k in range(0, len(tiles), batch_size)
        ]
    return torch.cat(rows).numpy()


def as_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Tiles uint8 [B, H, W, 3] as float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def read_image(path: Path) -> NDArray[np.uint8]:
    """One file as upright uint8 RGB [H, W, 3].

    Raises:
        DataError: it cannot be read as an image.
    """
    try:
        return read_rgb(path)
    except (RefusedImageError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            str(path),
            came=f"an unreadable image ({reason})",
            allowed="a whole PNG or JPEG file",
            do="Remove the file or write it again.",
        ) from None


def build_extractor(
    source: str | Path | ImageEncoder,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    device: str = "auto",
    split: str | None = None,
    network: bool = False,
) -> ExtractFeatures:
    """A function from a folder of images to their features.

    The folder may have any layout that ``pack`` reads, be the output of ``generate``, or hold
    packed shards. Images are opened one by one and never kept: what grows with their number are
    features, names and fields. An image that cannot be used is counted with its reason.

    Args:
        source: an encoder that is open, or what
            :func:`crafts.model.vision.image_encoders.open_encoder` takes: "mini", a folder, a
            hub id, or a weights file of the FID Inception.
        cache: folder that keeps features between runs, by encoder and hash of the image file.
        batch_size: images encoded together.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        split: use images of this split only.
        network: whether a hub id may be downloaded.

    Returns:
        A function that raises ConfigError (no such folder or split) and DataError (no usable
        image, or a layout that is not recognised).

    Raises:
        ConfigError: ``batch_size`` < 1, or no such encoder.
        DataError: the encoder is damaged.
    """
    _require_batch(batch_size)
    encoder = (
        source
        if isinstance(source, ImageEncoder)
        else open_encoder(source, network=network, device=device)
    )
    return read_with(encoder, partial(Collection, split=split), cache=cache, batch_size=batch_size)


def read_with(
    encoder: ImageEncoder,
    images: Callable[[Path], Collection],
    *,
    cache: Path | None = None,
    batch_size: int = 32,
) -> ExtractFeatures:
    """As :func:`build_extractor`, for whoever opens folders in a way of their own.

    Args:
        encoder: that is open.
        images: folder -> its images.
        cache: as there.
        batch_size: as there.

    Raises:
        ConfigError: ``batch_size`` < 1.
    """
    _require_batch(batch_size)

    def extract(folder: Path) -> FeatureSet:
        collection = images(folder)
        if cache is None:
            return _Extraction(collection, encoder, None, batch_size).run()
        with FeatureCache(cache, encoder.fingerprint, encoder.width) as store:
            return _Extraction(collection, encoder, store, batch_size).run()

    return extract


def by_split(
    encoder: ImageEncoder,
    columns: Columns,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
) -> BuildExtractor:
    """What gives, for a split or None, the :func:`read_with` of its rows.

    Args:
        encoder: that is open.
        columns: names that the tables have for the fields of an image.
        cache: as there.
        batch_size: as there.
    """

    def build(split: str | None) -> ExtractFeatures:
        images = partial(Collection, split=split, columns=columns)
        return read_with(encoder, images, cache=cache, batch_size=batch_size)

    return build


class _Extraction:
    """One pass over one folder.

    Images wait, prepared, until there are enough for a batch; those found in the cache do not.
    """

    def __init__(
        self,
        collection: Collection,
        encoder: ImageEncoder,
        cache: FeatureCache | None,
        batch_size: int,
    ) -> None:
        self.collection, self.encoder = collection, encoder
        self.cache, self.batch_size = cache, batch_size
        self.features = np.empty((len(collection), encoder.width), dtype=np.float32)
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[tuple[str, str]] = []
        self.waiting: list[tuple[int, str, torch.Tensor]] = []
        self.num_cached = 0
        self.progress = Progress("features", len(collection))

    def run(self) -> FeatureSet:
        for index in range(len(self.collection)):
            tile = self.collection.load(index)
            if isinstance(tile, str):
                self.rejected.append((self.collection.name(index), tile))
            else:
                self._take(tile)
            note = f"{self.num_cached:,} from the cache, {len(self.rejected):,} rejected"
            self.progress.report(index + 1, note)
        self._encode()
        self._report_damage()
        features, rows = self._finite()
        if not rows:
            raise DataError(
                str(self.collection.source),
                came=f"no usable image of {len(self.collection)}; {': '.join(self.rejected[0])}",
                allowed="at least one",
                do="Check the images.",
            )
        texts, truncated = self._texts(rows)
        return FeatureSet(
            features=features,
            rows=tuple(rows),
            rejected=tuple(self.rejected),
            encoder=dict(self.encoder.facts),
            texts=texts,
            truncated=truncated,
        )

    def _take(self, tile: Tile) -> None:
        place = len(self.rows)
        height, width = tile.pixels.shape[:2]
        known = {"name": tile.name, "sha256": tile.sha256, "text": tile.text}
        self.rows.append({**tile.fields, **known, "width": width, "height": height})
        found = self.cache.get("image", [tile.sha256]) if self.cache else {}
        if tile.sha256 in found:
            self.features[place] = found[tile.sha256][0]
            self.num_cached += 1
            return
        self.waiting.append((place, tile.sha256, self.encoder.prepare(tile.pixels)))
        if len(self.waiting) == self.batch_size:
            self._encode()

    def _encode(self) -> None:
        if not self.waiting:
            return
        places, hashes, images = zip(*self.waiting, strict=True)
        self.waiting = []
        features = self.encoder.images(torch.stack(images)).numpy()
        self.features[list(places)] = features
        if self.cache:
            good = np.isfinite(features).all(axis=1)
            self.cache.put("image", list(np.array(hashes)[good]), features[good])

    def _finite(self) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """Features and rows without those whose features are no numbers, which are rejected."""
        features = self.features[: len(self.rows)]
        good = np.asarray(np.isfinite(features).all(axis=1))
        if good.all():
            return features, self.rows
        self.rejected += [
            (str(row["name"]), "features that are not finite")
            for row, fine in zip(self.rows, good, strict=True)
            if not fine
        ]
        rows = [row for row, fine in zip(self.rows, good, strict=True) if fine]
        return features[good], rows

    def _texts(self, rows: list[dict[str, Any]]) -> tuple[NDArray[np.float32] | None, float]:
        """Features of each row's text [N, D], equal texts encoded once, and the share cut."""
        unique = list(dict.fromkeys(str(row["text"]) for row in rows))
        if self.encoder.encode_texts is None or "" in unique:
            return None, 0.0
        number = {text: place for place, text in enumerate(unique)}
        which = np.array([number[str(row["text"])] for row in rows])
        features, cut = self._encode_texts(unique)
        return features[which], float(cut[which].mean())

    def _encode_texts(self, texts: list[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        hashes = [sha256_bytes(text.encode()) for text in texts]
        found = self.cache.get("text", hashes) if self.cache else {}
        features = np.empty((len(texts), self.encoder.width), dtype=np.float32)
        cut = np.zeros(len(texts), dtype=bool)
        for place, key in enumerate(hashes):
            if key in found:
                features[place], cut[place] = found[key]
        new = [place for place, key in enumerate(hashes) if key not in found]
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            encoded = self.encoder.texts([texts[place] for place in part])
            if encoded is None:  # the caller asked whether there is a text half
                break
            features[part], cut[part] = encoded[0].numpy(), encoded[1]
            if self.cache:
                self.cache.put("text", [hashes[p] for p in part], features[part], encoded[1])
        return features, cut

    def _report_damage(self) -> None:
        if self.cache and self.cache.num_damaged:
            say(f"{self.cache.path}: {self.cache.num_damaged} damaged entries were computed again")


def _require_batch(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(
            "build_extractor: batch_size",
            came=str(batch_size),
            allowed="at least 1",
            do="Raise it.",
        )
