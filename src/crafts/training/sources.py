"""Where training samples come from: shards of images, cached latents, or painted tissue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import get_worker_info

from crafts.core.errors import ConfigError, DataError
from crafts.core.patients import patient_in
from crafts.core.runtime import generator_for
from crafts.data.tiles.augment import draw_stain_jitter, stain_jitter
from crafts.training.data import Balance, PaintedData, ShardData
from crafts.training.order import SampleOrder, balance_weights, choice

Row = dict[str, Any]
NOTHING_HELD_OUT = (
    "nothing is held out: no held-out loss; pack with --set validation=0.1, or with rows of split "
    "validation"
)
CACHE_BYTES = 4 * 2**30  # decoded tiles kept by one process; 21,000 tiles of 256 px


class ImageSource(Protocol):
    """Images by number, with what is known of each."""

    rows: list[Row]
    fingerprint: str

    def image(self, index: int) -> np.ndarray:
        """Image [H, W, 3], uint8."""
        ...


class PaintedSource:
    """Painted tiles in memory: ``count`` for training and an eighth as many held out."""

    def __init__(self, config: PaintedData) -> None:
        from crafts.data.painter import paint_tile

        held = max(4, config.count // 8)
        self._images, self.rows = [], []
        for index in range(config.count + held):
            tile = paint_tile(seed=config.seed, index=index, size=config.size)
            split = "train" if index < config.count else "validation"
            row = {
                "key": f"painted-{index:06d}",
                "text": tile.caption,
                "captions": [tile.caption],
                "set": "painted",
            }
            self.rows.append({**tile.fields, **row, "split": split})
            self._images.append(tile.image)
        self.fingerprint = f"painted-{config.count}-{config.size}-{config.seed}"

    def image(self, index: int) -> np.ndarray:
        """Image [H, W, 3], uint8."""
        return self._images[index]


class CachedImages:
    """Decoded tiles of shards; the first that are seen stay in memory, up to a bound."""

    def __init__(self, folder: Path) -> None:
        from crafts.core.artifacts import fingerprint
        from crafts.data.loader import ShardReader

        self._reader = ShardReader(folder)
        self.rows = self._reader.rows
        self.fingerprint = fingerprint(folder)
        self._seen: dict[int, np.ndarray] = {}
        self._free = CACHE_BYTES

    def image(self, index: int) -> np.ndarray:
        """Image [H, W, 3], uint8."""
        if index in self._seen:
            return self._seen[index]
        image = self._reader.image(index)
        if image.nbytes <= self._free // _sharers():
            self._seen[index] = image
            self._free -= image.nbytes * _sharers()
        return image


def _sharers() -> int:
    """Processes that share the memory of this one: its fellow workers, or itself alone."""
    worker = get_worker_info()
    return worker.num_workers if worker else 1


def open_images(config: PaintedData | ShardData) -> ImageSource:
    """The images of a recipe's ``data`` section."""
    return (
        PaintedSource(config)
        if isinstance(config, PaintedData)
        else CachedImages(Path(config.folder))
    )


class Split:
    """Training and validation rows of a source, and the order in which training shows them.

    Args:
        rows: all rows of the source.
        config: the ``data`` section.
        seed: of the run.

    Raises:
        ConfigError: a set that no row is of, or a column to balance by that no row has.
        DataError: no row is left for training.
    """

    def __init__(self, rows: list[Row], config: Balance, seed: int) -> None:
        self.rows, sets = rows, config.sets
        _refuse_unknown(rows, config)
        kept = [i for i, row in enumerate(rows) if not sets or row.get("set") in sets]
        self.train = [i for i in kept if (rows[i].get("split") or "train") == "train"]
        self.validation = [i for i in kept if rows[i].get("split") == "validation"]
        if not self.train:
            raise DataError(
                "train: data",
                came=f"{len(rows)} rows, none of split 'train'"
                + (f" in sets {sets}" if sets else ""),
                allowed="at least one training row",
                do="Check the splits of the shards and data.sets.",
            )
        weights = _weights([rows[i] for i in self.train], config)
        self._order = SampleOrder(len(self.train), seed, weights)

    def row(self, position: int) -> int:
        """Row of the source that global sample ``position`` shows."""
        return self.train[self._order.row(position)]

    def validation_sample(self, *, per_set: int) -> list[int]:
        """Up to ``per_set`` validation rows of each set, evenly spread, the same at every call."""
        by_set: dict[str, list[int]] = {}
        for index in self.validation:
            by_set.setdefault(str(self.rows[index].get("set", "")), []).append(index)
        chosen = []
        for indices in by_set.values():
            picks = np.linspace(0, len(indices) - 1, min(per_set, len(indices))).round().astype(int)
            chosen += [indices[i] for i in picks]
        return chosen


