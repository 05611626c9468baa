"""Readings: what readers answered, as it is recorded, exported and analysed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import Manifest, finish, load_manifest, verify
from crafts.core.errors import DataError
from crafts.core.tables import csv_row_writer, open_table
from crafts.readerstudy.protocol import KeyRow
from crafts.readerstudy.statistics.detection import score

Array = NDArray[np.float64]

STAGE = "study-readings"
READINGS, READERS = "readings.csv", "readers.csv"
COLUMNS = ("reader", "position", "picture", "block", "realness", "confidence", "rating",
           "diagnosis", "remark", "artefacts", "seconds", "idle_seconds", "changes")  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """One recorded answer, the last one where it was changed.

    Attributes:
        reader: pseudonym.
        position: of the showing in this reader's order, from 0.
        picture: opaque name of the item.
        block: training or test.
        realness: 1 for synthetic, 0 for real; NaN where it was not asked or not answered.
        confidence: 1 (a guess) to 5 (sure).
        rating: 1 to 4, how well the picture shows the words beside it.
        diagnosis, remark: "" where not given.
        artefacts: places that were clicked, as shares of width and height.
        seconds: with the picture on screen and the reader active.
        idle_seconds: with the page hidden or nothing touched for long.
        changes: how often the answer was given again.
    """

    reader: str
    position: int
    picture: str
    block: str
    realness: float = math.nan
    confidence: float = math.nan
    rating: float = math.nan
    diagnosis: str = ""
    remark: str = ""
    artefacts: tuple[tuple[float, float], ...] = ()
    seconds: float = math.nan
    idle_seconds: float = math.nan
    changes: int = 0


@dataclass(frozen=True)
class Matrix:
    """First readings of all readers of the items that count.

    Attributes:
        readers: [R] pseudonyms.
        pictures: [N] names.
        synthetic: [N], the truth.
        answers: [R, N], 1 for synthetic, 0 for real, NaN where nothing was answered.
        scores: [R, N], 1 (surely real) to 10 (surely synthetic).
        ratings: [R, N], 1 to 4.
    """

    readers: tuple[str, ...]
    pictures: tuple[str, ...]
    synthetic: NDArray[np.bool_]
    answers: Array
    scores: Array
    ratings: Array

    def only(
        self, readers: NDArray[np.bool_] | None = None, items: NDArray[np.bool_] | None = None
    ) -> Matrix:
        """The same of some readers or items."""
        rows = np.ones(len(self.readers), bool) if readers is None else readers
        columns = np.ones(len(self.pictures), bool) if items is None else items
        tables = (each[rows][:, columns] for each in (self.answers, self.scores, self.ratings))
        return Matrix(
            tuple(np.array(self.readers, dtype=object)[rows]),
            tuple(np.array(self.pictures, dtype=object)[columns]),
            self.synthetic[columns],
            *tables,
        )


def write_readings(
    folder: Path,
    readings: Iterable[Reading],
    readers: Sequence[Mapping[str, str]],
    *,
    study: str,
    extra: Mapping[str, object],
) -> Manifest:
    """Write the artifact that ``analyze`` takes.

    Args:
        folder: a staging folder.
        readings: in any order.
        readers: rows ``reader``, ``experience``, ``consent``.
        study: identity of the study.
        extra: further facts: whether simulated, when closed.
    """
    rows = sorted(readings, key=lambda one: (one.reader, one.position))
    with (folder / READINGS).open("w", encoding="utf-8", newline="") as handle:
        csv_row_writer(handle, COLUMNS).writerows(_to_row(one) for one in rows)
    with (folder / READERS).open("w", encoding="utf-8", newline="") as handle:
        csv_row_writer(handle, ("reader", "experience", "consent")).writerows(readers)
    return finish(
        folder,
        stage=STAGE,
        config={},
        inputs={"study": study},
        counts={"readings": len(rows), "readers": len(readers)},
        extra=extra,
    )


def load_readings(folder: Path, study: str) -> tuple[list[Reading], list[dict[str, str]], Manifest]:
    """Readings of a closed study and its readers.

    Args:
        folder: the artifact, or the output of ``serve`` that holds it.
        study: identity of the study that they must belong to.

    Raises:
        DataError: the study is still open, or the readings are of another one.
        IntegrityError: a file was changed.
    """
    place = folder / "readings" if (folder / "readings").is_dir() else folder
    if not (place / "manifest.json").is_file():
        raise DataError(
            str(folder),
            came="readings of a study that is not closed, or none",
            allowed="readings of a closed study: nobody sees results before its end",
            do="Close it with `crafts study close`, when its stopping rule says so.",
        )
    manifest = load_manifest(place)
    if manifest.stage != STAGE or manifest.inputs.get("study") != study:
        raise DataError(
            str(folder),
            came="readings of another study",
            allowed="readings of the study that was named",
            do="Fix the path of the study or of the readings.",
        )
    verify(place)
    readings = [_from_row(row.cells) for row in open_table(place / READINGS).rows]
    readers = [dict(row.cells) for row in open_table(place / READERS).rows]
    return readings, readers, manifest


def build_matrix(readings: Iterable[Reading], key: Mapping[str, KeyRow]) -> Matrix:
    """First readings as tables; hidden repeats, controls and training are not among them."""
    readings = list(readings)
    readers = sorted({one.reader for one in readings})
    pictures = sorted(name for name, row in key.items() if row.is_main)
    rows, columns = ({name: k for k, name in enumerate(names)} for names in (readers, pictures))
    tables = np.full((4, len(readers), len(pictures)), np.nan)
    for one in sorted(readings, key=lambda one: -one.position):  # the first showing is written last
        if one.picture in columns:
            values = one.realness, one.confidence, one.rating
            tables[:3, rows[one.reader], columns[one.picture]] = values
    synthetic = np.array([key[name].answer == 1 for name in pictures])
    scores = score(tables[0], tables[1])
    return Matrix(tuple(readers), tuple(pictures), synthetic, tables[0], scores, tables[2])


def build_repeats(
    readings: Iterable[Reading], key: Mapping[str, KeyRow]
) -> dict[str, list[tuple[Reading, Reading]]]:
    """Reader -> first and second reading of each item that was shown twice."""
    seen: dict[tuple[str, str], Reading] = {}
    pairs: dict[str, list[tuple[Reading, Reading]]] = {}
    for one in sorted(readings, key=lambda one: (one.reader, one.position)):
        if not key[one.picture].is_main:
            continue
        first = seen.setdefault((one.reader, one.picture), one)
        if first is not one:
            pairs.setdefault(one.reader, []).append((first, one))
    return pairs


def _to_row(one: Reading) -> dict[str, object]:
    row = dict(vars(one))
    row["artefacts"] = json.dumps(one.artefacts) if one.artefacts else ""
    for name in ("realness", "confidence", "rating"):
        row[name] = "" if math.isnan(row[name]) else int(row[name])
    for name in ("seconds", "idle_seconds"):
        row[name] = "" if math.isnan(row[name]) else f"{row[name]:.3f}"
    return row


def _from_row(row: Mapping[str, str]) -> Reading:
    realness, confidence, rating, seconds, idle = (
        float(row[name]) if row[name] else math.nan
        for name in ("realness", "confidence", "rating", "seconds", "idle_seconds")
    )
    places = json.loads(row["artefacts"]) if row["artefacts"] else []
    return Reading(
        row["reader"],
        int(row["position"]),
        row["picture"],
        row["block"],
        diagnosis=row["diagnosis"],
        remark=row["remark"],
        artefacts=tuple((float(x), float(y)) for x, y in places),
        realness=realness,
        confidence=confidence,
        rating=rating,
        seconds=seconds,
        idle_seconds=idle,
        changes=int(row["changes"]),
    )
