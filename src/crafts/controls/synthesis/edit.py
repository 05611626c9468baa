"""Edit nuclei: more lymphocytes, another density, larger nuclei, a shift, fewer.

Every edit is a pure function of mask, amount and seed. Nuclei never overlap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crafts.controls.layouts import NucleiTable, measure_nuclei
from crafts.controls.nuclei import CLASSES, NucleiMask, separate
from crafts.controls.synthesis.invent import draw_outline
from crafts.core.errors import ConfigError

T = TypeVar("T", bound=np.generic)

_TRIES = 60  # places that are looked at for a new nucleus
_LYMPHOCYTE = CLASSES.index("lymphocyte")
_LYMPHOCYTE_AREA = 30.0  # square microns: about 6 microns across
_LYMPHOCYTE_SHARE = 0.4  # of the median nucleus, where the resolution is unknown
_REACH = 3.0  # diameters around a nucleus in which new ones of its kind are placed
_MAX_FACTOR = 4.0


def more_lymphocytes(mask: NucleiMask, amount: float, *, seed: int) -> NucleiMask:
    """Add lymphocytes, near those that are there, else anywhere.

    Args:
        mask: the nuclei; a mask of classes is separated first.
        amount: lymphocytes to add as a share of all nuclei, 0 to 4. An empty mask gets none.
        seed: the same seed gives the same mask.

    Returns:
        The mask; where nuclei lie too close, ``skipped`` says how many found no place.

    Raises:
        ConfigError: the amount is out of range.
    """
    _check_amount(amount, "more_lymphocytes", 0.0)
    mask = separate(mask)
    table = measure_nuclei(mask)
    draws = np.random.default_rng(seed)
    own = table.classes == _LYMPHOCYTE
    area = _lymphocyte_area(mask, table)
    shapes = []
    for _ in range(round(amount * len(table.areas))):
        elongation = 1 + draws.gamma(2.0, 0.12)
        angle = draws.uniform(0, np.pi)
        spread = np.exp(0.2 * draws.standard_normal())
        shapes.append(draw_outline(area * spread, elongation, angle, draws=draws))
    reach = _REACH * 2 * float(np.sqrt(area / np.pi))
    return _insert(
        mask, [(shape, _LYMPHOCYTE) for shape in shapes], table.centers[own], reach, draws=draws
    )


def change_density(mask: NucleiMask, amount: float, *, seed: int) -> NucleiMask:
    """Multiply the number of nuclei: leave some out, or add turned copies near their originals.

    Args:
        mask: the nuclei; a mask of classes is separated first.
        amount: factor, 0 to 4.
        seed: the same seed gives the same mask.

    Returns:
        The mask; where nuclei lie too close, ``skipped`` says how many found no place.

    Raises:
        ConfigError: the amount is out of range.
    """
    _check_amount(amount, "change_density", 0.0)
    if amount <= 1:
        return remove(mask, 1 - amount, seed=seed)
    mask = separate(mask)
    assert mask.instances is not None
    table = measure_nuclei(mask)
    draws = np.random.default_rng(seed)
    whole = np.flatnonzero(table.whole)
    extra = round((amount - 1) * len(table.areas)) if len(whole) else 0
    for number in np.unique(table.classes[whole]):  # class by class: copies stay near their kind
        mine = whole[table.classes[whole] == number]
        share = round(extra * len(mine) / len(whole))
        copies = [
            (_turned(_cut_out(mask.instances, int(table.numbers[place])), draws), int(number))
            for place in draws.choice(mine, share)
        ]
        reach = _REACH * 2 * float(np.sqrt(np.median(table.areas[mine]) / np.pi))
        mask = _insert(mask, copies, table.centers[mine], reach, draws=draws)
    return mask


def larger_nuclei(mask: NucleiMask, amount: float, *, seed: int) -> NucleiMask:
    """Multiply the area of every nucleus about its middle.

    Growing nuclei stop where they meet; none loses a pixel to another. Shrinking ones keep at least
    one pixel.

    Args:
        mask: the nuclei; a mask of classes is separated first.
        amount: factor of the area, 0.1 to 4; below 1 nuclei shrink.
        seed: order in which nuclei take free pixels.

    Raises:
        ConfigError: the amount is out of range.
    """
    _check_amount(amount, "larger_nuclei", 0.1)
    mask = separate(mask)
    assert mask.instances is not None
    table = measure_nuclei(mask)
    ids = mask.instances.copy() if amount >= 1 else np.zeros_like(mask.instances)
    classes = mask.classes.copy() if amount >= 1 else np.zeros_like(mask.classes)
    for place in np.random.default_rng(seed).permutation(len(table.numbers)):
        number = int(table.numbers[place])
        box, scaled = _scaled(mask.instances, table, int(place), float(np.sqrt(amount)))
        free = scaled & (ids[box] == 0)
        ids[box][free] = number
        classes[box][free] = table.classes[place]
    return replace(mask, instances=ids, classes=classes)


def shift(mask: NucleiMask, amount: tuple[int, int]) -> NucleiMask:
    """Move all nuclei; what leaves the field is gone, and the uncovered margin is empty.

    Args:
        mask: the nuclei.
        amount: pixels to the right and down; negative to the left and up.

    Raises:
        ConfigError: not a pair of whole numbers.
    """
    if len(amount) != 2 or any(step != int(step) for step in amount):
        raise ConfigError(
            "shift",
            came=str(amount),
            allowed="two whole numbers: pixels to the right and down",
            do="Pass for example (16, 0).",
        )
    right, down = (int(step) for step in amount)
    moved = _moved(mask.instances, right, down) if mask.instances is not None else None
    return replace(mask, classes=_moved(mask.classes, right, down), instances=moved)


def remove(mask: NucleiMask, amount: float, *, seed: int, of: str | None = None) -> NucleiMask:
    """Leave out nuclei.

    Args:
        mask: the nuclei; a mask of classes is separated first.
        amount: share that goes, 0 to 1.
        seed: the same seed leaves out the same nuclei.
        of: only of this class.

    Raises:
        ConfigError: the amount is out of range, or no class has this name.
    """
    if not 0 <= amount <= 1 or (of is not None and of not in CLASSES[1:]):
        raise ConfigError(
            "remove",
            came=f"{amount} of {of or 'all nuclei'}",
            allowed=f"a share of 0 to 1, of all or of: {', '.join(CLASSES[1:])}",
            do="Correct the amount or the class.",
        )
    mask = separate(mask)
    assert mask.instances is not None
    table = measure_nuclei(mask)
    chosen = table.numbers if of is None else table.numbers[table.classes == CLASSES.index(of)]
    gone = np.random.default_rng(seed).permutation(chosen)[: round(amount * len(chosen))]
    kept = ~np.isin(mask.instances, gone)
    return replace(
        mask,
        instances=(mask.instances * kept).astype(np.int32),
        classes=(mask.classes * kept).astype(np.uint8),
    )


def _insert(
    mask: NucleiMask,
    shapes: list[tuple[NDArray[np.bool_], int]],
    around: NDArray[np.float64],
    reach: float,
    *,
    draws: np.random.Generator,
) -> NucleiMask:
    """Add shapes with their classes at free places near points [N, 2], at last anywhere."""
    assert mask.instances is not None
    ids, classes = mask.instances.copy(), mask.classes.copy()
    number, lost = int(ids.max()), 0
    for shape, kind in shapes:
        for attempt in range(_TRIES):
            center = draws.uniform(size=2) * ids.shape
            if len(around) and attempt < _TRIES // 2:
                center = around[draws.integers(len(around))] + reach * draws.standard_normal(2)
            top, left = (round(c - s / 2) for c, s in zip(center, shape.shape, strict=True))
            bottom, right = top + shape.shape[0], left + shape.shape[1]
            if min(top, left) < 0 or bottom > ids.shape[0] or right > ids.shape[1]:
                continue
            box = np.s_[top:bottom, left:right]
            if not ids[box][shape].any():
                number += 1
                ids[box][shape], classes[box][shape] = number, kind
                break
        else:
            lost += 1
    skipped = dict(mask.skipped)
    if lost:
        skipped["found no place"] = skipped.get("found no place", 0) + lost
    return replace(mask, instances=ids, classes=classes, skipped=skipped)


def _scaled(
    instances: NDArray[np.int32], table: NucleiTable, place: int, factor: float
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """A nucleus scaled about its middle, and the part of the field that it lies in."""
    from scipy import ndimage

    number, middle = int(table.numbers[place]), table.centers[place]
    half = np.ceil(table.boxes[place] * max(factor, 1)).astype(int) + 1
    start = np.maximum(np.floor(middle).astype(int) - half, 0)
    stop = np.minimum(np.floor(middle).astype(int) + half + 1, instances.shape)
    box = (slice(int(start[0]), int(stop[0])), slice(int(start[1]), int(stop[1])))
    grid = np.indices(tuple(stop - start)).transpose(1, 2, 0) + start + 0.5
    origin = (grid - middle) / factor + middle - start - 0.5
    own = (instances[box] == number).astype(np.float32)
    scaled = ndimage.map_coordinates(own, origin.transpose(2, 0, 1), order=1, mode="nearest") >= 0.5
    if factor < 1:
        scaled &= own > 0
        if not scaled.any():
            pixels = np.argwhere(own > 0)
            nearest = ((pixels + 0.5 + start - middle) ** 2).sum(axis=1).argmin()
            scaled[tuple(pixels[nearest])] = True
    return box, np.asarray(scaled)


def _cut_out(instances: NDArray[np.int32], number: int) -> NDArray[np.bool_]:
    rows, columns = np.nonzero(instances == number)
    return np.asarray(
        instances[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == number
    )


def _turned(shape: NDArray[np.bool_], draws: np.random.Generator) -> NDArray[np.bool_]:
    turned = np.rot90(shape, int(draws.integers(4)))
    return turned[:, ::-1] if draws.integers(2) else turned


def _moved(array: NDArray[T], right: int, down: int) -> NDArray[T]:
    moved = np.zeros_like(array)
    height, width = array.shape
    if abs(right) < width and abs(down) < height:
        moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = array[
            max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
        ]
    return moved


def _lymphocyte_area(mask: NucleiMask, table: NucleiTable) -> float:
    """Of the lymphocytes that are there, else a usual one."""
    own = (table.classes == _LYMPHOCYTE) & table.whole
    if own.any():
        return float(np.median(table.areas[own]))
    if mask.mpp is not None:
        return _LYMPHOCYTE_AREA / mask.mpp**2
    return _LYMPHOCYTE_SHARE * float(np.median(table.areas)) if len(table.areas) else 1.0


def _check_amount(amount: float, name: str, least: float) -> None:
    if not least <= amount <= _MAX_FACTOR:
        raise ConfigError(
            name,
            came=str(amount),
            allowed=f"{least:g} to {_MAX_FACTOR:g}",
            do="Apply the edit twice for more.",
        )
