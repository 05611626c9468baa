"""Read the findings of a report, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crafts.captions.cleaning import TracedText, clean, iter_sentences, line_around
from crafts.captions.findings.benign import find_benign
from crafts.captions.findings.concepts import (
    ABBREVIATION,
    HEAD,
    PHRASE,
    PROCEDURES,
    SITES,
    Diagnosis,
    read_abbreviation,
    read_phrase,
)
from crafts.captions.findings.fields import DIAGNOSES, Fields, Finding, without_doubtful
from crafts.captions.findings.measures import (
    Hit,
    find_grades,
    find_ki67,
    find_receptors,
    find_sizes,
    find_stages,
)
from crafts.captions.findings.negation import is_negated
from crafts.captions.findings.tissue import find_margins, find_nodes, find_tissue


@dataclass(frozen=True)
class _Sentence:
    """A sentence with what its heading says."""

    start: int
    text: str
    side: str
    in_node: bool
    uncertain: bool


def extract_fields(report: str | TracedText) -> Fields:
    """Read the findings of a report.

    Args:
        report: source text, which is cleaned first, or the ``traced`` text of a scrubbed report;
            spans are those of the source in either case.
    """
    traced = clean(report) if isinstance(report, str) else report
    findings: list[Finding] = []
    previous: _Sentence | None = None
    for sentence in _iter_sentences(traced.text):
        for hit in _hits(sentence, previous):
            findings.append(_finding(traced, sentence, hit))
        previous = sentence
    if traced.doubtful:
        findings = without_doubtful(findings, traced.doubtful)
    findings.extend(_sides(traced, findings))
    return Fields(tuple(sorted(set(findings), key=lambda f: (f.start, f.end, f.name, f.value))))


def _sides(traced: TracedText, findings: list[Finding]) -> list[Finding]:
    """Laterality of the report: the side of what weighs most, else the first side it names."""
    sided = [f for f in findings if f.laterality and not f.negated and not f.uncertain]
    sided.sort(key=lambda f: (_SIDE_ORDER.index(f.name) if f.name in _SIDE_ORDER else 9, -f.weight))
    if sided and sided[0].name in _SIDE_ORDER:
        best = sided[0]
        side, span, sentence = best.laterality, (best.start, best.end), best.sentence
    else:
        match = _SIDE.search(traced.text)
        if match is None:
            return []
        side, span = _SIDES[match.group()[0].lower()], traced.source_span(*match.span())
        sentence = line_around(traced.text, match.start())
    return [Finding("laterality", side, False, False, side, *span, sentence, 1)]


_SIDE_ORDER = ("histology", "in_situ", "site", "size", "procedure", "finding")


# ---- sentences and headings ------------------------------------------------------------------


def _table(names: dict[str, str]) -> re.Pattern[str]:
    """One group a name, for text in lower case: ignoring case would cost four times as much."""
    words = (rf"(?P<n{i}>(?:{words.lower()})\b)" for i, words in enumerate(names.values()))
    return re.compile(rf"\b(?:{'|'.join(words)})")


_SITE, _PROCEDURE = _table(SITES), _table(PROCEDURES)
_SITE_NAMES, _PROCEDURE_NAMES = tuple(SITES), tuple(PROCEDURES)
_SIDE = re.compile(r"\b(left|right|bilateral|sinistr\w+|dextr\w+|lt|rt)\b", re.IGNORECASE)
_SIDES = {"s": "left", "d": "right", "l": "left", "r": "right", "b": "bilateral"}
_HEADING = re.compile(r"^(?P<title>[^:\n]{3,140}?)(?::|\s-\s|$)")
_SECTION = re.compile(
    r"^\W*(?:final |clinical |gross |microscopic |histopathological |pathologic(?:al)? )*"
    r"(?:diagnos[ie]s|comments?|note|description|history|information|addendum|synop\w*)\b",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(
    r"differential diagnos|rule out|r/o\b|not (?:\w+ )?(?:excluded|ruled out)|"
    r"cannot (?:be )?exclude|\bhistory of|clinical (?:diagnosis|history|information|impression)|"
    r"pre-?operative diagnosis|\bquery\b|\?|suspicio\w+|\bsuspect\w*|\bconsider\b|"
    r"\bpossib(?:le|ly)|\bunlikely|\bimprobable|\bdoubt(?:ful)?\b|"
    r"favou?r(?:ed|s)?\b|\bsuggest\w*|\bversus\b|\bvs\b|previous(?:ly)? (?:diagnos|biops)",
    re.IGNORECASE,
)


_PAST = re.compile(
    r"\bhistory of|clinical (?:diagnosis|history|information|impression)|"
    r"pre-?operative diagnosis|previous(?:ly)? (?:diagnos|biops)",
    re.IGNORECASE,
)


def _iter_sentences(text: str) -> Iterator[_Sentence]:
    side, in_node, clinical = "", False, False
    for start, end in iter_sentences(text):
        sentence = text[start:end]
        title = _HEADING.match(sentence)
        words = title["title"] if title else ""
        if words and _SECTION.match(words):
            clinical = bool(re.search(r"clinical|history", words, re.IGNORECASE))
            side, in_node = ("", False) if sentence.endswith(":") else (side, in_node)
        lower = words.lower()
        if _SITE.search(lower) and (sentence.endswith(":") or _PROCEDURE.search(lower)):
            side = _side_of(words)
            in_node = bool(re.search(r"\bnodes?\b|axillary contents", words, re.IGNORECASE))
            in_node = in_node and not re.search(r"breast", words, re.IGNORECASE)
            clinical = False
        yield _Sentence(start, sentence, side, in_node, clinical)


def _side_of(text: str) -> str:
    found = {_SIDES[match.group(1)[0].lower()] for match in _SIDE.finditer(text)}
    if found == {"left", "right"} or "bilateral" in found:
        return "bilateral"
    return found.pop() if found else ""


# ---- side and place of one hit ----------------------------------------------------------------


def _side_near(sentence: _Sentence, start: int, end: int) -> str:
    """The side that is said nearest in the sentence, else that of the heading."""
    best, distance = "", 10_000
    for match in _SIDE.finditer(sentence.text):
        gap = start - match.end() if match.end() <= start else (match.start() - end) + 5
        if gap < distance:
            best, distance = _SIDES[match.group(1)[0].lower()], gap
    return best or sentence.side


def _finding(traced: TracedText, sentence: _Sentence, hit: Hit) -> Finding:
    text = sentence.text
    negated = hit.negated if hit.negated is not None else is_negated(text, hit.start, hit.end)
    uncertain = hit.uncertain or (sentence.uncertain and hit.name in DIAGNOSES)
    uncertain = uncertain or (hit.name in _OF_THIS and bool(_EARLIER.search(text)))
    start, end = traced.source_span(sentence.start + hit.start, sentence.start + hit.end)
    side = "" if hit.name in _SIDELESS else _side_near(sentence, hit.start, hit.end)
    past = sentence.uncertain or _PAST.search(text, 0, hit.start) is not None
    return Finding(
        hit.name, hit.value, negated, uncertain, side, start, end, text, hit.weight, past
    )


_OF_THIS = frozenset(
    {"lymphovascular_invasion", "perineural_invasion", "necrosis", "tils", "margins"}
)
_EARLIER = re.compile(
    r"\b(?:previous|prior|earlier|outside) (?:\w+ )?(?:biops|specimen|resection)", re.IGNORECASE
)
_SIDELESS = frozenset({"er", "pr", "her2", "ki67", "t_stage", "n_stage", "m_stage"})


# ---- what a sentence says --------------------------------------------------------------------


def _hits(sentence: _Sentence, previous: _Sentence | None) -> Iterator[Hit]:
    text = sentence.text
    yield from _diagnoses(sentence)
    yield from _named(text, "site", _SITE, _SITE_NAMES)
    yield from _named(text, "procedure", _PROCEDURE, _PROCEDURE_NAMES)
    finders: tuple[Callable[[str], Iterator[Hit]], ...] = (
        find_grades,
        find_stages,
        find_sizes,
        find_ki67,
        find_margins,
        find_nodes,
        find_tissue,
        find_benign,
    )
    for find in finders:
        yield from find(text)
    yield from find_receptors(text, previous.text if previous else "")


# a lymph node is where a tumour went, the skin what lies over it
_MINOR = frozenset(
    ("lymph node", "soft tissue", "excision", "biopsy", "resection")
    + ("sentinel node biopsy", "lymph node dissection")
)


_LEADING = re.compile(r"(?:^|[:.]\s)\W*(?:\w+ ){0,2}$")


def _named(text: str, name: str, pattern: re.Pattern[str], names: tuple[str, ...]) -> Iterator[Hit]:
    for match in pattern.finditer(text.lower()):
        value = names[int((match.lastgroup or "n0")[1:])]
        weight = 0 if value in _MINOR else 1 if value == "skin" else 2
        weight += 1 if _LEADING.search(text[: match.start()]) else 0
        yield Hit(name, value, match.start(), match.end(), weight, negated=False)


def _diagnoses(sentence: _Sentence) -> Iterator[Hit]:
    text = sentence.text
    uncertain = bool(_UNCERTAIN.search(text))
    for match in PHRASE.finditer(text.lower()) if HEAD.search(text) else ():
        start, end = _trimmed(match)
        for diagnosis in read_phrase(match):
            yield _diagnosis_hit(diagnosis, (start, end), sentence, uncertain)
    for match in ABBREVIATION.finditer(text):
        if match.group().isupper():
            yield _diagnosis_hit(
                read_abbreviation(match.group()), match.span(), sentence, uncertain
            )


_IN_PASSING = re.compile(r"\bmargins?\b|\bnodes?\b|\binvasion\b", re.IGNORECASE)


def _diagnosis_hit(
    diagnosis: Diagnosis, span: tuple[int, int], sentence: _Sentence, uncertain: bool
) -> Hit:
    # what a node holds is the same tumour told less well
    weight = diagnosis.weight + (20 if diagnosis.malignant else 0)
    passing = diagnosis.weight == 0 and _IN_PASSING.search(sentence.text) is not None
    weight -= 15 if diagnosis.metastatic or sentence.in_node or passing else 0
    return Hit(diagnosis.field, diagnosis.value, *span, weight, uncertain=uncertain)


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    """The span of a phrase without the blanks and joining words at its rims."""
    phrase = match.group()
    lead = re.match(r"(?:\s|,|-|/|&|\b(?:and|or|to|of|the|an?|with|for)\b)*", phrase, re.IGNORECASE)
    tail = re.search(r"(?:\s|,|\(|\b(?:and|with)\b)*$", phrase, re.IGNORECASE)
    start = match.start() + (lead.end() if lead else 0)
    end = match.end() - (len(tail.group()) if tail else 0)
    return (start, end) if start < end else match.span()
