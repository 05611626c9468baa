"""Measures on nuclei as published, one nucleus and one pixel at a time."""

from __future__ import annotations

from typing import Any


def pixels_of(labels: Any, number: int) -> set[tuple[int, int]]:
    height, width = labels.shape
    return {(y, x) for y in range(height) for x in range(width) if labels[y, x] == number}


def nuclei_of(labels: Any) -> list[set[tuple[int, int]]]:
    return [pixels_of(labels, int(n)) for n in sorted(set(labels.reshape(-1).tolist())) if n]


def naive_dice(found: Any, asked: Any) -> float:
    both = one = two = 0
    for a, b in zip(found.reshape(-1), asked.reshape(-1), strict=True):
        both += bool(a) and bool(b)
        one += bool(a)
        two += bool(b)
    return 2 * both / (one + two) if one + two else 1.0


def naive_panoptic(found: Any, asked: Any) -> dict[str, float]:
    """Kirillov et al. 2019, equations 1 and 2."""
    ones, others = nuclei_of(found), nuclei_of(asked)
    overlaps = [len(a & b) / len(a | b) for a in ones for b in others]
    hits = [overlap for overlap in overlaps if overlap > 0.5]
    spare = (len(ones) - len(hits) + len(others) - len(hits)) / 2
    f1 = len(hits) / (len(hits) + spare)
    quality = sum(hits) / len(hits) if hits else 0.0
    return {"f1": f1, "segmentation_quality": quality, "panoptic_quality": f1 * quality}


def naive_jaccard(found: Any, asked: Any) -> float:
    """Kumar et al. 2017, algorithm 1."""
    ones, others = nuclei_of(found), nuclei_of(asked)
    shared = joined = 0
    used = set()
    for true in others:
        best, at = 0.0, None
        for number, one in enumerate(ones):
            overlap = len(true & one) / len(true | one)
            if overlap > best:
                best, at = overlap, number
        if at is None:
            joined += len(true)
            continue
        shared += len(true & ones[at])
        joined += len(true | ones[at])
        used.add(at)
    joined += sum(len(one) for number, one in enumerate(ones) if number not in used)
    return shared / joined if joined else 1.0
