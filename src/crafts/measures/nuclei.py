"""Masks found beside masks asked for: pixels, nuclei, numbers of nuclei, classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from crafts.controls.nuclei import CLASSES, PARENTS, UNKNOWN, NucleiMask, separate
from crafts.core.config import Config
from crafts.core.errors import DataError
from crafts.core.protocols import Nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.int32]

_MATCH = 0.5  # overlap above which a nucleus can match one other only


class Scores(Config):
    """Masks found beside masks asked for.

    Attributes:
        n: images.
        empty: images whose mask has no nucleus; they count in ``false_share`` and counts only.
        dice: mean over images with nuclei of 2 |A & B| / (|A| + |B|), 0 to 1.
        false_share: share of the pixels of empty images that were found to be nuclei.
        count_correlation: Pearson, of the numbers of nuclei asked for and found; masks of classes
            are separated first.
        count_ratio: nuclei found over nuclei asked for.
        f1: nuclei found again (overlap above 1/2), over all images; None without instances.
        segmentation_quality: mean overlap of those.
        panoptic_quality: f1 times segmentation_quality (Kirillov et al. 2019).
        aji: aggregated Jaccard index, mean over images (Kumar et al. 2017).
        class_dice: class -> Dice over the pixels of all images.
    """

    n: int = Field(ge=1)
    empty: int = 0
    dice: float | None = None
    false_share: float | None = None
    count_correlation: float | None = None
    count_ratio: float | None = None
    f1: float | None = None
    segmentation_quality: float | None = None
    panoptic_quality: float | None = None
    aji: float | None = None
    class_dice: dict[str, float] = {}


@dataclass(frozen=True)
class Matches:
    """Nuclei of two masks that overlap by more than half, and those that are left over."""

    matched: int
    only_found: int
    only_asked: int
    overlap: float


class _Overlaps(NamedTuple):
    """Pairs [P] of a nucleus found and one asked for that share a pixel.

    Attributes:
        found: place in ``areas_found`` [P].
        asked: place in ``areas_asked`` [P].
        shared: pixels of both [P].
        union: pixels of either [P].
        areas_found: of all nuclei found [N].
        areas_asked: of all nuclei asked for [M].
    """

    found: NDArray[np.int64]
    asked: NDArray[np.int64]
    shared: NDArray[np.int64]
    union: NDArray[np.int64]
    areas_found: NDArray[np.int64]
    areas_asked: NDArray[np.int64]


def compare_masks(
    asked: Sequence[Nuclei], found: Sequence[Nuclei], *, classes: Sequence[str] | None = None
) -> Scores:
    """Compare the masks of images with those asked for.

    Instances are compared on the images whose mask asked for has them; classes where it names them.

    Args:
        asked: masks of the images.
        found: as many, on the same pixels.
        classes: names to report; None: all that the masks asked for name, and their wider ones.

    Raises:
        DataError: no image, another number of masks, or sizes that differ.
    """
    _check(asked, found)
    filled = [bool(mask.classes.any()) for mask in asked]
    dices = [
        dice(one.classes > 0, other.classes > 0)
        for one, other, full in zip(asked, found, filled, strict=True)
        if full
    ]
    false = [
        float((mask.classes > 0).mean())
        for mask, full in zip(found, filled, strict=True)
        if not full
    ]
    counts = np.array(
        [[count_nuclei(a), count_nuclei(b)] for a, b in zip(asked, found, strict=True)], float
    )
    total = counts.sum(0)
    return Scores(
        n=len(asked),
        empty=len(false),
        dice=float(np.mean(dices)) if dices else None,
        false_share=float(np.mean(false)) if false else None,
        count_correlation=correlation(counts[:, 0], counts[:, 1]),
        count_ratio=float(total[1] / total[0]) if total[0] else None,
        **_instance_scores(asked, found),
        class_dice=class_dice(asked, found, classes=classes),
    )


def dice(found: NDArray[np.bool_], asked: NDArray[np.bool_]) -> float:
    """2 |A & B| / (|A| + |B|) of two foregrounds [H, W]; 1 for two that are empty."""
    total = int(found.sum()) + int(asked.sum())
    return 2 * int((found & asked).sum()) / total if total else 1.0


def count_nuclei(mask: Nuclei) -> int:
    """Number of nuclei; a mask of classes is separated first."""
    instances = mask.instances
    if instances is None:
        instances = separate(NucleiMask(mask.classes)).instances
    assert instances is not None
    return int(np.count_nonzero(np.unique(instances)))


def match_nuclei(found: Labels, asked: Labels) -> Matches:
    """Pairs of nuclei whose intersection over union is above 1/2; there is at most one for each.

    Args:
        found: a number for each nucleus [H, W], 0 is background.
        asked: likewise.
    """
    pairs = _overlaps(found, asked)
    ratio = pairs.shared / pairs.union
    hits = ratio[ratio > _MATCH]
    spare, missed = len(pairs.areas_found) - len(hits), len(pairs.areas_asked) - len(hits)
    return Matches(len(hits), spare, missed, float(hits.sum()))


def aggregated_jaccard(found: Labels, asked: Labels) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017, algorithm 1); 1 for two empty masks.

    Each nucleus asked for is paired with the one found that overlaps it best; nuclei found that
    nobody took, and nuclei asked for that nothing overlaps, add to the denominator.
    """
    pairs = _overlaps(found, asked)
    if not len(pairs.areas_asked) and not len(pairs.areas_found):
        return 1.0
    order = np.lexsort((-pairs.shared / pairs.union, pairs.asked))
    touched, first = np.unique(pairs.asked[order], return_index=True)
    best = order[first]
    joined = pairs.union[best].sum() + np.delete(pairs.areas_asked, touched).sum()
    unused = np.delete(pairs.areas_found, pairs.found[best]).sum()
    return float(pairs.shared[best].sum() / (joined + unused))


