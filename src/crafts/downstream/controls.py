"""Controls made from the real tiles: augmented, noise of their colours, colours alone, a codec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crafts.core.protocols import Codec
from crafts.core.runtime import generator_for, say
from crafts.data.tiles.augment import dihedral, draw_stain_jitter, stain_jitter
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.opening import Opened, Side
from crafts.measures.structure import color_statistics_generator
from crafts.model.vision.image_encoders import ImageEncoder

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_BINS = 4  # of each channel: 64 joint bins, few enough for a handful of tiles
_FOR_NOISE = 64  # tiles whose colours the noise takes


@dataclass(frozen=True)
class Controls:
    """Features of what stands beside the tiles themselves.

    Attributes:
        augmented: [len(train), D], each training tile turned, mirrored and stained a little anew.
        noise: [M, D], smooth noise with the colours of all training tiles together, of no class.
        colour: [N, 64] colour histograms of all real tiles.
        external_colour: those of the external tiles, or None.
        coded: [len(train), D], training tiles sent through a codec, or None.
    """

    augmented: Features
    noise: Features
    colour: Features
    external_colour: Features | None
    coded: Features | None


def make_controls(
    config: BenchmarkConfig, opened: Opened, encoder: ImageEncoder, codec: Codec | None
) -> Controls:
    """Open the real tiles once more and encode what is made of them."""
    say("benchmark: controls from the real tiles")
    place = {int(row): k for k, row in enumerate(opened.train)}
    real, width = opened.real, encoder.width
    colour = np.zeros((len(real.tiles), _BINS**3), dtype=np.float32)
    augmented = np.zeros((len(place), width), dtype=np.float32)
    coded = None if codec is None else np.zeros_like(augmented)
    kept: list[Pixels] = []
    for rows, tiles in _batches(real, config.batch_size):
        colour[rows] = [colour_histogram(tile) for tile in tiles]
        mine = [(place[row], tile) for row, tile in zip(rows, tiles, strict=True) if row in place]
        if not mine:
            continue
        at = [k for k, _ in mine]
        changed = [augment(tile, seed=config.seed, number=k) for k, tile in mine]
        augmented[at] = encoder.images(changed).numpy()
        if coded is not None and codec is not None:
            coded[at] = encoder.images([send_through(codec, tile) for _, tile in mine]).numpy()
        kept += [tile for k, tile in mine if k % max(1, len(place) // _FOR_NOISE) == 0]
    external = None
    if opened.external is not None:
        external = np.zeros((len(opened.external.tiles), _BINS**3), dtype=np.float32)
        for rows, tiles in _batches(opened.external, config.batch_size):
            external[rows] = [colour_histogram(tile) for tile in tiles]
    noise = _noise(config, kept, encoder, number=min(len(place), config.max_synthetic))
    return Controls(augmented, noise, colour, external, coded)


def colour_histogram(tile: Pixels) -> Features:
    """Square roots of the shares of the joint colour histogram [64]; no place is in it."""
    levels = (tile.reshape(-1, 3).astype(np.int64) * _BINS) // 256
    index = (levels[:, 0] * _BINS + levels[:, 1]) * _BINS + levels[:, 2]
    shares = np.bincount(index, minlength=_BINS**3) / len(index)
    return np.sqrt(shares).astype(np.float32)


def augment(tile: Pixels, *, seed: int, number: int) -> Pixels:
    """One classic variant of a tile: one of seven other positions, and another stain strength."""
    generator = generator_for("benchmark", "augment", seed, number)
    image = torch.from_numpy(np.array(tile)).permute(2, 0, 1)[None].float() / 127.5 - 1
    turn = 1 + int(torch.randint(7, (1,), generator=generator))
    factors, offsets = draw_stain_jitter(1, generator)
    return _pixels(stain_jitter(dihedral(image, turn), factors, offsets))


def send_through(codec: Codec, tile: Pixels) -> Pixels:
    """A tile as an autoencoder gives it back, cut to a multiple of its factor."""
    height, width = (side - side % codec.factor for side in tile.shape[:2])
    cut = np.array(tile[:height, :width])
    image = torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        return _pixels(codec.decode(codec.encode(image)[0]).float().cpu())


def _pixels(image: torch.Tensor) -> Pixels:
    values = ((image[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())


def _noise(
    config: BenchmarkConfig, tiles: Sequence[Pixels], encoder: ImageEncoder, *, number: int
) -> Features:
    """Noise of the colours of all classes together, so that nothing in it tells of a class."""
    (height, width), _ = Counter(tile.shape[:2] for tile in tiles).most_common(1)[0]
    alike = np.stack([tile for tile in tiles if tile.shape[:2] == (height, width)])
    found = []
    for start in range(0, number, config.batch_size):
        few = min(config.batch_size, number - start)
        drawn = color_statistics_generator(alike, few, seed=config.seed + start)
        found.append(encoder.images(list(drawn)).numpy())
    return np.concatenate(found)


def _batches(side: Side, size: int) -> Iterator[tuple[list[int], list[Pixels]]]:
    """Numbers and pixels of the tiles of a set, some at a time; all were opened before."""
    rows: list[int] = []
    tiles: list[Pixels] = []
    for number, row in enumerate(side.tiles.set.rows):
        tile = side.source.load(str(row["name"]))
        if tile is None:  # it went away since; it keeps features of zero and is not trained on
            continue
        rows.append(number)
        tiles.append(tile.pixels)
        if len(rows) == size:
            yield rows, tiles
            rows, tiles = [], []
    if rows:
        yield rows, tiles
