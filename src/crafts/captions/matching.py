"""Which report a tile belongs to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from crafts.captions.privacy import disallowed
from crafts.core.errors import DataError
from crafts.core.patients import parse_id, patient_in

_BARCODE = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])", re.IGNORECASE)


class Reports:
    """Summaries, found by the id of the report or by what that id begins with.

    Args:
        rows: of a file of summaries.

    Raises:
        DataError: two rows of one id.
    """

    def __init__(self, rows: Iterator[Mapping[str, Any]]) -> None:
        self._by_id: dict[str, str] = {}
        self._by_part: dict[str, list[str]] = defaultdict(list)
        self._clean: dict[str, bool] = {}
        for row in rows:
            name = row["report_id"]
            if name in self._by_id:
                raise DataError(
                    "caption: summaries",
                    came=f"two rows of report {name!r}",
                    allowed="one row a report",
                    do="Run `crafts summarise` again.",
                )
            self._by_id[name] = row["summary"]
            for part in sorted({_barcode(name), name.partition(".")[0]} - {"", name}):
                self._by_part[part].append(name)

    def find(self, row: Mapping[str, str], match: str) -> tuple[str, str]:
        """The id of a tile's report, or "" and why there is none."""
        columns = ("report_id", "slide", "patient") if match == "auto" else (match,)
        patient = patient_in(row)
        named = dict(row) | {"patient": _whole(patient)}
        keys = [named[column] for column in columns if named.get(column)]
        if match in ("auto", "patient"):
            places = (patient, row.get("slide"), row.get("file_name"))
            keys += [code for text in places if (code := _barcode(text or ""))]
        if not keys:
            return "", f"no {' or '.join(columns)} to find a report by"
        for key in keys:
            if key in self._by_id:
                return key, ""
        for key in keys:
            found = self._by_part.get(key, [])
            if len(found) > 1:
                return "", f"{len(found)} reports of {key}, none of them named for this slide"
            if found:
                return found[0], ""
        return "", f"no summary for {keys[0]}"

    def summary(self, report_id: str) -> str:
        """Text of a summary."""
        return self._by_id[report_id]

    def is_clean(self, report_id: str) -> bool:
        """Whether a summary may be published; judged once."""
        if report_id not in self._clean:
            self._clean[report_id] = not disallowed(self._by_id[report_id])
        return self._clean[report_id]


def _whole(patient: str) -> str:
    try:
        return parse_id(patient)
    except ValueError:
        return patient  # it will be found as it stands, or not at all


def _barcode(text: str) -> str:
    found = _BARCODE.search(text)
    return found.group().upper() if found else ""
