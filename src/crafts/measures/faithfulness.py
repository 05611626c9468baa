"""Whether images obey their nuclei masks: masks that were asked for beside masks found again.

Nuclei are found by a segmenter, which errs, too. So its numbers are read between a ceiling (the
same segmenter on real tiles against their true masks) and a floor (the nuclei of one image against
the mask of another): ``(Dice - floor) / (ceiling - floor)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crafts.controls.hematoxylin import hematoxylin_density
from crafts.core.config import Config
from crafts.core.errors import DataError
from crafts.core.protocols import Nuclei, SegmentNuclei
from crafts.core.runtime import seed_from
from crafts.measures.intervals import LEAST_GROUPS, group_interval
from crafts.measures.nuclei import Scores, compare_masks, correlation, dice
from crafts.sets.masked import Masked, MaskedTile, bring_to_one_scale, iter_pairs

if TYPE_CHECKING:  # brings torch, which results and their page do without
    from crafts.model.segmenter import Segmenter

_SHUFFLES = 4


class MaskCounts(Config):
    """Tiles of one side that were asked for their masks.

    Attributes:
        used: tiles that were compared with their masks.
        rejected: tiles, and rows of a table of masks, that could not be used.
        without_mask: tiles that name no mask.
        not_drawn: tiles with a mask above the number that is looked at.
    """

    used: int = 0
    rejected: int = 0
    without_mask: int = 0
    not_drawn: int = 0


class Faithfulness(Config):
    """How far images obey their masks.

    Attributes:
        obeyed: nuclei of the images against their masks; None where no mask could be used.
        ceiling: nuclei of real tiles against their true masks; None without such tiles.
        floor: nuclei of the images against masks of other images.
        normalised: (Dice - floor) / (ceiling - floor); 1 is as good as real.
        spread: half the width of the 95 % interval of the Dice, patients drawn again; an image
            without a patient stands for itself. None with fewer than eight.
        segmenter: fingerprint of what found the nuclei.
        rejected: tiles with a mask that could not be used, with the reason.
        counts: of the tiles, ``generated`` and ``real``.
        scale: what was done to bring both sides to one scale; "" for nothing.
        why: reason of what is missing.
    """

    obeyed: Scores | None = None
    floor: Scores | None = None
    ceiling: Scores | None = None
    normalised: float | None = None
    spread: float | None = None
    segmenter: str = ""
    rejected: list[str] = []
    counts: dict[str, MaskCounts] = {}
    scale: str = ""
    why: str = ""


def measure_faithfulness(
    pairs: Sequence[MaskedTile],
    segment: SegmentNuclei,
    *,
    real: Sequence[MaskedTile] = (),
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Segment images again and compare with their masks, between floor and ceiling.

    Args:
        pairs: images that were made from masks.
        segment: finds nuclei; a :class:`crafts.model.segmenter.Segmenter` or any other.
        real: real tiles with true masks that the segmenter was not trained on, for the ceiling.
        classes: those that the segmenter tells apart; None: all that the masks name.
        seed: of the shuffles and of the interval.

    Raises:
        DataError: no pair, or an image and its mask differ in size.
    """
    found = find_again(pairs, segment)
    masks = [pair.mask for pair in pairs]
    obeyed = compare_masks(masks, found, classes=classes)
    first, second = _shuffle(masks, found, seed)
    floor = compare_masks(first, second, classes=classes) if first else None
    ceiling = None
    if real:
        ceiling = compare_masks(
            [pair.mask for pair in real], find_again(real, segment), classes=classes
        )
    return Faithfulness(
        obeyed=obeyed,
        floor=floor,
        ceiling=ceiling,
        normalised=normalize(obeyed, floor, ceiling),
        spread=_spread(pairs, found, seed),
    )


