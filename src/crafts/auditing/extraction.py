"""Extraction: draw tiles from the captions a model saw most often and look for training tiles.

Carlini et al. 2023 ("Extracting training data from diffusion models"): a caption that stands for
many training tiles, or for one that was repeated, may give that tile back. Two signs are looked
for: drawn tiles that are copies of training tiles, and cliques: seeds that all give one tile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.matching.copies import Limits, find_copies, judge, share_of
from crafts.auditing.matching.landmarks import describe
from crafts.auditing.matching.library import Library
from crafts.auditing.results import Extracted, Extraction, TileVerdict
from crafts.core.artifacts import sha256_bytes
from crafts.core.protocols import MakeImages
from crafts.core.runtime import say
from crafts.data.collection import Tile


@dataclass(frozen=True)
class Drawn:
    """What was drawn from a model.

    Attributes:
        extraction: the figures.
        images: name -> pixels of the drawn tiles that are copies.
    """

    extraction: Extraction
    images: Mapping[str, NDArray[np.uint8]]


def most_repeated(texts: Sequence[str], number: int) -> list[tuple[str, int]]:
    """The captions that most training tiles carry, with how many do; ties by the alphabet."""
    counts = Counter(text for text in texts if text.strip())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]


def extract(
    captions: Sequence[tuple[str, int]],
    make_images: MakeImages,
    library: Library,
    *,
    seeds: int,
    limits: Limits,
    train_name: Callable[[int], str],
) -> Drawn:
    """Try to draw training tiles.

    Args:
        captions: of :func:`most_repeated`.
        make_images: prompt and number -> so many images of different seeds.
        library: the training tiles.
        seeds: images a caption.
        limits: of the correlation, above which a tile is a copy.
        train_name: number of a training tile -> its name.
    """
    rows: list[Extracted] = []
    copies: list[TileVerdict] = []
    kept: dict[str, NDArray[np.uint8]] = {}
    for place, (text, repeats) in enumerate(captions):
        images = [np.asarray(image.convert("RGB")) for image in make_images(text, seeds)]
        tiles = [
            Tile(f"{place}-{k}", pixels, sha256_bytes(pixels.tobytes()), text)
            for k, pixels in enumerate(images)
        ]
        found = find_copies(
            "audit: extraction", len(tiles), open_tile=tiles.__getitem__, library=library
        )
        for tile, item in zip(tiles, found, strict=True):
            one = judge(tile.name, item, limits=limits, sources=train_name, text=text)
            if one.verdict == "copy":
                copies.append(one)
                kept[one.name] = tile.pixels
        facts = {"text": text, "repeats": repeats, "images": len(tiles)}
        facts["copies"] = sum(tile.name in kept for tile in tiles)
        facts["clique"] = largest_clique(images, limits.whole.value)
        rows.append(Extracted(**facts, largest=max(item.match.correlation for item in found)))
        say(f"audit: extraction: {place + 1} of {len(captions)} captions, {len(copies)} copies")
    total = share_of(len(copies), sum(row.images for row in rows))
    return Drawn(Extraction(copies=total, captions=rows, verdicts=copies), kept)


def largest_clique(images: Sequence[NDArray[np.uint8]], threshold: float) -> int:
    """Size of the largest group of images whose structure correlates above a limit, each with each.

    Args:
        images: uint8 [H, W, 3], of one size, compared as they lie.
        threshold: of the correlation.
    """
    import networkx

    maps = np.stack([describe(pixels).map.ravel() for pixels in images]).astype(np.float32)
    maps -= maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(maps, axis=1, keepdims=True)
    maps /= np.where(length > 0, length, 1.0)  # an empty tile is like none
    alike = np.triu(maps @ maps.T > threshold, k=1)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(images)))
    graph.add_edges_from(zip(*np.nonzero(alike), strict=True))
    return max(len(clique) for clique in networkx.find_cliques(graph))
