"""Findings of a report as short statements, and as many of them as fit into a number of tokens.

What can be seen in a tile comes first: diagnosis with organ and side, grade, in situ component,
lymphocytes, necrosis, vessels and nerves, then sentences that describe cells and stroma. What a
picture cannot show (receptors, stage, margins) fills what is left. Statements are whole or absent,
so that no negation is ever cut from what it governs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crafts.captions.cleaning import iter_sentences
from crafts.captions.findings.benign import is_benign
from crafts.captions.findings.fields import Fields, Finding
from crafts.captions.findings.support import names_only
from crafts.captions.privacy import disallowed
from crafts.core.protocols import CountTokens


@dataclass(frozen=True)
class Clause:
    """One statement.

    Attributes:
        name: field that it tells of; "stage" and "receptors" hold several, "sentence" none.
        text: wording, without the stop at its end.
    """

    name: str
    text: str


def extract_summary(text: str, fields: Fields, *, tokens: int, count: CountTokens) -> str:
    """The most telling statements of a report that fit; deterministic, offline.

    Args:
        text: a scrubbed report.
        fields: its findings.
        tokens: budget, special tokens included, at least :data:`MIN_TOKENS`.
        count: tokens of a text, special tokens included.

    Returns:
        The summary; "" where nothing visible is said, where not even the last word of the diagnosis
        fits, or where what is left would not pass :func:`crafts.captions.privacy.disallowed`.
    """
    chosen: list[Clause] = []
    for variant in _diagnosis_variants(fields):
        if _fits([variant], tokens, count):
            chosen = [variant]
            break
    if not chosen and fields.diagnosis is not None:
        return ""
    for clause in (*_clauses(fields, negated=False), *_later(text, fields)):
        if _adds(clause, chosen) and _fits([*chosen, clause], tokens, count):
            chosen.append(clause)
    # statements were judged beside one neighbour; what counts is the whole
    while chosen and disallowed(join(chosen)):
        chosen.pop()
    return join(chosen)


def _adds(clause: Clause, chosen: Sequence[Clause]) -> bool:
    """Whether a sentence describes something that no statement before it names."""
    if clause.name != "sentence":
        return True
    return bool(_morphology(clause.text) - _morphology(join(chosen)))


def _later(text: str, fields: Fields) -> Iterator[Clause]:
    yield from _clauses(fields, negated=True)
    for sentence in visible_sentences(text):
        if names_only(sentence, fields):  # a diagnosis that is in doubt is not quoted either
            yield Clause("sentence", sentence)
    yield from _unseen(fields)


def _fits(clauses: Sequence[Clause], tokens: int, count: CountTokens) -> bool:
    return count(join(clauses)) <= tokens and not disallowed(join(clauses[-2:]))


def join(clauses: Sequence[Clause]) -> str:
    """Statements as sentences: capital first, a stop behind each."""
    return " ".join(f"{clause.text[:1].upper()}{clause.text[1:]}." for clause in clauses)


# ---- the diagnosis ---------------------------------------------------------------------------

_TAIL = re.compile(r"(\S+)(?: in situ)?$")


def _diagnosis_variants(fields: Fields) -> Iterator[Clause]:
    """The diagnosis with side and organ, then ever shorter."""
    diagnosis = fields.diagnosis
    site = fields.best("site")
    if diagnosis is None:
        if site is not None:
            yield Clause("site", _sided(fields, site))
        return
    value = f"possible {diagnosis.value}" if diagnosis.uncertain else diagnosis.value
    if is_benign(value) and (site is None or site.value in value):
        yield Clause("diagnosis", value)  # "benign skin, skin"
    elif site is not None:
        yield Clause("diagnosis", f"{value}, {_sided(fields, site)}")
        yield Clause("diagnosis", f"{value}, {site.value}")
    yield Clause("diagnosis", value)
    if diagnosis.uncertain or is_benign(value):
        return  # a question that lost its question mark would be a finding
    last = _TAIL.search(value)
    while last and value != last.group():
        value = value.split(" ", 1)[1]
        yield Clause("diagnosis", value)


def _sided(fields: Fields, site: Finding) -> str:
    side = fields.best("laterality")
    return f"{side.value} {site.value}" if side is not None else site.value


# ---- findings --------------------------------------------------------------------------------

_TILS = {
    "low": "few tumor-infiltrating lymphocytes",
    "moderate": "moderate lymphocytic infiltrate",
    "high": "dense lymphocytic infiltrate",
    "present": "lymphocytic infiltrate",
}
_VISIBLE = (
    "grade",
    "in_situ",
    "tils",
    "necrosis",
    "lymphovascular_invasion",
    "perineural_invasion",
    "nuclear_grade",
    "finding",
)
_UNSEEN = ("receptors", "ki67", "nottingham_score", "size", "nodes", "stage", "margins")


def _clauses(fields: Fields, *, negated: bool) -> Iterator[Clause]:
    """What can be seen and is said to be there, or said not to be there."""
    diagnosis = fields.diagnosis
    for name in _VISIBLE:
        best = fields.best(name)
        if best is None or best.uncertain or best.negated != negated:
            continue
        if name == "finding" and (is_benign(best.value) or _is_finding(diagnosis)):
            continue
        if negated and name == "grade":  # "no high-grade dysplasia" tells of no grade
            continue
        if diagnosis is None or (best.name, best.value) != (diagnosis.name, diagnosis.value):
            yield Clause(name, f"no {_words(best)}" if negated else _words(best))
    if _is_finding(diagnosis) or diagnosis is None:
        yield from _benign_clauses(fields, negated)


def _is_finding(diagnosis: Finding | None) -> bool:
    return diagnosis is not None and diagnosis.name == "finding"


def _benign_clauses(fields: Fields, negated: bool) -> Iterator[Clause]:
    """Where nothing worse was found: all findings, and what was ruled out."""
    named = {fields.diagnosis.value} if fields.diagnosis else set()
    if negated and fields.rules_out_malignancy:
        best = fields.best("histology") or fields.best("in_situ")
        yield Clause("finding", f"no {best.value if best else 'malignancy'}")
    for one in fields.of("finding"):
        if one.negated and is_benign(one.value):
            continue  # "not benign" names no disease
        if one.negated == negated and not one.uncertain and not one.past and one.value not in named:
            named.add(one.value)
            yield Clause("finding", f"no {one.value}" if negated else one.value)


def _words(finding: Finding) -> str:
    if finding.name == "tils":
        return "lymphocytic infiltrate" if finding.negated else _TILS[finding.value]
    if finding.name == "nuclear_grade":
        worded = finding.value.isalpha()
        return f"{finding.value} nuclear grade" if worded else f"nuclear grade {finding.value}"
    return finding.value


def _unseen(fields: Fields) -> Iterator[Clause]:
    """What only the report knows."""
    for name in _UNSEEN:
        if text := _report_words(fields, name):
            yield Clause(name, text)


def _report_words(fields: Fields, name: str) -> str:
    if name == "receptors":
        labels = (("er", "ER"), ("pr", "PR"), ("her2", "HER2"))
        return ", ".join(f"{shown} {value}" for key, shown in labels if (value := _of(fields, key)))
    if name == "stage":
        stages = [_of(fields, f"{letter}_stage") for letter in "tnm"]
        return "stage p" + " ".join(filter(None, stages)) if stages[0] else ""
    value = _of(fields, name)
    shapes = {
        "ki67": "Ki-67 {}",
        "nottingham_score": "Nottingham score {}",
        "size": "tumor size {}",
        "nodes": "lymph nodes {}",
        "margins": "margins {}",
    }
    return shapes[name].format(value) if value else ""


def _of(fields: Fields, name: str) -> str:
    best = fields.best(name)
    return "" if best is None or best.negated or best.uncertain else best.value


# ---- sentences -------------------------------------------------------------------------------

_MORPHOLOGY = re.compile(
    r"\b(?:nests?|trabecula\w*|glands?|glandular|sheets?|cords|papilla\w*|cribriform|solid|tubul\w+"
    r"|strom\w+|desmoplas\w+|fibro\w+|hyalin\w+|collagen\w*|fat|adipose|nucle\w+|chromatin"
    r"|hyperchrom\w+|pleomorph\w+|cytoplasm\w*|eosinophil\w*|basophil\w*|vacuol\w+|mitos[ei]s"
    r"|mitotic|apopto\w+|necro\w+|lymphocyt\w+|lympho\w+|plasma|inflamm\w+|infiltrat\w+"
    r"|macrophages?|hemorrhag\w+|hemosiderin\w*|mucin\w*|keratin\w*|calcif\w+|psammom\w+"
    r"|metaplasia|hyperplasia|dysplasia|atypi\w+|spindle\w*|epitheli\w+|squamous|apocrine"
    r"|myxoid|edema\w*|vascular\w*|vessels?|gliosis|multinucleated|signet|clefts?|lumen\w*)\b",
    re.IGNORECASE,
)
_NOT_VISIBLE = re.compile(
    r"\b(?:cm|mm|gross\w*|received|formalin|specimens?|cut surface|cassettes?|submitted|blocks?"
    r"|section(?:ed|ing)|weigh\w*|inked?|sutures?|immuno\w+|stains?|biops\w+|margins?|nodes?"
    r"|patients?|diagnos\w+|history|clinical\w*|differential|rule out|excluded?|suspicio\w+"
    r"|possib\w+|favou?r\w*|suggest\w*|consistent|versus|previous\w*|prior|outside|report\w*"
    r"|tan|firm|grade[ds]?|score[ds]?|stage)\b|\?",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"^\W*(?:(?P<unseen>clinical|gross|macroscopic|history|pre-?operative|specimens?)|final|micro"
    r"|diagnos|comment|note)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:(?:the )?(?:sections?|slides?|microscopic examination|examination) (?:shows?|reveals?"
    r"|demonstrates?|displays?)|there (?:is|are)|(?:this|it) (?:is|shows?)) ",
    re.IGNORECASE,
)
_ENDING = re.compile(r",? (?:is|are) (?:also )?(?:seen|noted|identified|present|observed)$", re.I)
_NEGATION = re.compile(r"\b(?:no|not|never|without|none|neither|nor|absent|negative|free)\b", re.I)
_MOST = 6


def visible_sentences(text: str) -> list[str]:
    """Sentences that describe what a tile may show, shortened; most telling first.

    Sentences of clinical and gross sections, of questions, sizes and handling are left out. Only
    openings ("Sections show") and endings ("are seen") are cut, and these never from a sentence
    that denies something.
    """
    found: dict[str, int] = {}
    unseen = False
    for start, end in iter_sentences(text):
        sentence = text[start:end]
        title = _TITLE.match(sentence) if ":" in sentence[:60] else None
        unseen = bool(title["unseen"]) if title else unseen
        num_words = len(_morphology(sentence))
        if unseen or num_words < 2 or _NOT_VISIBLE.search(sentence):
            continue
        found.setdefault(_shortened(sentence), num_words)
    order = sorted(found, key=lambda sentence: -found[sentence])
    return [sentence for sentence in order if len(sentence.split()) >= 3][:_MOST]


def _morphology(text: str) -> set[str]:
    """Words of morphology, one of a family (fibrosis, fibrous) for all."""
    return {match.group().lower()[:6] for match in _MORPHOLOGY.finditer(text)}


def _shortened(sentence: str) -> str:
    _, colon, behind = sentence.partition(": ")
    sentence = (behind if colon else sentence).strip().rstrip(".;, ")
    if sentence.isupper():
        sentence = sentence.lower()
    if not _NEGATION.search(sentence):
        sentence = _ENDING.sub("", _OPENING.sub("", sentence))
    return sentence