def judge_masks(
    made: Masked,
    segmenter: Segmenter,
    *,
    real: Masked | None = None,
    most: int = 1000,
    seed: int = 0,
) -> Faithfulness:
    """Measure how far generated tiles obey their masks, at one scale with real ones.

    Args:
        made: generated tiles.
        segmenter: finds nuclei.
        real: tiles with true masks that the segmenter was not trained on, for the ceiling.
        most: tiles of each side at most, evenly spread over the list.
        seed: of the shuffles and of the interval.

    Returns:
        Counts and reasons of what was left aside, and ``obeyed`` where a generated tile has a mask
        that can be used. Without one scale for both sides there is no ceiling, and ``why`` says so.
    """
    sides = {"generated": _open(made, most), "real": _open(real or Masked(), most)}
    pairs, seen = sides["generated"].pairs, sides["real"].pairs
    facts = {
        "counts": {
            name: side.counts for name, side in sides.items() if sum(vars(side.counts).values())
        },
        "rejected": [reason for side in sides.values() for reason in side.rejected],
        "segmenter": segmenter.fingerprint,
    }
    if not pairs:
        return Faithfulness(**facts, why="no generated tile has a mask that can be used")
    try:
        pairs, seen, scale = bring_to_one_scale(pairs, seen)
        facts |= {"scale": scale}
    except DataError as error:
        seen = []
        facts |= {"why": str(error)}
    classes = segmenter.network.config.classes
    found = measure_faithfulness(pairs, segmenter, real=seen, classes=classes, seed=seed)
    return found.model_copy(update=facts)


def find_again(pairs: Sequence[MaskedTile], segment: SegmentNuclei) -> list[Nuclei]:
    """The nuclei of the images."""
    return [segment(pair.image) for pair in pairs]


def normalize(obeyed: Scores, floor: Scores | None, ceiling: Scores | None) -> float | None:
    """Dice on a scale from the floor, 0, to the ceiling, 1; None where one of them is not known."""
    values = [scores.dice if scores else None for scores in (obeyed, floor, ceiling)]
    if any(value is None for value in values):
        return None
    dice, low, high = (float(value) for value in values if value is not None)
    return (dice - low) / (high - low) if high > low else None


def hematoxylin_correlation(
    image: NDArray[np.uint8], control: NDArray[np.floating]
) -> float | None:
    """Pearson correlation of the hematoxylin of an image with the map it was made from.

    Args:
        image: RGB uint8 [H, W, 3].
        control: [H, W], a nuclear fluorescence channel or the hematoxylin of a real tile.

    Returns:
        -1 to 1; None where one of them is constant.

    Raises:
        DataError: sizes differ, or the image is no such image.
    """
    density = hematoxylin_density(image)
    if density.shape != control.shape:
        raise DataError(
            "faithfulness: control map",
            came=f"shape {control.shape} for an image of {density.shape}",
            allowed="one size",
            do="Pass the map on the pixels of the image.",
        )
    return correlation(density.reshape(-1), np.asarray(control, float).reshape(-1))


def _shuffle(
    masks: Sequence[Nuclei], found: Sequence[Nuclei], seed: int
) -> tuple[list[Nuclei], list[Nuclei]]:
    """The masks of other images of one size, in several shuffles, and the nuclei of the images."""
    draws = np.random.default_rng(seed_from(seed, "faithfulness"))
    sizes: dict[tuple[int, ...], list[int]] = {}
    for number, mask in enumerate(masks):
        sizes.setdefault(mask.classes.shape, []).append(number)
    first: list[Nuclei] = []
    second: list[Nuclei] = []
    for members in sizes.values():
        for _ in range(_SHUFFLES if len(members) > 1 else 0):
            order = draws.permutation(members)
            first += [masks[i] for i in np.roll(order, 1)]
            second += [found[i] for i in order]
    return first, second


def _spread(pairs: Sequence[MaskedTile], found: Sequence[Nuclei], seed: int) -> float | None:
    dices, groups = [], []
    for number, (pair, other) in enumerate(zip(pairs, found, strict=True)):
        if pair.mask.classes.any():
            dices.append(dice(other.classes > 0, pair.mask.classes > 0))
            # the prefixes keep names of patients and numbers of images apart
            groups.append(f"patient:{pair.patient}" if pair.patient else f"image:{number}")
    if len(set(groups)) < LEAST_GROUPS:
        return None
    interval = group_interval(dices, groups, seed=seed_from(seed, "interval"))
    return (interval.high - interval.low) / 2


@dataclass(frozen=True)
class _Opened:
    pairs: list[MaskedTile]
    rejected: list[str]
    counts: MaskCounts


def _open(side: Masked, most: int) -> _Opened:
    """The pairs of a side; used + rejected + left aside = listed."""
    taken = side.items[:: max(1, -(-len(side.items) // most))]
    opened = list(iter_pairs(taken, resize=True))
    pairs = [one for one in opened if isinstance(one, MaskedTile)]
    rejected = [*side.rejected, *(one for one in opened if isinstance(one, str))]
    counts = MaskCounts(
        used=len(pairs),
        rejected=len(rejected),
        without_mask=side.unmasked,
        not_drawn=len(side.items) - len(taken),
    )
    return _Opened(pairs, rejected, counts)
