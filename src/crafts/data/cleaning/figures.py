"""Figures of papers, books and videos: is it histology, has it panels, is text written on it?

Rules on colour and texture with a reason for each refusal, no network. How often each is right was
measured; ``docs/corpora.md`` holds the figures and says what could not be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""

_EDGE = 256  # px; longer side on which colours are judged
_NATIVE = 1024  # px; longer side up to which texture is judged, as the file has it
_CHROMA = 14  # grey levels between the largest and the smallest channel of a coloured pixel
_BLOCK = 8  # px
_RAGGED = 4  # px; how soon behind a gutter a panel must be there
_WIDEST = 1536  # px; larger pictures are brought down before letters are looked for
LINE = 5
"""Letters that make a line of text."""


@dataclass(frozen=True)
class Look:
    """Colours and texture of a picture, as shares in [0, 1].

    Attributes:
        light: pixels that are nearly white.
        dark: pixels that are nearly black.
        colored: pixels that are not grey, of those neither light nor dark.
        stained: pixels in the hues of common stains, from blue over violet and pink to red and
            DAB's brown, of the coloured ones.
        flat: blocks of 8 px with a single colour; cameras and scanners leave noise.
        drawn: steps between neighbouring pixels of more than 96 grey levels, of all steps above 8.
    """

    light: float
    dark: float
    colored: float
    stained: float
    flat: float
    drawn: float


def measure_look(pixels: Pixels) -> Look:
    """Measure the colours and the texture of a picture.

    Args:
        pixels: uint8 [H, W, 3], at least 16 px a side.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.BOX)
    small = np.asarray(image, dtype=np.int16)
    high, low = small.max(axis=2), small.min(axis=2)
    light, dark = low >= 225, high <= 40
    colored = ((high - low) >= _CHROMA) & ~light & ~dark
    hue = np.asarray(image.convert("HSV"))[..., 0]  # 0..255 for 0..360 degrees
    stained = colored & ((hue >= 138) | (hue <= 39))  # from 195 over 360 to 55 degrees
    gray = _middle(pixels).mean(axis=2)
    return Look(
        light=float(light.mean()),
        dark=float(dark.mean()),
        colored=float(colored.sum() / max(1, (~light & ~dark).sum())),
        stained=float(stained.sum() / max(1, colored.sum())),
        flat=_flat_share(gray),
        drawn=_drawn_share(gray),
    )


def picture_fault(look: Look) -> str:
    """Why a picture is no stained section under a light microscope; "" for one that may be."""
    if look.light >= 0.985:
        return "almost empty"
    if look.drawn >= 0.1 and look.flat >= 0.2:
        return "drawn lines on plain areas (chart, diagram, table)"
    if look.colored < 0.1:
        return "no colour (radiology, electron microscopy, drawing)"
    if look.dark >= 0.05:
        return "dark areas (fluorescence, radiology, photograph)"
    if look.stained < 0.5:
        return "colours of no stain (photograph, false colours)"
    return ""


def _middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, side - _NATIVE) // 2 for side in pixels.shape[:2])
    return pixels[top : top + _NATIVE, left : left + _NATIVE]


