"""One listed tile, opened, checked and decoded.

A pure function of its item, so that it can run in any number of worker processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crafts.core.marks import is_marked, says_synthetic
from crafts.core.protocols import LoadedNuclei, LoadMask
from crafts.core.records import Sample
from crafts.data.listing.embedded import read_embedded
from crafts.data.listing.items import ListedTile
from crafts.data.tiles.images import check_header, check_image, stays_jpeg
from crafts.data.tiles.masks import read_mask
from crafts.imaging.opening import MAX_PIXELS, require_regular
from crafts.imaging.stripping import RefusedImageError


@dataclass(frozen=True)
class Loaded:
    """A tile that decodes.

    Attributes:
        sample: with its image.
        width: in pixels.
        height: in pixels.
        mask: its nuclei as shards hold them; empty for none.
        left_out: outlines of its mask that could not be used, with the reasons.
        synthetic: its own file, or its row, says that it was generated.
    """

    sample: Sample
    width: int
    height: int
    mask: bytes = b""
    left_out: tuple[str, ...] = ()
    synthetic: bool = False


def load_item(
    item: ListedTile,
    max_pixels: int = MAX_PIXELS,
    *,
    as_png: bool = False,
    load_mask: LoadMask | None = None,
) -> Loaded | str:
    """Open, check and decode one tile; its mask, too, where something to load it with is given.

    Returns:
        The sample with its size, or the reason for rejecting it.
    """
    if item.fault:
        return item.fault
    left_out: list[str] = []
    try:
        data = _read_image(item, max_pixels)
        image = check_image(data, max_pixels, as_png=as_png)
        mask = b""
        if item.mask and load_mask is not None:
            packed = _read(item.mask, item.mask_offset, item.mask_size) if item.mask_size else None
            size, path = (image.height, image.width), Path(item.mask)
            turned = image.orientation
            noting = partial(_load_noting, load_mask, left_out)
            mask = read_mask(path, packed, load=noting, size=size, orientation=turned)
    except RefusedImageError as refused:
        return str(refused)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"unreadable ({error.strerror or error})"
    except ValueError as error:  # a name with a NUL or a lone surrogate in it
        return f"no name of a file ({error})"
    sample = Sample(item.key, image.data, image.suffix, item.text, dict(item.fields))
    synthetic = is_marked(data) or says_synthetic(item.fields)
    return Loaded(sample, image.width, image.height, mask, tuple(left_out), synthetic)


def _load_noting(
    load: LoadMask, left_out: list[str], path: Path, size: tuple[int, int]
) -> LoadedNuclei:
    """The mask, while what it leaves out is noted."""
    mask = load(path, size)
    left_out.extend(mask.rejected)
    return mask


def all_stay_jpeg(items: Iterable[ListedTile]) -> bool:
    """Whether every readable image of a source can be kept as JPEG; stops at the first other."""
    return all(item.fault or _stays_jpeg(item) for item in items)


def _stays_jpeg(item: ListedTile) -> bool:
    try:
        return stays_jpeg(_read_image(item, MAX_PIXELS))
    except (OSError, ValueError, RefusedImageError):
        return True  # rejected later, with its reason


def _read_image(item: ListedTile, max_pixels: int) -> bytes:
    if item.column:
        return read_embedded(Path(item.path), item.column, item.offset)
    if item.offset < 0:  # whatever lies in a folder: an archive or a slide is not read whole
        check_header(Path(item.path), max_pixels)
    return _read(item.path, item.offset, item.size)


def _read(path: str, offset: int, size: int) -> bytes:
    require_regular(Path(path))
    with Path(path).open("rb") as handle:
        handle.seek(max(offset, 0))
        return handle.read(size if offset >= 0 else -1)
