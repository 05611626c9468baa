"""Splits by patient: a table in which a patient lies in two splits is refused."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crafts.core.errors import DataError, refusal
from crafts.core.patients import PATIENT_COLUMNS, parse_id
from crafts.core.tables import read_columns
from crafts.data.listing.items import clean_key
from crafts.data.listing.tables import SPLIT_NAMES

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


def check_splits(rows: Sequence[Mapping[str, str]]) -> None:
    """Refuse a table in which a patient stands in two splits.

    Raises:
        DataError: names the first such patient and its splits.
    """
    seen: dict[str, str] = {}
    for row in rows:
        who, where = row.get("patient"), row.get("split")
        if not who or not where:
            continue
        if seen.setdefault(who, where) != where:
            raise DataError(
                f"splits: patient {who!r}",
                came=f"tiles in {seen[who]!r} and in {where!r}",
                allowed="one split per patient",
                do="Move all tiles of this patient into one split.",
            )


def read_splits(path: Path) -> tuple[str, dict[str, str]]:
    """Read a splits file.

    Returns:
        "patient" or "key", and the split of each.

    Raises:
        DataError: missing file or columns, an unknown split, or one name with two splits.
    """
    columns = {name: (name,) for name in ("split", "patient", "key")} | {"other": PATIENT_COLUMNS}
    order = ("patient", "key", "other")
    rows = read_columns(path, columns, _bad_splits, optional=order)
    column = next((name for name in order if any(row[name] for _, row in rows)), "")
    if not column:
        raise _bad_splits(str(path), "no patient and no key")
    table: dict[str, str] = {}
    for where, row in rows:
        split = SPLIT_NAMES.get(row["split"].lower())
        if split is None:
            raise _bad_splits(where, f"split {row['split']!r}")
        if not row[column]:
            raise _bad_splits(where, f"no {column}, while other rows have one")
        name = clean_key(row["key"]) if column == "key" else _patient(where, row[column])
        if table.setdefault(name, split) != split:
            raise _bad_splits(where, f"{column} {name!r} in two splits")
    return "key" if column == "key" else "patient", table


def _patient(where: str, text: str) -> str:
    try:
        return parse_id(text)
    except ValueError as error:
        raise _bad_splits(where, str(error)) from None


_bad_splits = refusal(
    DataError,
    allowed="columns patient (or key) and split; splits train, validation, heldout",
    do="Correct the splits file.",
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
