"""Membership inference: can tiles the model was trained on be told from tiles it has not seen?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.results import Attack
from crafts.core.errors import DataError
from crafts.core.protocols import LossesOf, MakeImages
from crafts.core.runtime import say
from crafts.data.collection import Tile, group_of

Array = NDArray[np.float64]

FALSE_POSITIVES = 0.01
"""Rate of false positives at which the rate of true ones is read (Carlini et al. 2022)."""

_BLOCK, _SAY_EACH = 16, 5
_FEWEST = 10
_MATCH_ON = ("set", "label", "organ")
_SCORED = {"loss": "the model's loss", "blind": "contrast (control without the model)"}


def area_under_curve(members: Array, nonmembers: Array) -> float:
    """Chance that a member scores above a non-member; ties count half.

    Args:
        members: scores [N], higher means more like a member.
        nonmembers: scores [M].
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([members, nonmembers]))
    n, m = len(members), len(nonmembers)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def true_positive_rate(
    members: Array, nonmembers: Array, *, false_positives: float = FALSE_POSITIVES
) -> float:
    """Share of members above the score that at most so many non-members reach.

    The threshold lies at the ``floor(false_positives * M) + 1``-th highest non-member and must be
    passed strictly, so that the rate of false positives is never exceeded, ties or not.

    Args:
        members: scores [N], higher means more like a member.
        nonmembers: scores [M].
        false_positives: share of the non-members, in [0, 1).
    """
    allowed = int(false_positives * len(nonmembers))
    threshold = np.sort(nonmembers)[::-1][allowed]
    return float((members > threshold).mean())


def attack(
    name: Literal["loss", "features", "blind"],
    members: Array,
    nonmembers: Array,
    *,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
    matched: str = "",
    seed: int = 0,
) -> Attack:
    """Figures of one attack with 95 % intervals, by bootstrap over groups.

    Args:
        name: of the attack.
        members: scores [N], higher means more like a member.
        nonmembers: scores [M].
        groups: patient of each member and non-member, drawn as wholes; tiles without.
        matched: field on which the two sides were matched, for the record.
        seed: of the bootstrap.

    Raises:
        DataError: a side has fewer than two scores, or scores are not finite.
    """
    for side, scores in (("members", members), ("non-members", nonmembers)):
        if len(scores) < 2 or not np.isfinite(scores).all():
            raise DataError(
                f"membership: {name}",
                came=f"{len(scores)} scores of {side}, {int((~np.isfinite(scores)).sum())} of them"
                " not finite",
                allowed="at least two finite scores a side",
                do="Give more tiles, or look for damaged ones.",
            )
    drawn = _bootstrap(members, nonmembers, groups, seed)
    (auc_low, tpr_low), (auc_high, tpr_high) = np.quantile(drawn, [0.025, 0.975], axis=0)
    return Attack(
        name=name,
        auc=area_under_curve(members, nonmembers),
        auc_low=auc_low,
        auc_high=auc_high,
        tpr=true_positive_rate(members, nonmembers),
        tpr_low=tpr_low,
        tpr_high=tpr_high,
        members=len(members),
        nonmembers=len(nonmembers),
        groups=len(set(groups[0])) + len(set(groups[1])) if groups else 0,
        matched=matched,
    )


def _bootstrap(
    members: Array,
    nonmembers: Array,
    groups: tuple[Sequence[str], Sequence[str]] | None,
    seed: int,
    *,
    repeats: int = 500,
) -> Array:
    """AUC and TPR [repeats, 2] of resampled sides."""
    rng = np.random.default_rng(seed)
    sides = []
    for index, scores in enumerate((members, nonmembers)):
        names = groups[index] if groups else range(len(scores))
        _, code = np.unique(np.asarray(names), return_inverse=True)
        sides.append([scores[code == k] for k in range(code.max() + 1)])
    found = []
    for _ in range(repeats):
        first, second = (
            np.concatenate([side[k] for k in rng.integers(0, len(side), len(side))])
            for side in sides
        )
        found.append((area_under_curve(first, second), true_positive_rate(first, second)))
    return np.array(found)


