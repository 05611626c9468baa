"""Find pictures of one tissue that lie in two splits, in sets that name no patients.

    python recipes/mini/same_tissue.py TILES

TILES is what ``collect.py`` wrote. Held-out and validation tiles are looked for among the training
tiles with the search of the audit; of a pair above its default limits the two groups are one. Such
groups go where training saw them, which makes new training tiles: so the search is repeated until
it finds nothing. Writes ``same_tissue.csv`` (group, joined_to, split, correlation, two tiles),
which ``captions.py`` follows. About two minutes on two cores.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from crafts.auditing.matching.copies import DEFAULT_PART, DEFAULT_WHOLE, find_copies, is_whole
from crafts.auditing.matching.library import Library
from crafts.auditing.matching.search import Match
from crafts.data.collection import Collection

NAMED = {"prostate_gleason_NC", "lizard128_NC", "osteosarcoma_ut", "breakhis400", "ebhi_polyp"}
"""Sets whose source tells patients apart; all others are searched."""

ORDER = ("train", "validation", "heldout")
COLUMNS = ("group", "joined_to", "split", "correlation", "tile", "joined_tile")


def main(tiles: Path) -> None:
    """Search round after round and write the table."""
    rows = [json.loads(line) for line in (tiles / "fields.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["set"] not in NAMED]
    collection = Collection(tiles / "images")
    numbers = {collection.name(i): i for i in range(len(collection))}
    for row in rows:
        row["number"] = numbers[Path(row["file_name"]).name]
    joined: list[dict[str, Any]] = []
    while True:
        found = [pair for split in ORDER[1:] for pair in pairs_of(rows, split, collection)]
        joined += found
        moved = {pair["group"]: pair["split"] for pair in found}
        for row in rows:
            row["split"] = moved.get(row["patient"], row["split"])
        print(f"{len(moved)} groups joined")
        if not moved:
            break
    with (tiles / "same_tissue.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(joined)


def pairs_of(rows: list[dict[str, Any]], split: str, collection: Collection) -> list[dict]:
    """Tiles of a split that show the tissue of a tile in a split before it."""
    suspects = [row for row in rows if row["split"] == split]
    known = [row for row in rows if ORDER.index(row["split"]) < ORDER.index(split)]
    library = Library(len(known), lambda k: collection.load(known[k]["number"]), num_workers=2)
    found = find_copies(
        split,
        len(suspects),
        open_tile=lambda k: collection.load(suspects[k]["number"]),
        library=library,
    )
    pairs = []
    for row, one in zip(suspects, found, strict=True):
        if one.match.index < 0 or not (one.exact or is_copy(one.match)):
            continue
        other = known[one.match.index]
        pairs.append(
            {
                "group": row["patient"],
                "joined_to": other["patient"],
                "split": other["split"],
                "correlation": round(one.match.correlation, 3),
                "tile": row["file_name"],
                "joined_tile": other["file_name"],
            }
        )
    return pairs


def is_copy(match: Match) -> bool:
    """Whether the audit would call it one where no held-out tiles set its limits."""
    return match.correlation > (DEFAULT_WHOLE if is_whole(match) else DEFAULT_PART)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
