"""The card of a set: what was asked, what was kept, what was given up and why, and its limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crafts.workflows.labelled.pictures import COPY, SAME, SPLITS, Picture, labels_of

_MASKS = {
    "segmenter": "found by the shipped segmenter in each finished picture: predictions, not truth",
    "layout": "the invented layouts that steered each picture through the ControlNet: what was "
    "asked for, which a picture may not follow everywhere",
    "none": "none",
}


@dataclass(frozen=True)
class Account:
    """Where every picture that was asked for went.

    Attributes:
        asked: id -> label.
        kept: in the set.
        given_up: id -> reason, of all others.
    """

    asked: Mapping[str, str]
    kept: Sequence[Picture]
    given_up: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """For the manifest; asked = kept + given_up."""
        return {
            "asked": len(self.asked),
            "kept": len(self.kept),
            "given_up": len(self.given_up),
            "classes": len(set(self.asked.values())),
        }


@dataclass(frozen=True)
class Facts:
    """What a card says beside the account.

    Attributes:
        model: name and fingerprint of the model.
        licence: of its weights.
        masks: whose nuclei the masks hold.
        gate: whether the quality gate chose.
        audited: what the audit says, as a sentence.
    """

    model: tuple[str, str]
    licence: str
    masks: str
    gate: bool
    audited: str


def build_card(account: Account, facts: Facts) -> str:
    """Text of README.md, with the header that the Hugging Face hub reads."""
    gate = (
        "Only pictures that pass the quality gate (artefacts, agreement with the prompt) are in; a "
        "place was given up after twenty tries."
        if facts.gate
        else "No quality gate was used."
    )
    licence = re.sub(r"\s+", " ", facts.licence).strip()
    return f"""---
license: other
license_name: {licence!r}
tags: [synthetic, histology, pathology, crafts]
---

# A labelled set of synthetic tiles

**Every picture is synthetic. For research only: not a medical device, no ground for a diagnosis.**
Each PNG says so in its own metadata, with its prompt, seed and model.

Made by `crafts dataset` with the model `{facts.model[0]}` (`{facts.model[1][:16]}`), whose licence,
`{licence}`, holds for the pictures. {gate}

{_table(account)}

{_given_up(account)}
- **Labels** are what was asked for. Whether a picture shows it was judged by the gate alone, not by
  a pathologist.
- **Nuclei**: {_MASKS[facts.masks]}.
- **Splits**: every picture has a seed of its own. All come from one model, so that a test split
  says how one learns from this set, not how one does on real tissue: test on real tiles.
- **Repeats**: pictures that show what an earlier one shows were given up.
- **Copies of training tiles**: {facts.audited}
- No picture belongs to a patient; there is no patient column because there are no patients.
"""


def _table(account: Account) -> str:
    asked = Counter(account.asked.values())
    kept = Counter((one.label, one.split) for one in account.kept)
    lines = [f"| class | asked | kept | {' | '.join(SPLITS)} |", "|---" * (3 + len(SPLITS)) + "|"]
    for label in sorted(asked):
        split = [kept[label, name] for name in SPLITS]
        cells = [label.replace("|", "\\|"), asked[label], sum(split), *split]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    missing = sorted(set(asked) - set(labels_of(account.kept)))
    if missing:
        lines += ["", f"**Without a single picture: {', '.join(missing)}.**"]
    return "\n".join(lines)


def _given_up(account: Account) -> str:
    reasons = Counter(_kind(reason) for reason in account.given_up.values())
    if not reasons:
        return "Nothing was given up.\n"
    lines = [f"- {number} x {reason}" for reason, number in reasons.most_common()]
    return "Given up (each with its reason in `rejects.jsonl`):\n\n" + "\n".join(lines) + "\n"


def _kind(reason: str) -> str:
    """A reason without what belongs to one picture alone."""
    for start in (SAME, COPY):
        if reason.startswith(start):
            return start
    return reason
