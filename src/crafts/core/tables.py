"""Small tables that users write by hand: a csv or tsv with a few known columns."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from crafts.core.errors import CraftsError

Fault = Callable[[str, str], CraftsError]
"""Where, and what came -> the error of whoever reads the table."""


def read_columns(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    fault: Fault,
    *,
    optional: Collection[str] = (),
) -> list[tuple[str, dict[str, str]]]:
    """Rows of a table, by our names of the columns.

    Args:
        path: csv, or tsv, in UTF-8 with a header.
        columns: our name -> names under which a table may have it, the preferred one first.
        fault: makes the error that is raised.
        optional: our names of columns that may be missing; they are "" then.

    Returns:
        Place of each row, for messages, and its values without spaces around them.

    Raises:
        CraftsError: as ``fault`` makes it; no such file, no table, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise fault(str(path), f"unreadable ({error})") from None
    names = [name for name in (rows[0] if rows else ()) if name]
    chosen = {
        our: next((name for name in theirs if name in names), None)
        for our, theirs in columns.items()
    }
    if any(name is None and our not in optional for our, name in chosen.items()):
        raise fault(str(path), f"columns {', '.join(names) or 'none'}")
    return [
        (
            f"{path}: row {number}",
            {our: ((row[name] if name else "") or "").strip() for our, name in chosen.items()},
        )
        for number, row in enumerate(rows, 1)
    ]
