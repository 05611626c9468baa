"""The measured classes in a folder of tiles: which row shows which, and rows drawn evenly."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.model.vision.structure_judge import CLASSES, ORGANS
from crafts.sets.features import read_image

Row = Mapping[str, str]
_COMPONENTS = {"colon fat", "colon lymphoid", "colon mucus", "colon muscle", "colon stroma"}
_SAYS_POWER = re.compile(r"power|magnif|enlarge", re.IGNORECASE)
# other sets show prostate cancer only, and at high power: the power would tell
_PROSTATE = "prostate_gleason_NC"


def class_of(row: Row) -> str | None:
    """The class of a row of ``metadata.csv``, or None when it belongs to no measured task."""
    organ, label = row["organ"].lower(), row["label"].lower()
    if label in _COMPONENTS:  # of a tissue; no view of an organ
        return None
    if "oral" in organ:
        kind = "normal" if "normal" in label else "carcinoma"
        return f"oral {kind} {row['power']}" if row["power"] in ("low", "high") else None
    if "prostate" in organ:
        if row["set"] != _PROSTATE:
            return None
        return "prostate benign" if "benign" in label or "stroma" in label else "prostate cancer"
    return next((name for name in ORGANS if name in organ), None)


def read_rows(
    tiles: Path, split: str | None = None, sort: Callable[[Row], str | None] = class_of
) -> list[dict[str, str]]:
    """Rows of ``metadata.csv`` that have a class, as ``sort`` says, with it under ``class``."""
    with (tiles / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [{**row, "class": sort(row) or ""} for row in csv.DictReader(handle)]
    return [row for row in rows if row["class"] and split in (None, row["split"])]


def read_tiles(tiles: Path, rows: Sequence[Row]) -> NDArray[np.uint8]:
    """The tiles of some rows, uint8 [N, H, W, 3]."""
    return np.stack([read_image(tiles / row["file_name"]) for row in rows])


def spread_rows(rows: Sequence[Row], per_class: int, classes: Sequence[str] = CLASSES) -> list[Row]:
    """At most ``per_class`` rows of each class, taken from its patients in turn."""
    chosen: list[Row] = []
    for name in classes:
        by_patient: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row["class"] == name:
                by_patient[row["patient"]].append(row)
        queues = [list(by_patient[patient]) for patient in sorted(by_patient)]
        for queue in queues:  # neighbouring tiles of a patient stand together in the table
            random.Random(len(queue)).shuffle(queue)
        turn: list[Row] = []
        while any(queues) and len(turn) < per_class:
            turn += [queue.pop() for queue in queues if queue]
        chosen += turn[:per_class]
    return chosen


def pick_evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of the indices 0 to ``count`` - 1, evenly over all of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def caption_of(row: Row) -> str:
    """The first caption that names the power, without which some classes cannot be asked for."""
    captions = json.loads(row["captions"]) if row.get("captions") else [row["text"]]
    return next((text for text in captions if says_power(text)), row["text"])


def says_power(text: str) -> bool:
    """Whether a caption says how near the view is."""
    return bool(_SAYS_POWER.search(text))
