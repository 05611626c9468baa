"""Splits by patient: a table in which a patient lies in two splits is refused."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from crafts.core.errors import DataError

SPLITS = ("train", "validation", "heldout")


def assign_splits(
    strata: Mapping[str, Iterable[str]],
    *,
    heldout: float = 0.2,
    validation: float = 0.1,
    min_heldout: int = 5,
    seed: int = 0,
) -> dict[str, str]:
    """Assign each group (patient, biopsy, source image) to one split, stratum by stratum.

    Rare strata are served first. A stratum of at least ``2 * min_heldout`` groups holds out at
    least ``min_heldout`` of them; a smaller one holds out its fraction, and a single group trains.

    Args:
        strata: stratum name -> its groups; a group may stand in several strata.
        heldout: fraction of the groups of a stratum that is never trained on, in [0, 1).
        validation: fraction kept for choosing settings, in [0, 1).
        min_heldout: smallest number of held-out groups in a stratum that is large enough.
        seed: decides which groups go where, independent of their order.

    Returns:
        group -> "train", "validation" or "heldout".
    """
    assigned: dict[str, str] = {}
    members = {name: sorted(set(groups)) for name, groups in strata.items()}
    for name in sorted(members, key=lambda n: (len(members[n]), n)):
        groups = members[name]
        targets = _targets(len(groups), heldout, validation, min_heldout)
        counts = {split: sum(assigned.get(g) == split for g in groups) for split in SPLITS}
        for group in sorted(groups, key=lambda g: _hash(seed, g)):
            if group in assigned:
                continue
            split = max(SPLITS, key=lambda s: (targets[s] - counts[s], s == "train"))
            assigned[group] = split
            counts[split] += 1
    return assigned


def check_splits(
    rows: Sequence[Mapping[str, str]], *, patient: str = "patient", split: str = "split"
) -> None:
    """Refuse a table in which a patient stands in two splits.

    Raises:
        DataError: names the first such patient and its splits.
    """
    seen: dict[str, str] = {}
    for row in rows:
        who, where = row.get(patient), row.get(split)
        if not who or not where:
            continue
        if seen.setdefault(who, where) != where:
            raise DataError(
                f"splits: patient {who!r}",
                came=f"tiles in {seen[who]!r} and in {where!r}",
                allowed="one split per patient",
                do="Move all tiles of this patient into one split.",
            )


def _targets(count: int, heldout: float, validation: float, min_heldout: int) -> dict[str, float]:
    held = heldout * count
    if heldout > 0 and count >= 2 * min_heldout:
        held = max(held, min_heldout)
    held = math.floor(held + 0.5) if count > 2 else 0
    valid = math.floor(validation * count + 0.5)
    return {"train": count - held - valid, "validation": valid, "heldout": held}


def _hash(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()