def class_dice(
    asked: Sequence[Nuclei], found: Sequence[Nuclei], *, classes: Sequence[str] | None = None
) -> dict[str, float]:
    """Dice of each class over the pixels of all images.

    A class takes in those that belong to it (lymphocytes are inflammatory). Left aside are pixels
    asked for as ``unknown`` or only as the wider class, images without any known class, and
    classes that no mask asks for.
    """
    classed = [(a, b) for a, b in zip(asked, found, strict=True) if _names_classes(a)]
    named = {CLASSES[number] for a, _ in classed for number in np.unique(a.classes) if number}
    wanted = named | {PARENTS[name] for name in named if name in PARENTS}
    if classes is not None:
        wanted &= {*classes, *(PARENTS[name] for name in classes if name in PARENTS)}
    scores = {}
    for name in CLASSES[1:UNKNOWN]:
        if name not in wanted:
            continue
        members = [name, *(child for child, parent in PARENTS.items() if parent == name)]
        inside = [CLASSES.index(member) for member in members]
        aside = [UNKNOWN, CLASSES.index(PARENTS[name])] if name in PARENTS else [UNKNOWN]
        shared = total = 0
        for one, other in classed:
            counted = ~np.isin(one.classes, aside)
            true = np.isin(one.classes, inside)
            claimed = np.isin(other.classes, inside) & counted
            shared += int((true & claimed).sum())
            total += int(true.sum() + claimed.sum())
        scores[name] = 2 * shared / total if total else 1.0
    return scores


def find_shift(
    asked: NDArray[np.bool_], found: NDArray[np.bool_], *, reach: int = 32
) -> tuple[int, int]:
    """How far nuclei moved: the (right, down) at which the mask asked for overlaps most.

    Args:
        asked: foreground [H, W].
        found: likewise.
        reach: pixels searched in each direction; below half of the edge.

    Raises:
        DataError: ``reach`` is half of the edge or more, where two shifts look alike.
    """
    height, width = asked.shape
    if 2 * reach >= min(height, width):
        raise DataError(
            "find_shift: reach",
            came=f"{reach} px for masks of {height} x {width} px",
            allowed=f"less than half of the edge: at most {(min(height, width) - 1) // 2} px",
            do="Pass a smaller reach.",
        )
    spectrum = np.fft.rfft2(found.astype(float)) * np.conj(np.fft.rfft2(asked.astype(float)))
    overlap = np.fft.irfft2(spectrum, s=(height, width))
    steps = np.arange(-reach, reach + 1)
    near = overlap[np.ix_(steps % height, steps % width)]
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    return int(steps[right]), int(steps[down])


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Pearson; None for fewer than two values or a constant side."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first.astype(float), second.astype(float))[0, 1])


def _check(asked: Sequence[Nuclei], found: Sequence[Nuclei]) -> None:
    if not asked or len(asked) != len(found):
        raise DataError(
            "faithfulness: masks",
            came=f"{len(asked)} asked for, {len(found)} found",
            allowed="at least one, and as many found",
            do="Pass masks of the same images, in the same order.",
        )
    for number, (one, other) in enumerate(zip(asked, found, strict=True)):
        if one.classes.shape != other.classes.shape:
            raise DataError(
                f"faithfulness: mask {number}",
                came=f"{other.classes.shape} found for {one.classes.shape} asked for",
                allowed="one size",
                do="Segment the image at the size of its mask.",
            )


def _instance_scores(asked: Sequence[Nuclei], found: Sequence[Nuclei]) -> dict[str, float]:
    both = [
        (b.instances, a.instances)
        for a, b in zip(asked, found, strict=True)
        if a.instances is not None and b.instances is not None
    ]
    if not any(true.any() for _, true in both):
        return {}
    matches = [match_nuclei(one, true) for one, true in both]
    matched = sum(m.matched for m in matches)
    spare = sum(m.only_found + m.only_asked for m in matches)
    f1 = matched / (matched + spare / 2)
    quality = sum(m.overlap for m in matches) / matched if matched else 0.0
    jaccards = [aggregated_jaccard(one, true) for one, true in both if true.any()]
    return {
        "f1": f1,
        "segmentation_quality": quality,
        "panoptic_quality": f1 * quality,
        "aji": float(np.mean(jaccards)),
    }


def _overlaps(found: Labels, asked: Labels) -> _Overlaps:
    """Nuclei that share a pixel: pairs only, as a table of all with all grows with their square."""
    names, one, areas = np.unique(found, return_inverse=True, return_counts=True)
    others, two, others_areas = np.unique(asked, return_inverse=True, return_counts=True)
    codes, shared = np.unique(one.reshape(-1) * len(others) + two.reshape(-1), return_counts=True)
    rows, columns = codes // len(others), codes % len(others)
    both = (names[rows] > 0) & (others[columns] > 0)
    rows, columns, shared = rows[both], columns[both], shared[both]
    return _Overlaps(
        found=rows - (names[0] == 0),
        asked=columns - (others[0] == 0),
        shared=shared,
        union=areas[rows] + others_areas[columns] - shared,
        areas_found=areas[names > 0],
        areas_asked=others_areas[others > 0],
    )


def _names_classes(mask: Nuclei) -> bool:
    return bool(((mask.classes > 0) & (mask.classes != UNKNOWN)).any())
