"""Known damages to real tiles: what a measure or a diagnosis must see, at known strengths.

Damages of pixels take and give uint8 [N, H, W, 3]; damages of sets say which tile lies at which
place, and labels and texts stay where they are. Blur is :func:`crafts.measures.structure.blur`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.imaging.grey import Images, check_images
from crafts.imaging.stains import optical_density, stain_amounts

Indices = NDArray[np.int64]


def wash_eosin(images: Images, share: float, stains: Any) -> Images:
    """Take a share of the eosin out of every pixel; hematoxylin stays.

    Args:
        images: uint8 [N, H, W, 3].
        share: of the eosin that is lost, in [0, 1].
        stains: unit rows [2, 3] of :func:`crafts.imaging.stains.stain_vectors`.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        DataError: no uint8 [N, H, W, 3].
        ConfigError: ``share`` is out of range.
    """
    _check_share("wash_eosin", share)
    eosin = np.asarray(stains)[1]
    out = np.empty_like(check_images(images))
    for index, tile in enumerate(images):
        density = optical_density(tile)
        amount = stain_amounts(density, stains)[..., 1].clip(min=0)
        out[index] = _developed(density - share * amount[..., None] * eosin)
    return out


def shift_stain(images: Images, strength: float, *, turn: float = 0.0) -> Images:
    """Another scanner or staining: the optical density of one colour rises, of another falls.

    Args:
        images: uint8 [N, H, W, 3].
        strength: length of the change of the three factors, which sum to 3; 0.2 is 20 %.
        turn: in [0, 1), which colours rise and fall: 0 red against the rest, a third on green, two
            thirds on blue.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        DataError: no uint8 [N, H, W, 3].
        ConfigError: ``strength`` is not in [0, 1).
    """
    if not 0 <= strength < 1:
        raise ConfigError(
            "shift_stain: strength", came=f"{strength:g}", allowed="0 to below 1", do="Correct it."
        )
    # cosines a third of a turn apart sum to zero: no colour gains what all three lose
    angles = 2 * np.pi * (turn - np.arange(3) / 3)
    factors = 1 + strength * np.sqrt(2 / 3) * np.cos(angles)
    return np.stack([_developed(optical_density(tile) * factors) for tile in check_images(images)])


def compress(images: Images, quality: int) -> Images:
    """Write and read every tile as JPEG.

    Args:
        images: uint8 [N, H, W, 3].
        quality: of the JPEG, 1 (poor) to 95.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        DataError: no uint8 [N, H, W, 3].
        ConfigError: ``quality`` is out of range.
    """
    if not 1 <= quality <= 95:
        raise ConfigError("compress: quality", came=str(quality), allowed="1 to 95", do="Mend it.")
    out = np.empty_like(check_images(images))
    for index, tile in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "JPEG", quality=quality)
        out[index] = np.asarray(Image.open(buffer))
    return out


def variations(images: Images, *, seed: int = 0) -> Images:
    """Other pictures of the same field: turned, flipped and moved.

    What a collapsed generator gives: never twice the same pixels, always the same picture. Nothing
    is enlarged, so that sharpness stays; what a move uncovers is mirrored.

    Args:
        images: uint8 [N, H, W, 3], square.
        seed: of turns and moves, up to a fifth of the side.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        DataError: no uint8 [N, H, W, 3], or not square.
    """
    tiles = check_images(images)
    if tiles.shape[1] != tiles.shape[2]:
        raise DataError(
            "variations: images",
            came=str(list(tiles.shape)),
            allowed="square tiles",
            do="Cut them.",
        )
    rng, side = np.random.default_rng(seed), tiles.shape[1]
    room = side // 5
    out = np.empty_like(tiles)
    for index, tile in enumerate(tiles):
        wide = np.pad(tile, ((room, room), (room, room), (0, 0)), mode="reflect")
        top, left = rng.integers(2 * room + 1, size=2)
        part = np.rot90(wide[top : top + side, left : left + side], int(rng.integers(4)))
        out[index] = part[:, ::-1] if rng.random() < 0.5 else part
    return out


def duplicate(num: int, share: float, *, seed: int = 0) -> Indices:
    """A share of the places shows a tile that lies at another place too.

    Args:
        num: places.
        share: of the places that lose their own tile, in [0, 1); at least one tile stays.
        seed: of the choice.

    Returns:
        The tile of each place [num].

    Raises:
        ConfigError: ``share`` is out of range.
    """
    _check_share("duplicate", share)
    rng = np.random.default_rng(seed)
    order = rng.permutation(num)
    lost = min(round(share * num), num - 1)
    tiles = np.arange(num)
    tiles[order[:lost]] = rng.choice(order[lost:], lost)
    return tiles


def swap_class(
    labels: Sequence[Any], asked: Any, shown: Any, share: float, *, seed: int = 0
) -> Indices:
    """A share of the places of one class shows tiles of another.

    Args:
        labels: N classes that were asked for.
        asked: the class that suffers.
        shown: the class that is shown instead.
        share: of the places of ``asked``, in [0, 1].
        seed: of the choice.

    Returns:
        The tile of each place [N].

    Raises:
        ConfigError: ``share`` is out of range.
        DataError: no place has one of the classes.
    """
    _check_share("swap_class", share)
    classes, rng = np.asarray(labels), np.random.default_rng(seed)
    places, source = np.flatnonzero(classes == asked), np.flatnonzero(classes == shown)
    if not len(places) or not len(source):
        raise DataError(
            "swap_class",
            came=f"{len(places)} tiles of {asked!r} and {len(source)} of {shown!r}",
            allowed="some of both",
            do="Name two classes of the set.",
        )
    tiles = np.arange(len(classes))
    hit = rng.permutation(places)[: round(share * len(places))]
    tiles[hit] = rng.choice(source, len(hit), replace=len(hit) > len(source))
    return tiles


def shuffle_prompts(num: int, share: float, *, seed: int = 0) -> Indices:
    """A share of the places exchange their tiles in a ring: good tiles, but not those asked for.

    Args:
        num: places.
        share: of the places, in [0, 1].
        seed: of the choice.

    Returns:
        The tile of each place [num].

    Raises:
        ConfigError: ``share`` is out of range.
    """
    _check_share("shuffle_prompts", share)
    hit = np.random.default_rng(seed).permutation(num)[: round(share * num)]
    tiles = np.arange(num)
    tiles[hit] = np.roll(hit, 1)
    return tiles


def _developed(density: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of an optical density; the inverse of :func:`optical_density`."""
    return np.asarray(np.clip(np.rint(256 * 10.0**-density - 1), 0, 255), dtype=np.uint8)


def _check_share(where: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(
            f"{where}: share", came=f"{share:g}", allowed="0 to 1", do="Pass a share of the whole."
        )
