"""Copies among images, turned or mirrored ones too: exact by pixels, near by a perceptual hash.

The hash is the signs of the lowest frequencies of a picture's cosine transform (pHash with signs in
place of the median). A mirrored picture flips the signs of odd frequencies and a transposed one
swaps the axes, so the hashes of all eight symmetries follow from one transform. Hashes that may be
near are found by bands of 16 bits, as in locality-sensitive hashing; every candidate is then
compared on all bits and on a small colour picture, so that tissue that only looks alike stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)

_GRID = 16  # frequencies an axis
_EDGE = 64  # px; the picture that is transformed
_THUMB = 8  # px; the colour picture that is compared
_NUM_BANDS = 16
_CROWD = 4096  # images of one band value; a larger crowd says nothing and is left to other bands
_CHUNK = 1 << 20  # candidate pairs compared at once


@dataclass(frozen=True)
class Print:
    """What is kept of an image: about 0.4 kB.

    Attributes:
        exact: digest of its pixels, the same for all eight symmetries.
        signs: bool [16, 16], signs of its lowest frequencies.
        thumb: uint8 [8, 8, 3].
    """

    exact: bytes
    signs: NDArray[np.bool_]
    thumb: Pixels


@dataclass(frozen=True)
class Duplicate:
    """An image that came before.

    Attributes:
        index: of the later image.
        of: index of the first one, which is kept.
        exact: the pixels agree; else they are only near.
    """

    index: int
    of: int
    exact: bool


def make_print(pixels: Pixels) -> Print:
    """Describe an image for :func:`find_duplicates`.

    Args:
        pixels: uint8 [H, W, 3].
    """
    from scipy.fft import dctn

    image = Image.fromarray(pixels)
    gray = np.asarray(image.convert("L").resize((_EDGE, _EDGE), Image.Resampling.BOX), np.float64)
    # without frequency 0, whose sign is that of the brightness and the same for all
    low = dctn(gray, norm="ortho")[1 : _GRID + 1, 1 : _GRID + 1]
    thumb = np.asarray(image.resize((_THUMB, _THUMB), Image.Resampling.BOX))
    return Print(_exact_digest(pixels), low > 0, thumb)


def _exact_digest(pixels: Pixels) -> bytes:
    """The smallest digest of the eight symmetries, shape included."""
    digests = []
    for turned in symmetries(pixels):
        digest = hashlib.sha256(f"{turned.shape}".encode())
        digest.update(np.ascontiguousarray(turned).data)
        digests.append(digest.digest())
    return min(digests)


def symmetries(array: NDArray[T]) -> Iterator[NDArray[T]]:
    """The eight symmetries of a square, of an array [H, W, ...]: transposed, then mirrored."""
    for base in (array, array.swapaxes(0, 1)):
        for part in (base, base[::-1]):
            yield from (part, part[:, ::-1])


def find_duplicates(
    prints: Sequence[Print], *, max_bits: int = 32, max_difference: float = 6.0
) -> list[Duplicate]:
    """Images that came before, as they are, turned or mirrored.

    The first image of a kind is kept; a later one is a duplicate where it is near to one that is
    kept. Two near images are missed only where all sixteen bands of their hashes differ: with a
    twentieth of the bits flipped at random that is 1 in 10,000, with a tenth 1 in 26.

    Args:
        prints: one an image, in the order in which images are preferred.
        max_bits: signs that may differ, of 256.
        max_difference: mean difference of the small colour pictures, in grey levels.

    Returns:
        Sorted by index.
    """
    found: dict[int, Duplicate] = {}
    first: dict[bytes, int] = {}
    for index, one in enumerate(prints):
        of = first.setdefault(one.exact, index)
        if of != index:
            found[index] = Duplicate(index, of, True)
    unique = np.array(sorted(first.values()), dtype=np.int64)
    near: dict[int, list[int]] = {}
    for older, later in _near_pairs([prints[i] for i in unique], max_bits, max_difference):
        near.setdefault(int(unique[later]), []).append(int(unique[older]))
    for index in sorted(near):
        kept = [of for of in near[index] if of not in found]
        if kept:
            found[index] = Duplicate(index, min(kept), False)
    # a copy of what turned out to be a duplicate is one of the image that was kept
    for index, copy in found.items():
        if copy.of in found:
            found[index] = Duplicate(index, found[copy.of].of, copy.exact)
    return [found[index] for index in sorted(found)]


def _near_pairs(
    prints: Sequence[Print], max_bits: int, max_difference: float
) -> list[tuple[int, int]]:
    """Pairs (older, later) within both limits under some symmetry."""
    if len(prints) < 2:
        return []
    signs = np.stack([one.signs for one in prints])
    thumbs = np.stack([one.thumb for one in prints]).astype(np.int16)
    base = _pack(signs)
    pairs: set[tuple[int, int]] = set()
    for turned, turned_thumbs in zip(_turned_signs(signs), _batch_symmetries(thumbs), strict=True):
        query = _pack(turned)
        for older, later in _candidates(base, query):
            bits = np.bitwise_count(base[older] ^ query[later]).sum(axis=1, dtype=np.int64)
            older, later = older[bits <= max_bits], later[bits <= max_bits]
            gaps = np.abs(thumbs[older] - turned_thumbs[later]).mean(axis=(1, 2, 3))
            close = gaps <= max_difference
            pairs.update(zip(older[close].tolist(), later[close].tolist(), strict=True))
    return sorted(pairs)


def _pack(signs: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Signs [N, 16, 16] as [N, 16] numbers: a band is one of them.

    Bits are dealt out to the bands diagonally, so that no band holds only low frequencies, in which
    smooth pictures agree.
    """
    dealt = np.stack([np.roll(signs[:, row], row, axis=1) for row in range(_GRID)], axis=1)
    packed = np.packbits(dealt.swapaxes(1, 2), axis=2)
    return np.ascontiguousarray(packed).view(np.uint16).reshape(len(signs), _NUM_BANDS)


def _turned_signs(signs: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Signs of the eight symmetries, in the order of :func:`symmetries`."""
    odd = np.arange(1, _GRID + 1) % 2 == 1
    for base in (signs, signs.swapaxes(1, 2)):
        for part in (base, base ^ odd[:, None]):
            yield from (part, part ^ odd)


def _batch_symmetries(batch: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    for turned in symmetries(np.moveaxis(batch, 0, 2)):
        yield np.moveaxis(turned, 2, 0)


def _candidates(
    base: NDArray[np.uint16], query: NDArray[np.uint16]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices (older, later) of which a band agrees, in chunks; a pair may come more than once."""
    for band in range(_NUM_BANDS):
        order = np.argsort(base[:, band], kind="stable")
        ordered = base[order, band]
        starts = np.searchsorted(ordered, query[:, band], "left")
        ends = np.searchsorted(ordered, query[:, band], "right")
        counts = np.where(ends - starts > _CROWD, 0, ends - starts)
        for low, high in _spans(np.cumsum(counts)):
            part = counts[low:high]
            later = np.repeat(np.arange(low, high), part)
            offsets = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
            older = order[np.repeat(starts[low:high], part) + offsets]
            keep = older < later
            yield older[keep], later[keep]


def _spans(total: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of rows that hold about a chunk of candidates each."""
    low = 0
    while low < len(total):
        done = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, done + _CHUNK, "right")))
        yield low, high
        low = high
