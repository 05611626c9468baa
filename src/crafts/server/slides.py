"""Large pictures in squares for a deep zoom: levels double, as Deep Zoom Images have it."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from crafts.core.errors import CraftsError
from crafts.generation.slide_writer import NAMES
from crafts.server.config import ServeConfig
from crafts.server.errors import MissingError
from crafts.server.folders import SHARED, walk
from crafts.server.requests import place_of
from crafts.server.store import Store
from crafts.slides.reading.reader import Slide, open_slide

EDGE = 254
"""Edge of a square in pixels; with an overlap of 1 it becomes 256."""
OVERLAP = 1
_KINDS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".qptiff", ".vms", ".svslide")
_OPEN, _CACHED = 8, 2000
_WIDEST = 8192
"""Edge of what is read for one tile, in pixels of the slide."""


@dataclass(frozen=True)
class Found:
    """A slide that can be looked at; nobody outside is told its path."""

    id: str
    name: str
    path: Path


def list_slides(config: ServeConfig, store: Store, owner: str) -> list[Found]:
    """Slides that an owner made, and those that whoever runs the server put below ``shared/``."""
    made = []
    for job in store.newest(owner, most=200):
        if path := slide_of(config, job.id):
            made.append(Found(job.id, f"Job {job.number}: {job.request['prompts'][0][:60]}", path))
    return made + list(_found(config.data / SHARED))


def slide_of(config: ServeConfig, job: str) -> Path | None:
    """The slide that a job made; None where it made pictures of one tile, or is not done."""
    path = place_of(config, job) / "out" / NAMES["tiff"]
    return path if path.is_file() else None


def _found(top: Path) -> Iterator[Found]:
    for folder in (top, *walk(top, 0)):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _KINDS and path.is_file() and not path.is_symlink():
                name = path.relative_to(top).as_posix()
                yield Found(hashlib.sha256(name.encode()).hexdigest()[:24], name, path)


class Zoom:
    """Open slides and the squares that were asked for lately.

    Args:
        config: of the server.
        store: of its jobs, some of which made slides.
    """

    def __init__(self, config: ServeConfig, store: Store) -> None:
        self.config, self.store = config, store
        self._lock = threading.Lock()  # a slide library is asked by one thread at a time
        self._slides: OrderedDict[str, Slide] = OrderedDict()
        self._squares: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()

    def facts(self, owner: str, slide: str) -> dict[str, object]:
        """Size, resolution and how it is cut.

        Raises:
            MissingError: no such slide.
            DataError: no library can read it.
        """
        with self._lock:
            opened = self._open(owner, slide)
        width, height = opened.sizes[0]
        known = opened.resolution.source != "mpp csv"
        return {
            "width": width,
            "height": height,
            "tile_size": EDGE,
            "overlap": OVERLAP,
            "max_level": _levels(width, height),
            "mpp": opened.resolution.x if known else None,
        }

    def square(self, owner: str, slide: str, place: tuple[int, int, int]) -> bytes:
        """One square as JPEG, at a level, a column and a row.

        Raises:
            MissingError: no such slide or square.
            DataError: it cannot be read.
        """
        key = (slide, *place)
        with self._lock:
            opened = self._open(owner, slide)
            if key in self._squares:
                self._squares.move_to_end(key)
                return self._squares[key]
            data = _cut(opened, *place)
            self._squares[key] = data
            while len(self._squares) > _CACHED:
                self._squares.popitem(last=False)
            return data

    def tile(self, owner: str, slide: str, *, middle: tuple[int, int], side: int,
             mpp: float | None) -> bytes:  # fmt: skip
        """A tile around a place as PNG, at a resolution where both are known, else as scanned.

        Args:
            owner: who asks.
            slide: id.
            middle: of the tile, in pixels of the slide.
            side: of the tile in pixels.
            mpp: microns per pixel of the tile.

        Raises:
            MissingError: no such slide, or a place outside of it.
            DataError: it cannot be read.
        """
        with self._lock:
            opened = self._open(owner, slide)
            known = opened.resolution.source != "mpp csv"
            factor = mpp / opened.resolution.x if mpp and known else 1.0
            return _tile(opened, middle, side, factor)

    def close(self) -> None:
        """Give the files back."""
        with self._lock:
            for one in self._slides.values():
                one.close()
            self._slides.clear()

    def _open(self, owner: str, slide: str) -> Slide:
        job = self.store.get(slide)
        if job is not None and job.owner != owner:
            raise MissingError("slide", slide)
        if slide in self._slides:
            self._slides.move_to_end(slide)
            return self._slides[slide]
        found = list_slides(self.config, self.store, owner)
        path = next((one.path for one in found if one.id == slide), None)
        if path is None:
            raise MissingError("slide", slide)
        try:
            opened = open_slide(path)
        except CraftsError as error:
            if "resolution" not in error.came and "mpp" not in str(error):
                raise
            opened = open_slide(path, mpp=1.0)  # to look at one, nobody needs it
        self._slides[slide] = opened
        while len(self._slides) > _OPEN:
            self._slides.popitem(last=False)[1].close()
        return opened


def _levels(width: int, height: int) -> int:
    return (max(width, height) - 1).bit_length()


def _tile(slide: Slide, middle: tuple[int, int], side: int, factor: float) -> bytes:
    """A square of ``side`` pixels, each ``factor`` pixels of the slide wide."""
    width = round(side * factor)
    if not all(0 <= at < length for at, length in zip(middle, slide.sizes[0], strict=True)):
        raise MissingError("place", f"{middle[0]}, {middle[1]}")
    if width > _WIDEST:
        raise MissingError("resolution", f"{factor:g} pixels of the slide in one")
    left, top = (at - width // 2 for at in middle)
    pixels = slide.read(left, top, 0, width=width, height=width).pixels
    picture = Image.fromarray(pixels[..., :3]).convert("RGB")
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _cut(slide: Slide, level: int, column: int, row: int) -> bytes:
    width, height = slide.sizes[0]
    most = _levels(width, height)
    if not 0 <= level <= most:
        raise MissingError("level", level)
    factor = 2 ** (most - level)
    size = (-(-width // factor), -(-height // factor))
    left, top = max(0, column * EDGE - OVERLAP), max(0, row * EDGE - OVERLAP)
    right = min(size[0], (column + 1) * EDGE + OVERLAP)
    bottom = min(size[1], (row + 1) * EDGE + OVERLAP)
    if left >= right or top >= bottom:
        raise MissingError("square", f"{column}_{row}")
    wanted = (right - left, bottom - top)
    stored = max(
        (place for place, (w, _) in enumerate(slide.sizes) if width / w <= factor * 1.01), default=0
    )
    scale = width / slide.sizes[stored][0]
    box = [round(side * factor / scale) for side in wanted]
    region = slide.read(
        left * factor, top * factor, stored, width=max(1, box[0]), height=max(1, box[1])
    )
    picture = Image.fromarray(region.pixels[..., :3]).convert("RGB")
    if picture.size != wanted:
        picture = picture.resize(wanted, Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
