"""Whether a text that somebody else wrote says only what a report says.

Four questions: does it keep the diagnosis, are its findings those of the report (value, negation,
side, certainty), does each of its words and numbers occur in the report or in the canonical wording
of a finding, and is each word denied only where the report denies it. Reasons name the kind of
fault, never the text, which may hold anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from crafts.captions.cleaning import iter_sentences
from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.fields import DIAGNOSES, NAMES, Fields, Finding
from crafts.captions.findings.negation import is_negated

# words that build sentences and tell of no finding
_GLUE = frozenset(
    "a an and are as at also although be both but by composed consist contain demonstrate describe "
    "display exhibit extend feature focal for form from has have here in into is it its level "
    "identified note observed of on or other present reveal sample seen see show section show such "
    "showing shown that the there these this tissue to tumor tumour type was were which while "
    "with within without no not neither nor absent negative absence free none finding report "
    "histologic histological histology pathology specimen stained amount positive".split()
)
_TUMOR = frozenset("tumor tumour carcinoma cancer malignancy malignant neoplasm neoplasia".split())
_WORD = re.compile(r"[A-Za-z]{2,}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SIDE = re.compile(r"\b(left|right|bilateral)\b", re.IGNORECASE)


def find_unsupported(text: str, report: str, fields: Fields) -> tuple[str, ...]:
    """Kinds of statements that a report does not support; () for a faithful text.

    Args:
        text: what was written of the report.
        report: the scrubbed report.
        fields: its findings.
    """
    claimed = extract_fields(text)
    faults = [*_lost_diagnosis(claimed, fields), *_foreign_findings(text, claimed, fields)]
    # the words of a finding are judged with it; what is left must be the report's, word for word
    rest = text
    for finding in claimed.findings:
        rest = rest[: finding.start] + " " * (finding.end - finding.start) + rest[finding.end :]
    faults += _foreign_words(rest, report, fields)
    faults += _flipped(text, rest, report)
    return tuple(dict.fromkeys(faults))


def names_only(text: str, fields: Fields) -> bool:
    """Whether each diagnosis that a text names, or denies, is one of these findings."""
    reported = [one for name in DIAGNOSES for one in fields.of(name)]
    claimed = [one for one in extract_fields(text).findings if one.name in DIAGNOSES]
    return all(any(_agrees(one, other) for other in reported) for one in claimed)


def _lost_diagnosis(claimed: Fields, fields: Fields) -> Iterator[str]:
    wanted, found = fields.diagnosis, claimed.diagnosis
    if wanted is None:
        return
    if found is None or found.value != wanted.value or found.uncertain != wanted.uncertain:
        yield "the diagnosis is missing or another one"


def _foreign_findings(text: str, claimed: Fields, fields: Fields) -> Iterator[str]:
    for finding in claimed.findings:
        names = DIAGNOSES if finding.name in DIAGNOSES else (finding.name,)
        reported = [one for name in names for one in fields.of(name)]
        counted = finding.value == "lymph node" and bool(fields.of("nodes"))
        if finding.name == "laterality" or counted:
            continue
        if not any(_agrees(finding, one) for one in reported):
            yield f"{finding.name} is not so in the report"
    sides = {match.group().lower() for match in _SIDE.finditer(text)}
    known = {finding.laterality for finding in fields.findings} | {
        finding.value for finding in fields.of("laterality")
    }
    if sides - known and "bilateral" not in known:
        yield "side is not so in the report"


def _agrees(finding: Finding, claimed: Finding) -> bool:
    """Same statement, or a less specific one ("carcinoma" of an invasive ductal carcinoma)."""
    if finding.negated != claimed.negated or (claimed.uncertain and not finding.uncertain):
        return False
    if finding.laterality and claimed.laterality and finding.laterality != claimed.laterality:
        return claimed.laterality == "bilateral"
    less = set(finding.value.split()) <= set(claimed.value.split())
    return finding.value in (claimed.value, "present") or (finding.name in DIAGNOSES and less)


# ---- words and numbers -----------------------------------------------------------------------


def _stem(word: str) -> str:
    """A word without the ending of a plural or participle, and with one spelling of tumour."""
    word = word.lower().replace("tumour", "tumor").replace("haem", "hem").replace("oedem", "edem")
    for ending in ("ation", "ated", "ating", "ates", "ing", "ed", "es", "ic", "al", "ly", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


_GLUE_STEMS = frozenset(_stem(word) for word in _GLUE)
_TUMOR_STEMS = frozenset(_stem(word) for word in _TUMOR)


def _foreign_words(text: str, report: str, fields: Fields) -> Iterator[str]:
    values = " ".join(
        [finding.value for finding in fields.findings]
        + [name.replace("_", " ") for name in NAMES if fields.of(name)]
    )
    if fields.of("tils"):
        values += " lymphocytes lymphocytic infiltrate tumor-infiltrating few dense TILs"
    known = {_stem(word) for word in _WORD.findall(f"{report} {values}")} | _GLUE_STEMS
    foreign = [word for word in _WORD.findall(text) if _stem(word) not in known]
    if foreign:
        yield f"{len(foreign)} of its words are not in the report"
    numbers = set(_NUMBER.findall(f"{report} {values}"))
    if set(_NUMBER.findall(text)) - numbers:
        yield "a number is not in the report"


# ---- negation --------------------------------------------------------------------------------


def _flipped(text: str, rest: str, report: str) -> Iterator[str]:
    """Negations of a text that are not the report's; ``rest`` is the text without its findings."""
    reported = _states(report, report)
    for start, end in iter_sentences(text):
        claimed = _states(text[start:end], rest[start:end])
        for stem, states in claimed.items():
            if True in states and reported.get(stem) == {False}:
                yield "it denies what the report affirms"
            # that there is a tumor is the diagnosis, which was judged before
            if False in states and reported.get(stem) == {True} and stem not in _TUMOR_STEMS:
                yield "it affirms what the report denies"
        denied = {stem for stem, states in claimed.items() if True in states}
        # "no tumor" alone is true of a margin and a lie of the tissue
        if denied and denied <= _TUMOR_STEMS:
            yield "it denies the tumor without saying where"


def _states(text: str, shown: str) -> dict[str, set[bool]]:
    """Stem of each word of ``shown`` -> whether ``text`` denies it; both where it does both."""
    states: dict[str, set[bool]] = defaultdict(set)
    for start, end in iter_sentences(text):
        for match in _WORD.finditer(shown, start, end):
            stem = _stem(match.group())
            if stem not in _GLUE_STEMS or stem in _TUMOR_STEMS:
                first, last = match.start() - start, match.end() - start
                states[stem].add(is_negated(text[start:end], first, last))
    return states
