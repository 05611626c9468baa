"""All pictures of a run under one number each: real tiles, what is made of them, generated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.errors import DataError
from crafts.core.protocols import Codec
from crafts.core.runtime import say
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.controls import augment, colour_histogram, send_through
from crafts.downstream.opening import Opened, Side
from crafts.measures.structure import color_statistics_generator
from crafts.model.vision.image_encoders import ImageEncoder
from crafts.sets.splits import Rows

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_FOR_NOISE = 64  # tiles whose colours the noise takes


@dataclass(frozen=True)
class Pool:
    """Every picture of a run; arms and exams are numbers of its pictures.

    Attributes:
        features: [P, D] of the encoder.
        colour: [P, 64] colour histograms.
        pixels: [P, S, S, 3] small pictures; S is 0 where no task trains on pixels.
        labels: [P], numbers of classes; -1 where unknown.
        rows: what is known of each picture.
        parts: real, augmented, coded (these two beside the training tiles, in their order), noise,
            external, and the folders of generated tiles by their names -> their numbers.
    """

    features: Features
    colour: Features
    pixels: Pixels
    labels: NDArray[np.int64]
    rows: Sequence[Mapping[str, Any]]
    parts: Mapping[str, Rows]

    def of(self, side: Side) -> Rows:
        """Numbers of the tiles of a set."""
        return self.parts[side.name]


@dataclass
class _Part:
    """Pictures of one kind, as they come."""

    features: list[Features] = field(default_factory=list)
    colour: list[Features] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)

    def add(self, features: Features, tiles: Sequence[Pixels], *, side: int) -> None:
        self.features.append(features)
        self.colour.append(np.stack([colour_histogram(tile) for tile in tiles]))
        self.pixels.append(np.stack([_small(tile, side) for tile in tiles]))


def build_pool(
    config: BenchmarkConfig,
    opened: Opened,
    encoder: ImageEncoder,
    codec: Codec | None,
    *,
    side: int,
) -> Pool:
    """Open each tile once more, for its colours, a small copy, and the controls made from it.

    Args:
        config: of the stage.
        opened: its sets, with features.
        encoder: of the controls.
        codec: that real tiles are sent through, or None.
        side: of the small pictures, in pixels; 0 for none.

    Raises:
        DataError: a tile went away since it was read.
    """
    say("benchmark: controls from the real tiles")
    changes: dict[str, Callable[[Pixels, int], Pixels]] = {
        "augmented": lambda tile, number: augment(tile, seed=config.seed, number=number)
    }
    if codec is not None:
        changes["coded"] = lambda tile, number: send_through(codec, tile)
    parts = {name: _Part() for name in ("real", *changes)}
    place = {int(row): k for k, row in enumerate(opened.train)}
    kept: list[Pixels] = []
    for rows, tiles in _batches(opened.real, config.batch_size):
        parts["real"].add(opened.real.features[rows], tiles, side=side)
        mine = [(place[row], tile) for row, tile in zip(rows, tiles, strict=True) if row in place]
        for name, change in changes.items() if mine else ():
            changed = [change(tile, number) for number, tile in mine]
            parts[name].add(encoder.images(changed).numpy(), changed, side=side)
        kept += [tile for k, tile in mine if k % max(1, len(place) // _FOR_NOISE) == 0]
    parts["noise"] = _noise(config, kept, encoder, side=side, number=len(place))
    others = [*opened.generated, *([opened.external] if opened.external else [])]
    for one in others:
        parts[one.name] = _Part()
        for rows, tiles in _batches(one, config.batch_size):
            parts[one.name].add(one.features[rows], tiles, side=side)
    return _join(opened, parts)


def _join(opened: Opened, parts: Mapping[str, _Part]) -> Pool:
    known = {one.name: one for one in (opened.real, *opened.generated, opened.external) if one}
    labels, rows, places, start = [], [], {}, 0
    for name, part in parts.items():
        number = sum(len(some) for some in part.features)
        places[name] = np.arange(start, start + number)
        start += number
        one = known.get(name)
        labels.append(opened.numbers(one) if one else np.full(number, -1))
        rows += list(one.tiles.set.rows) if one else [{}] * number

    def stack(name: str) -> NDArray[Any]:
        return np.concatenate([some for part in parts.values() for some in getattr(part, name)])

    return Pool(
        stack("features"), stack("colour"), stack("pixels"), np.concatenate(labels), rows, places
    )


def _small(tile: Pixels, side: int) -> Pixels:
    if side == 0:
        return np.empty((0, 0, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(tile).resize((side, side), Image.Resampling.BILINEAR))


def _noise(
    config: BenchmarkConfig,
    tiles: Sequence[Pixels],
    encoder: ImageEncoder,
    *,
    side: int,
    number: int,
) -> _Part:
    """Noise of the colours of all classes together, so that nothing in it tells of a class."""
    (height, width), _ = Counter(tile.shape[:2] for tile in tiles).most_common(1)[0]
    alike = np.stack([tile for tile in tiles if tile.shape[:2] == (height, width)])
    part, number = _Part(), min(number, config.max_synthetic)
    for start in range(0, number, config.batch_size):
        few = min(config.batch_size, number - start)
        drawn = list(color_statistics_generator(alike, few, seed=config.seed + start))
        part.add(encoder.images(drawn).numpy(), drawn, side=side)
    return part


def _batches(side: Side, size: int) -> Iterator[tuple[list[int], list[Pixels]]]:
    """Numbers and pixels of the tiles of a set, some at a time."""
    names = [str(row["name"]) for row in side.tiles.set.rows]
    for start in range(0, len(names), size):
        tiles = [side.source.load(name) for name in names[start : start + size]]
        missing = [name for name, tile in zip(names[start:], tiles, strict=False) if tile is None]
        if missing:
            raise DataError(
                f"benchmark: {side.source.path}",
                came=f"{missing[0]} can no longer be opened",
                allowed="tiles that stay as they are during a run",
                do="Put it back and run again.",
            )
        yield (
            list(range(start, start + len(tiles))),
            [tile.pixels for tile in tiles if tile is not None],
        )
