"""Diagnoses in doubt: never read from a sentence that does not parse, else only for want of a better.

What is in doubt, and how much, is told by :mod:`crafts.captions.scrubbing.trust`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crafts.captions.findings.fields import Finding

Doubt = tuple[int, int, int]
"""Start and end (exclusive) in the source, and how much what stands there is in doubt."""

STRANGE, BEHIND = 2, 1
"""The sentence does not parse as a finding; it stands behind one that does not."""

DIAGNOSES = ("histology", "in_situ", "finding")


def without_doubtful(findings: list[Finding], doubtful: Sequence[Doubt]) -> list[Finding]:
    """No diagnosis, found or denied, of a strange sentence; then the one in least doubt.

    Where a diagnosis is in less doubt, no other counts, nor what is said of its organ.

    Findings that are not neoplastic stand beside a tumour; what is denied adds no diagnosis, and
    a metastasis leaves open what the tumour is.
    """
    doubts = {
        f: max((d for a, b, d in doubtful if a < f.end and f.start < b), default=0)
        for f in findings
    }
    findings = [f for f in findings if f.name not in DIAGNOSES or doubts[f] < STRANGE]
    said = {f: doubt for f, doubt in doubts.items() if f in findings and not (f.negated or f.uncertain)}
    main = [f for f in said if f.name in DIAGNOSES and not f.value.startswith("metastatic ")]
    if not main:
        return findings
    least = min(said[f] for f in main)
    certain = {f.name for f, doubt in said.items() if doubt <= least}
    struck = {"histology", "in_situ"} | certain.intersection(("site", "procedure", "grade"))
    if not certain.intersection(DIAGNOSES[:2]):
        struck.add("finding")
    return [f for f in findings if doubts[f] <= least or f.negated or f.name not in struck]