def _refuse_unknown(rows: Sequence[Row], config: Balance) -> None:
    """Refuse a name of a set or a column that the rows do not know: it would choose nothing."""
    sets = sorted({str(row["set"]) for row in rows if row.get("set")})
    unknown = [name for name in config.sets or () if name not in sets]
    if unknown:
        raise ConfigError(
            "train: data.sets",
            came=unknown[0],
            allowed=", ".join(sets) or "rows with a column set",
            do="Correct the name.",
        )
    if config.balance and not any(row.get(config.balance_by) for row in rows):
        raise ConfigError(
            "train: data.balance_by",
            came=config.balance_by,
            allowed=", ".join(sorted({name for row in rows[:100] for name in row})),
            do="Name a column of the shards, or set data.balance to 0.",
        )


def check_tiles(
    source: ImageSource, split: Split, *, factor: int, crop: int | None, multiple: int
) -> int:
    """Refuse tiles that cannot stand in one batch, or that the networks cannot halve.

    Args:
        source: of the tiles.
        split: its training and validation rows.
        factor: pixels a latent cell; the edges of all tiles are multiples of it.
        crop: cells that training cuts out of a tile; None: tiles are shown whole.
        multiple: of which the number of cells along an edge is one.

    Returns:
        The shortest edge of a training tile in pixels.

    Raises:
        ConfigError: names sizes that do not fit.
    """
    sizes = {tile_size(source, row) for row in split.train}
    side = min(min(size) for size in sizes)
    cells = crop or side // factor
    whole = crop is None and sizes != {(side, side)}
    held = {tile_size(source, row) for row in split.validation}
    uneven = [size for size in sorted(sizes | held) if any(edge % factor for edge in size)]
    if whole or uneven or cells * factor > side or cells % multiple:
        shown = ", ".join(f"{h} x {w}" for h, w in (uneven or sorted(sizes))[:3])
        raise ConfigError(
            "train: data",
            came=f"tiles of {shown} px for {cells} x {cells} latent cells of {factor} px",
            allowed=f"edges that are multiples of {factor} px; squares of one size, or a crop "
            f"within them, a multiple of {multiple}",
            do="Pack tiles of one size, or correct stage.crop.",
        )
    return side


def tile_size(source: ImageSource, row: int) -> tuple[int, int]:
    """Height and width of a tile in pixels, by its row where that says it."""
    known = source.rows[row]
    if "height" in known:
        return int(known["height"]), int(known["width"])
    height, width = source.image(row).shape[:2]
    return int(height), int(width)


def _weights(rows: Sequence[Row], config: Balance) -> np.ndarray | None:
    """Sampling weights of training rows; None where every row is shown once an epoch."""
    if not config.balance and not config.spread_groups:
        return None
    labels = [str(row.get(config.balance_by, "")) for row in rows]
    groups = None
    if config.spread_groups:  # the prefixes keep names of patients and numbers of rows apart
        groups = [
            f"patient:{patient}" if (patient := patient_in(row)) else f"row:{number}"
            for number, row in enumerate(rows)
        ]
    return balance_weights(labels, config.balance, groups=groups)


def jitter_stains(image: torch.Tensor, position: int, *, seed: int, sigma: float) -> torch.Tensor:
    """Mild stain jitter of an image [3, H, W], a function of the global sample index."""
    if sigma == 0:
        return image
    factors, offsets = draw_stain_jitter(1, generator_for(seed, "stain", position), sigma=sigma)
    return stain_jitter(image[None], factors, offsets)[0]


def random_crop(image: torch.Tensor, size: int, *, seed: int, position: int) -> torch.Tensor:
    """A crop [C, S, S] of [C, H, W] at a place that sample ``position`` decides."""
    top, left = crop_place(image.shape[1], image.shape[2], size, seed=seed, position=position)
    return image[:, top : top + size, left : left + size]


def crop_place(height: int, width: int, size: int, *, seed: int, position: int) -> tuple[int, int]:
    """Top and left of the crop of sample ``position``."""
    top = choice(seed, "top", position, height - size + 1)
    return top, choice(seed, "left", position, width - size + 1)


def to_bytes(image: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] -> uint8 [3, H, W], a quarter of the way to a worker's parent."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [..., H, W] -> float32 in [-1, 1], where the pixels lie."""
    return pixels.float() / 127.5 - 1


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [-1, 1]."""
    return to_range(to_bytes(image))


def place(images: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A batch [B, C, H, W] on its device, laid out as convolutions are fastest with."""
    return images.to(device, dtype).contiguous(memory_format=torch.channels_last)


def mean_by_set(what: str, rows: Sequence[Row], values: Sequence[float]) -> dict[str, float]:
    """Held-out numbers of a task.

    Args:
        what: name of the number.
        rows: N rows of the source; their ``set`` may be missing.
        values: N numbers.

    Returns:
        The mean of each named set as ``what/set``, and the mean of the sets' means as ``what``;
        {} without rows.
    """
    sets: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        sets.setdefault(str(row.get("set", "")), []).append(value)
    means = {name: sum(found) / len(found) for name, found in sets.items()}
    named = {f"{what}/{name}": value for name, value in means.items() if name}
    return named | ({what: sum(means.values()) / len(means)} if means else {})
