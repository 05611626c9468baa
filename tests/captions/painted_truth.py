"""How far scrubbing and reading of painted reports agree with what was painted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from captions.painted_findings import Painted, Plant
from crafts.captions.findings.fields import Fields
from crafts.captions.privacy import Scrubbed

PRESENCE = ("lymphovascular_invasion", "perineural_invasion", "necrosis")
COMPARED = (
    "diagnosis", "site", "laterality", "procedure", "histology", "in_situ", "grade", "t_stage",
    "n_stage", "m_stage", "size", "er", "pr", "her2", "ki67", "margins", "nodes", *PRESENCE, "tils",
)  # fmt: skip


def find_leaks(painted: Painted, scrubbed: Scrubbed) -> Iterator[tuple[Plant, str]]:
    """Plants of which a letter or digit survives, by its place in the source, with what does."""
    traced = scrubbed.traced
    kept = [
        (start, end, letter)
        for letter, start, end in zip(traced.text, traced.starts, traced.ends, strict=True)
        if letter.isalnum()
    ]
    for plant in painted.plants:
        left = "".join(c for s, e, c in kept if plant.start <= s and e <= plant.end)
        if left:
            yield plant, left


def lost_words(painted: Painted, scrubbed: Scrubbed) -> tuple[int, list[str]]:
    """Number of words in the findings, and those that are missing from the scrubbed text."""
    places = set(scrubbed.traced.starts)
    number, lost, position = 0, [], 0
    for finding in painted.terms:
        begin = painted.text.lower().index(finding.lower(), position)
        position = begin + len(finding)
        for match in re.finditer(r"[A-Za-z]{3,}", finding):
            number += 1
            if not all(begin + i in places for i in range(match.start(), match.end())):
                lost.append(match.group().lower())
    return number, lost


@dataclass
class Agreement:
    """Field -> how often it was read right, read wrongly or invented, and missed."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def precision(self, name: str) -> float:
        return self.right[name] / max(self.right[name] + self.wrong[name], 1)

    def recall(self, name: str) -> float:
        return self.right[name] / max(self.right[name] + self.missed[name], 1)


def compare(reports: Sequence[Painted], fields: Sequence[Fields]) -> Agreement:
    """Precision and recall of every field; a finding that is negated counts as such."""
    agreement = Agreement()
    for painted, found in zip(reports, fields, strict=True):
        said = {name: _said(found, name, painted) for name in COMPARED}
        for name in COMPARED:
            got, want = said[name], painted.truth.get(name, "")
            if got == want:
                agreement.right[name] += bool(want)
                continue
            agreement.wrong[name] += bool(got)
            agreement.missed[name] += bool(want)
            agreement.examples[name].append(f"{painted.report_id}: read {got!r}, is {want!r}")
    return agreement


def _said(fields: Fields, name: str, painted: Painted) -> str:
    best = fields.diagnosis if name == "diagnosis" else fields.best(name)
    if best is None or best.uncertain:
        return ""
    by_presence = name in PRESENCE or painted.truth.get(name) in ("present", "absent")
    if by_presence:
        return "absent" if best.negated else "present"
    return "" if best.negated else best.value