def _flat_share(gray: NDArray[np.floating]) -> float:
    height, width = (side // _BLOCK * _BLOCK for side in gray.shape)
    blocks = gray[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return float((np.ptp(blocks, axis=(1, 3)) <= 1.5).mean())


def _drawn_share(gray: NDArray[np.floating]) -> float:
    steps = np.abs(np.diff(gray, axis=1))
    return float((steps > 96).sum() / max(1, (steps > 8).sum()))


def find_panels(pixels: Pixels, *, min_side: int = 96) -> list[Box]:
    """Boxes of the panels of a figure, in reading order, without the gutters between them.

    A gutter is a straight band of white or black across the whole figure or part, and tissue begins
    at once behind it: bands of empty slide have ragged edges and are left alone. Rows are cut
    first, then columns, then again inside of each part. Margins are trimmed in the same way.

    Args:
        pixels: uint8 [H, W, 3].
        min_side: parts with a shorter side are labels or rests, and are left out.

    Returns:
        The whole where nothing is cut; none where no part is large enough.
    """
    whole = (0, 0, pixels.shape[1], pixels.shape[0])
    boxes = list(_cut(pixels, whole, depth=6))
    if boxes == [whole]:
        return boxes
    return [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= min_side]


def _cut(pixels: Pixels, box: Box, depth: int) -> Iterator[Box]:
    left, top, right, bottom = box
    part = pixels[top:bottom, left:right]
    for axis in (0, 1):
        spans = _spans(part if axis == 0 else part.swapaxes(0, 1))
        if depth and spans != [(0, part.shape[axis])]:
            for start, end in spans:
                inner = (
                    (left, top + start, right, top + end)
                    if axis == 0
                    else (left + start, top, left + end, bottom)
                )
                yield from _cut(pixels, inner, depth - 1)
            return
    yield box


def _spans(part: Pixels) -> list[tuple[int, int]]:
    """Runs of lines between gutters."""
    # brightness, as JPEG lets the colours of a panel bleed into a black gutter
    gray = part.mean(axis=2, dtype=np.float32)
    low, high = part.min(axis=2), part.max(axis=2)
    gutters = _gutters(low >= 235, low < 225) + _gutters(gray <= 24, high > 40)
    spans, start = [], 0
    for first, last in sorted(gutters):
        if first > start:
            spans.append((start, first))
        start = max(start, last)
    if start < len(part):
        spans.append((start, len(part)))
    return spans


def _gutters(ground: NDArray[np.bool_], other: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of lines of one colour that panels border on.

    Args:
        ground: [L, W] pixels of the gutter's colour.
        other: [L, W] pixels that are clearly of another.
    """
    length = len(ground)
    blank, full = ground.mean(axis=1) >= 0.99, other.mean(axis=1) >= 0.25
    marks = np.flatnonzero(np.diff(np.concatenate([[False], blank, [False]])))
    found = []
    for first, last in marks.reshape(-1, 2).tolist():
        before = first == 0 or full[max(0, first - _RAGGED) : first].any()
        after = last == length or full[last : last + _RAGGED].any()
        if max(3, length // 300) <= last - first < length and before and after:
            found.append((first, last))
    return found


def count_letters(pixels: Pixels) -> int:
    """Letters that are written over a picture, in lines of at least five.

    A letter is a small patch of black, white or a pure colour, made of strokes that are thin for
    its height; letters of a line stand close, on one base line, and are about equally high.

    Args:
        pixels: uint8 [H, W, 3].
    """
    step = -(-max(pixels.shape[:2]) // _WIDEST)
    image = Image.fromarray(pixels).reduce(step) if step > 1 else pixels
    values = np.asarray(image, dtype=np.int16)
    high, low = values.max(axis=2), values.min(axis=2)
    chroma = high - low
    inks = ((high <= 90) & (chroma <= 40), low >= 232, chroma >= 170)
    return sum(_in_lines(_letters(ink)) for ink in inks)


def _letters(ink: NDArray[np.bool_]) -> list[Box]:
    """Boxes of connected patches that have the shape of letters."""
    from scipy import ndimage

    labels, number = ndimage.label(ink, structure=np.ones((3, 3), dtype=bool))
    if not number:
        return []
    spans = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(labels)]
    boxes = np.array(spans)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    fill = np.bincount(labels.ravel(), minlength=number + 1)[1:] / (height * width)
    depth = ndimage.distance_transform_cdt(np.pad(ink, 1), "chessboard")[1:-1, 1:-1]
    stroke = ndimage.maximum(depth, labels, np.arange(1, number + 1))
    is_bar = width <= 0.35 * height  # I, l, 1
    good = (height >= 6) & (height <= max(8, ink.shape[0] // 8)) & (width <= 1.6 * height)
    good &= (is_bar | ((fill >= 0.1) & (fill <= 0.8))) & (stroke <= 0.16 * height + 1)
    return [spans[index] for index in np.flatnonzero(good)]


def _in_lines(boxes: list[Box]) -> int:
    """Boxes that stand in lines of at least :data:`LINE` letters."""
    total, free = 0, sorted(boxes, key=lambda box: (box[3], box[0]))
    while free:
        first, *others = free
        size = first[3] - first[1]
        near = [box for box in others if abs(box[3] - first[3]) <= 0.2 * size]
        line = [first, *(box for box in near if 0.6 <= (box[3] - box[1]) / size <= 1.7)]
        found = _longest_run(sorted(line), gap=1.2 * size)
        total += found if found >= LINE else 0
        taken = set(line) if found >= LINE else {first}
        free = [box for box in others if box not in taken]
    return total


def _longest_run(line: list[Box], gap: float) -> int:
    best = run = 1
    for one, other in zip(line, line[1:], strict=False):
        run = run + 1 if other[0] - one[2] <= gap else 1
        best = max(best, run)
    return best
