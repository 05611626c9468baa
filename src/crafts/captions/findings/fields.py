"""Findings of a report as fields: what was found, what was ruled out, on which side, said where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crafts.captions.findings.benign import is_benign

NAMES = (
    "site",
    "laterality",
    "procedure",
    "histology",
    "in_situ",
    "finding",
    "grade",
    "nuclear_grade",
    "nottingham_score",
    "t_stage",
    "n_stage",
    "m_stage",
    "size",
    "er",
    "pr",
    "her2",
    "ki67",
    "margins",
    "nodes",
    "lymphovascular_invasion",
    "perineural_invasion",
    "tils",
    "necrosis",
)
"""Names of the fields, in the order in which a report is summarised."""


STRANGE, BEHIND = 2, 1
"""Doubts: a sentence does not parse as a finding, or stands behind one that does not."""

DIAGNOSES = ("histology", "in_situ", "finding")

Doubt = tuple[int, int, int]
"""Start and end (exclusive) in the source, and how much what stands there is in doubt."""


@dataclass(frozen=True)
class Finding:
    """One thing that a report says.

    Attributes:
        name: one of :data:`NAMES`.
        value: canonical wording, from closed lists and numbers; never a copy of free text.
        negated: the report says that it is not there.
        uncertain: a clinical question, a history or a differential, not a finding.
        laterality: "left", "right", "bilateral" or "".
        start: where it is said in the source text.
        end: end of that span (exclusive).
        sentence: the sentence that says it, as it reads after cleaning.
        weight: how much it tells among findings of its name; more is better.
        past: a history, or what the clinician knew before; nothing that was found here.
    """

    name: str
    value: str
    negated: bool
    uncertain: bool
    laterality: str
    start: int
    end: int
    sentence: str
    weight: int = 0
    past: bool = False


@dataclass(frozen=True)
class Fields:
    """All findings of a report, in the order of the text."""

    findings: tuple[Finding, ...]

    def of(self, name: str) -> tuple[Finding, ...]:
        """Findings of one name, those that are ruled out included."""
        return tuple(finding for finding in self.findings if finding.name == name)

    def best(self, name: str) -> Finding | None:
        """The finding of a name that tells most and is neither ruled out nor uncertain.

        Where a name is only ever ruled out (no necrosis), that is what is returned.
        """
        found = sorted(
            self.of(name),
            key=lambda one: (one.uncertain, one.past, one.negated, -one.weight, not one.laterality),
        )
        return found[0] if found else None

    @property
    def diagnosis(self) -> Finding | None:
        """The main diagnosis: invasive before in situ before benign before other findings."""
        found = {}
        for name in DIAGNOSES:
            best = self.best(name)
            if best is not None and not best.negated and not best.uncertain:
                found[name] = best
        if "finding" in found and is_benign(found["finding"].value) and self._is_in_question():
            del found["finding"]
        # "carcinoma" alone is what a report of carcinoma in situ calls it in passing
        if "in_situ" in found and found.get("histology", found["in_situ"]).value in _BARE:
            return found["in_situ"]
        if found:
            return next(iter(found.values()))
        # better what the clinician knew than nothing, where nothing was found here
        only_past = all(one.past for one in self.findings)
        here = (f for f in self.of("histology") if not f.negated and (only_past or not f.past))
        return next(here, None)

    def _is_in_question(self) -> bool:
        """Whether a neoplasm is neither found nor ruled out."""
        named = (*self.of("histology"), *self.of("in_situ"))
        return any(one.uncertain and not one.past and not one.negated for one in named)

    @property
    def rules_out_malignancy(self) -> bool:
        """Whether the report denies a malignancy, or a kind of it, and names no neoplasm."""
        named = (*self.of("histology"), *self.of("in_situ"))
        return bool(named) and all(one.negated for one in named if not one.past)

    def as_row(self) -> dict[str, Any]:
        """Name -> value of the best finding, "no ..." where it is ruled out; for tables."""
        row: dict[str, Any] = {}
        for name in NAMES:
            best = self.best(name)
            if best is not None and not best.uncertain:
                row[name] = f"no {best.value}" if best.negated else best.value
        return row


_BARE = frozenset({"carcinoma", "adenocarcinoma", "cancer", "malignancy", "melanoma"})


def without_doubtful(findings: list[Finding], doubtful: Sequence[Doubt]) -> list[Finding]:
    """No diagnosis, found or denied, of a strange sentence; then those in least doubt.

    Where a diagnosis is in less doubt, no other counts, nor what is said of its organ.
    Findings that are not neoplastic stand beside a tumour; what is denied adds no diagnosis, and
    a metastasis leaves open what the tumour is.

    Args:
        findings: in the order of the text.
        doubtful: of :func:`crafts.captions.scrubbing.trust.find_doubtful`, in the source.
    """
    doubts = {
        f: max((d for a, b, d in doubtful if a < f.end and f.start < b), default=0)
        for f in findings
    }
    findings = [f for f in findings if f.name not in DIAGNOSES or doubts[f] < STRANGE]
    site = min((doubts[f] for f in findings if f.name == "site"), default=0)
    findings = [f for f in findings if f.name != "site" or doubts[f] <= site]
    affirmed = {f: doubts[f] for f in findings if not (f.negated or f.uncertain)}
    main = [f for f in affirmed if f.name in DIAGNOSES and not f.value.startswith("metastatic ")]
    if not main:
        return findings
    least = min(affirmed[f] for f in main)
    certain = {f.name for f, doubt in affirmed.items() if doubt <= least}
    struck = {"histology", "in_situ"} | certain.intersection(("site", "procedure", "grade"))
    if not certain.intersection(DIAGNOSES[:2]):
        struck.add("finding")
    return [f for f in findings if doubts[f] <= least or f.negated or f.name not in struck]
