"""Clean a corpus for the first stage: histology in single panels, each once, in English.

Every rule that drops a picture says why; the pictures that are left are what ``pack`` writes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from crafts.core.progress import Progress
from crafts.core.records import Ledger
from crafts.data.cleaning.duplicates import Print, find_duplicates, make_print
from crafts.data.cleaning.figures import (
    LINE,
    count_letters,
    find_panels,
    measure_look,
    picture_fault,
)
from crafts.data.cleaning.wordings import Repeats, split_caption, wording_fault
from crafts.data.config import CleanConfig
from crafts.data.listing.items import ListedTile, reject_collisions
from crafts.data.listing.loading import Loaded, load_item
from crafts.data.tiles.images import MAX_PIXELS, decode_rgb


@dataclass(frozen=True)
class _Panel:
    """A picture that passed alone; it may still be a copy or one of too many of a caption.

    Attributes:
        item: of the figure, or of the panel that was cut out of it.
        print: what copies are found by; None where they are not looked for.
    """

    item: ListedTile
    print: Print | None


def clean_items(
    items: Sequence[ListedTile],
    config: CleanConfig,
    dropped: Ledger,
    *,
    folder: Path,
    max_pixels: int = MAX_PIXELS,
) -> list[ListedTile]:
    """Drop what is no histology, comes twice or has no caption of use; cut figures into panels.

    Args:
        items: of the source; those that cannot be opened pass with their fault.
        config: which rules apply.
        dropped: gets every picture that a rule dropped as listed and rejected.
        folder: exists; gets the panels that were cut, in PNG.
        max_pixels: largest width x height of an image.

    Returns:
        What is left, sorted by key. A panel carries ``panel``, ``panels`` and, like the others of
        its figure, the figure's ``patient``, so that they stay in one split; one that would get
        the key of another image has a fault.
    """
    faulty: list[ListedTile] = []
    panels: list[_Panel] = []
    progress = Progress("clean", len(items), "figures")
    for number, item in enumerate(items, 1):
        progress.report(number)
        found = load_item(item, max_pixels)
        if isinstance(found, str):
            faulty.append(replace(item, fault=found))
        elif fault := wording_fault(item.text, config.wording):
            _drop(dropped, item, fault)
        else:
            panels += _panels_of(item, found, config, dropped, folder)
    kept = faulty + _each_once(panels, config, dropped)
    return reject_collisions(sorted(kept, key=lambda item: (item.key, item.name)))


def _drop(dropped: Ledger, item: ListedTile, reason: str) -> None:
    dropped.listed()
    dropped.reject(item.name, reason)


def _panels_of(
    item: ListedTile, found: Loaded, config: CleanConfig, dropped: Ledger, folder: Path
) -> Iterator[_Panel]:
    """Panels of a figure that pass the rules on a single picture, their files written."""
    pixels = decode_rgb(found.sample.image)
    whole = (0, 0, found.width, found.height)
    boxes = find_panels(pixels, min_side=config.min_side) if config.panels else [whole]
    if not boxes:
        _drop(dropped, item, f"panels smaller than {config.min_side} px")
    captions = split_caption(item.text, len(boxes))
    for index, (box, caption) in enumerate(zip(boxes, captions, strict=True), 1):
        own = replace(item, text=caption) if box == whole else _cut(item, caption, index, folder)
        part = np.ascontiguousarray(pixels[box[1] : box[3], box[0] : box[2]])
        fault = _picture_fault(part, config) or wording_fault(caption, config.wording)
        if fault:
            _drop(dropped, own, fault)
            continue
        if box != whole:
            own.fields["panels"] = len(boxes)
            Path(own.path).write_bytes(_png(part))
        yield _Panel(own, make_print(part) if config.duplicates else None)


def _cut(item: ListedTile, caption: str, number: int, folder: Path) -> ListedTile:
    """The item of a panel; other captions of its figure are of the whole."""
    fields = {name: value for name, value in item.fields.items() if name != "captions"}
    fields |= {"panel": number, "patient": fields.get("patient") or f"figure:{item.key}"}
    key = f"{item.key}-{number}"
    path = str(folder / f"{key}.png")
    return ListedTile(f"{item.name}#{number}", key, path, text=caption, fields=fields)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _picture_fault(pixels: np.ndarray, config: CleanConfig) -> str:
    if min(pixels.shape[:2]) < config.min_side:
        return f"smaller than {config.min_side} px"
    if config.histology and (fault := picture_fault(measure_look(pixels))):
        return fault
    if config.letters and count_letters(pixels) >= LINE:
        return "text over the picture"
    return ""


def _each_once(panels: Sequence[_Panel], config: CleanConfig, dropped: Ledger) -> list[ListedTile]:
    """Drop copies, and captions that come too often."""
    prints = [panel.print for panel in panels if panel.print is not None]
    copies = {one.index: one for one in find_duplicates(prints, max_bits=config.max_bits)}
    repeats = Repeats(config.wording.max_repeats)
    kept = []
    for index, panel in enumerate(panels):
        copy = copies.get(index)
        if copy is not None:
            kind = "copy" if copy.exact else "near copy"
            _drop(dropped, panel.item, f"{kind} of an image: {panels[copy.of].item.name}")
        elif not repeats.take(panel.item.text):
            limit = config.wording.max_repeats
            _drop(dropped, panel.item, f"caption that comes more than {limit} times")
        else:
            kept.append(panel.item)
    return kept