def draw_sides(
    members: Sequence[Mapping[str, Any]],
    nonmembers: Sequence[Mapping[str, Any]],
    *,
    number: int,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Equally many tiles of both sides, with equal shares of each set or class where known.

    Without matching, an attack that knows nothing of the model succeeds by telling the sets apart.

    Args:
        members: rows of training tiles.
        nonmembers: rows of held-out tiles.
        number: tiles a side at most.
        seed: of the draw.

    Returns:
        Indices of members, of non-members (as many), and the fields that were matched.
    """
    fields = [
        name
        for name in _MATCH_ON
        if all(row.get(name) for row in members) and all(row.get(name) for row in nonmembers)
    ]
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
    for side, rows in enumerate((members, nonmembers)):
        for index in rng.permutation(len(rows)):
            key = tuple(str(rows[index][name]) for name in fields)
            strata.setdefault(key, ([], []))[side].append(int(index))
    whole = sum(min(len(first), len(second)) for first, second in strata.values())
    share = min(1.0, number / max(whole, 1))
    chosen: tuple[list[int], list[int]] = ([], [])
    for first, second in strata.values():
        size = min(len(first), len(second))
        wanted = int(np.floor(size * share + rng.random()))  # rare strata get their fair share
        for picked, pool in zip(chosen, (first, second), strict=True):
            picked.extend(pool[: min(wanted, size)])
    kept = rng.permutation(len(chosen[0]))[:number]  # pairs of one stratum stay together
    first_side, second_side = (np.array(side, np.int64)[kept] for side in chosen)
    return first_side, second_side, ", ".join(fields)


@dataclass(frozen=True)
class Target:
    """The model that is attacked.

    Attributes:
        name: as the user named it.
        fingerprint: its identity.
        losses_of: tiles and captions -> denoising losses.
        make_images: prompt and number -> so many images.
    """

    name: str
    fingerprint: str
    losses_of: LossesOf
    make_images: MakeImages


@dataclass(frozen=True)
class AttackSide:
    """Members or non-members.

    Attributes:
        rows: what is known of each tile.
        distances: of each to the nearest generated tile.
        load: number of a row -> its tile.
    """

    rows: Sequence[Mapping[str, Any]]
    distances: Array
    load: Callable[[int], Tile]


def attack_all(
    members: AttackSide,
    nonmembers: AttackSide,
    losses_of: LossesOf | None,
    *,
    number: int,
    seed: int = 0,
) -> list[Attack]:
    """All attacks on equally many members and non-members.

    Args:
        members: training tiles.
        nonmembers: held-out tiles.
        losses_of: of the model; without it there is no ``loss`` attack.
        number: tiles a side at most.
        seed: of the draw and of the bootstrap.

    Returns:
        ``loss`` (with a model), ``features`` and ``blind``; empty where the sides have fewer than
        ten tiles that can be matched.
    """
    first, second, matched = draw_sides(members.rows, nonmembers.rows, number=number, seed=seed)
    if len(first) < _FEWEST:
        return []
    groups = _groups(members.rows, first), _groups(nonmembers.rows, second)
    scores: dict[Literal["loss", "features", "blind"], tuple[Array, Array]] = {}
    for name, scorer in (("loss", losses_of), ("blind", contrast_of)):
        if scorer is not None:
            scores[name] = (  # type: ignore[index]
                score_tiles(
                    f"audit: {_SCORED[name]} of training tiles",
                    members.load,
                    numbers=first,
                    losses_of=scorer,
                ),
                score_tiles(
                    f"audit: {_SCORED[name]} of held-out tiles",
                    nonmembers.load,
                    numbers=second,
                    losses_of=scorer,
                ),
            )
    scores["features"] = (-members.distances[first], -nonmembers.distances[second])
    pair = (groups[0], groups[1]) if groups[0] and groups[1] else None
    return [
        attack(name, *scores[name], groups=pair, matched=matched, seed=seed)
        for name in ("loss", "features", "blind")
        if name in scores
    ]


def score_tiles(
    what: str, load: Callable[[int], Tile], *, numbers: NDArray[np.int64], losses_of: LossesOf
) -> Array:
    """Minus the loss of each tile, some tiles at a time, with lines of progress.

    Args:
        what: names the tiles in the lines of progress.
        load: number of a row -> its tile.
        numbers: rows to score, [N].
        losses_of: images and captions -> a loss each.

    Returns:
        Scores [N], float64; higher means more like a member.
    """
    found: list[Array] = []
    for start in range(0, len(numbers), _BLOCK):
        tiles = [load(int(number)) for number in numbers[start : start + _BLOCK]]
        losses = losses_of([tile.pixels for tile in tiles], [tile.text for tile in tiles])
        found.append(-np.asarray(losses, dtype=np.float64))
        if start // _BLOCK % _SAY_EACH == 0:
            say(f"{what}: {start + len(tiles)} of {len(numbers)} tiles")
    return np.concatenate(found)


def contrast_of(images: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> Array:
    """Mean step between neighbouring grey pixels: how hard a tile is for any model, seen or not."""
    found = []
    for pixels in images:
        grey = pixels.astype(np.float64).mean(axis=2)
        found.append(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
    return np.array(found)


def _groups(rows: Sequence[Mapping[str, Any]], chosen: NDArray[np.int64]) -> list[str]:
    """Patient of each chosen row; empty unless all are named."""
    names = [group_of(rows[k]) for k in chosen]
    return names if all(names) else []
