"""Counterfactuals beside what they came from: the picture before, and a mask of what changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.artifacts import write_bytes
from crafts.generation.plan import Item, Plan

BEFORE, CHANGED = "before", "changed"
"""Folders beside ``images/``, and columns of ``metadata.csv``."""

VISIBLE = 12
"""Levels of 255 by which a smoothed colour must differ for a pixel to count as changed."""

_SMOOTH = 2.0  # pixels


def items_before(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """The pictures that counterfactuals were made from, where these are made, too."""
    found = []
    for item in items:
        edit = item.draw.edit
        if edit is not None and edit.before is not None and edit.read is None:
            draw = replace(item.draw, prompt=edit.before, edit=None)
            told = plan.provenance(draw)
            found.append(replace(item, draw=draw, provenance=told, path=_path(BEFORE, item)))
    return found


def write_pairs(output: Path, items: Sequence[Item]) -> dict[str, dict[str, str]]:
    """Put a given picture beside its counterfactual, and a mask of what changed beside each pair.

    A given picture's file does not say that it is synthetic, as that is not known.

    Args:
        output: folder with the pictures that were made.
        items: of the run, without those of :func:`items_before`.

    Returns:
        Path of an image -> its columns of ``metadata.csv``; {} without counterfactuals.
    """
    found = {}
    for item in items:
        edit = item.draw.edit
        if edit is None or edit.before is None:
            continue
        if edit.read is not None:
            _save(edit.read().image, output / _path(BEFORE, item))
        before, after = (_load(output / path) for path in (_path(BEFORE, item), item.name))
        _save(changed(before, after).astype(np.uint8) * 255, output / _path(CHANGED, item))
        found[item.name] = {folder: _path(folder, item) for folder in (BEFORE, CHANGED)}
    _remove_stale(output, {name for columns in found.values() for name in columns.values()})
    return found


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where two pictures [H, W, 3] differ to the eye, bool [H, W].

    The difference of each channel is smoothed over two pixels, so that grain does not count.
    """
    from scipy.ndimage import gaussian_filter

    difference = after.astype(np.float32) - before
    smooth = gaussian_filter(difference, (_SMOOTH, _SMOOTH, 0))
    return np.asarray(np.abs(smooth).max(axis=2) >= VISIBLE)


def _path(folder: str, item: Item) -> str:
    return f"{folder}/{Path(item.name).name}"


def _remove_stale(output: Path, names: set[str]) -> None:
    """Take away what an earlier request left in the two folders."""
    for folder in (output / BEFORE, output / CHANGED):
        for path in sorted(folder.glob("*.png")):
            if f"{folder.name}/{path.name}" not in names:
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _load(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
