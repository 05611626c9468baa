"""Which parts of a report are believed, where some of it speaks instead of telling of tissue.

A sentence that commands or addresses somebody takes its whole paragraph along (a paragraph is a
line of the cleaned text): what stands beside it was written by the same hand. Two cases are apart.
Where no other paragraph names a disease, what comes before the speech is kept (and what comes
behind it, where the speech itself says the disease that it wants said). And where the parts that
are left contradict each other, one of them is a forgery and nothing tells which: every paragraph
that names a diagnosis goes.

Without such a sentence nothing is removed. But a diagnosis in a sentence that does not parse as a
finding is not read at all; one behind such a sentence counts only where the report names no other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from crafts.captions.cleaning import TracedText, iter_sentences
from crafts.captions.findings.benign import is_benign
from crafts.captions.findings.concepts import ABBREVIATION, HEAD
from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.fields import BEHIND, STRANGE, Finding
from crafts.captions.scrubbing.instructions import is_obliging

Span = tuple[int, int]


def find_tainted(text: str, hits: Sequence[Span]) -> list[Span]:
    """What goes with the sentences of a text that speak.

    Args:
        text: a cleaned report.
        hits: its sentences that speak, [start, end).

    Returns:
        Spans to remove, those of ``hits`` not repeated.
    """
    if not hits:
        return []
    lines = _paragraphs(text)
    struck = [line for line in lines if any(a < line[1] and line[0] < b for a, b in hits)]
    clean = [line for line in lines if line not in struck]
    tainted = struck
    first = min(start for start, _ in hits)
    before = [line for line in clean if line[1] <= first]
    after = [line for line in clean if line[0] > first]
    heads, behind = _split(text, struck, hits)
    if not _names_disease(text, clean):
        before, after = [*before, *heads], [*after, *behind]
        tainted = _tainted_alone(text, struck, hits, heads)
    elif _names_disease(text, heads) and not _names_disease(text, _not_next(lines, struck)):
        # "carcinoma. Forget that.<new line>Melanoma": either may be the forgery
        before = [*before, *heads]
    if _agree(text, before, after):
        return tainted
    return [line for line in lines if line in struck or _names_diagnosis(text, line)]


def _tainted_alone(
    text: str, struck: list[Span], hits: Sequence[Span], heads: list[Span]
) -> list[Span]:
    """What goes where nothing but the paragraphs of a speech names a disease."""
    if _names_disease(text, heads):
        return _without(struck, heads)
    wanted, others = (_asserted(text, spans) for spans in (hits, _split(text, struck, hits)[1]))
    # what the speech wants said stands in it, not behind it
    spent = wanted and not any(_alike(f.value, other.value) for f in wanted for other in others)
    return [] if spent else struck


def _not_next(lines: Sequence[Span], struck: Sequence[Span]) -> list[Span]:
    """Lines without a speech that do not follow one that has."""
    pairs = zip([None, *lines], lines, strict=False)
    return [line for last, line in pairs if line not in struck and last not in struck]


def _paragraphs(text: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"[^\n]+", text)]


def _split(text: str, tainted: Sequence[Span], hits: Sequence[Span]) -> tuple[list[Span], ...]:
    """Sentences of tainted paragraphs before their first speech, and those behind it."""
    heads, behind = [], []
    for start, end in tainted:
        first = min(a for a, b in hits if a < end and start < b)
        for a, b in iter_sentences(text[start:end]):
            sentence = (start + a, start + b)
            if sentence[1] <= first:
                heads.append(sentence)
            elif not any(x < sentence[1] and sentence[0] < y for x, y in hits):
                behind.append(sentence)
    return heads, behind


def _without(spans: Sequence[Span], kept: Sequence[Span]) -> list[Span]:
    """Spans less what is kept at their beginnings."""
    last = {span: max((b for a, b in kept if span[0] <= a < span[1]), default=0) for span in spans}
    return [(max(start, last[start, end]), end) for start, end in spans]


# ---- do they agree ---------------------------------------------------------------------------

_ANY = frozenset({"tumor", "neoplasm", "malignancy", "cancer"})
_LOOSE = frozenset({"metastatic", "invasive", "malignant"})


def _asserted(text: str, spans: Iterable[Span]) -> list[Finding]:
    piece = "\n".join(text[start:end] for start, end in spans)
    found = extract_fields(TracedText.of(piece)).findings
    kinds = ("histology", "in_situ", "finding")
    return [f for f in found if f.name in kinds and not (f.negated or f.uncertain or f.past)]


def _names_diagnosis(text: str, span: Span) -> bool:
    return bool(_asserted(text, [span]))


def _names_disease(text: str, spans: Iterable[Span]) -> bool:
    """Whether a neoplasm or benign tissue is named; other findings stand beside both."""
    return any(f.name != "finding" or is_benign(f.value) for f in _asserted(text, spans))


def _agree(text: str, before: Sequence[Span], after: Sequence[Span]) -> bool:
    """Whether what stands before and behind a speech can be of one report."""
    first, second = _asserted(text, before), _asserted(text, after)
    both = [*first, *second]
    tumors = [f for f in both if f.name != "finding"]
    for a, b in itertools.combinations(tumors, 2):
        together = (a in first) == (b in first)
        if not (_alike(a.value, b.value) or (together and _beside(a, b))):
            return False
    if tumors and any(is_benign(f.value) for f in both):
        return False
    # a worse diagnosis behind the speech than before it was added
    return not first or min(map(_rank, first)) <= min(map(_rank, second), default=9)


def _beside(left: Finding, right: Finding) -> bool:
    """Whether one is named in passing, or in situ, which may stand beside any carcinoma."""
    if "carcinoma" in (left.value, right.value):
        return True
    situ = "in_situ" in (left.name, right.name)
    return situ and "carcinoma" in left.value and "carcinoma" in right.value


def _rank(finding: Finding) -> int:
    return ("histology", "in_situ", "finding").index(finding.name)


def _alike(left: str, right: str) -> bool:
    """Whether two names may be of one tumour: "carcinoma" of a lobular carcinoma."""
    a, b = (set(name.split()) - _LOOSE for name in (left, right))
    if a <= b or b <= a or a <= _ANY or b <= _ANY:
        return True
    short, long = sorted((left.split(), right.split()), key=len)
    return len(set(short) - _LOOSE) == 1 and long[-1].endswith(short[-1])


# ---- sentences that do not parse -------------------------------------------------------------

_CLEFT = re.compile(
    r"(?:^|:\s)\W*(?:what|who|whoever|whatever|why|how|only|nothing|everything)\b", re.I
)
_SYMBOLS = re.compile(r"[@{}`|~^\\]|[<>](?!\s?\d)|_{2}|\*{2}")


def find_doubtful(text: str, foreign: Sequence[Span]) -> list[tuple[int, int, int]]:
    """Sentences that name a disease, and do not parse as findings or stand behind one such.

    Args:
        text: a cleaned report without identifiers.
        foreign: spans of its words that no report needs.

    Returns:
        Spans of sentences with their doubt, [start, end, :data:`STRANGE` or :data:`BEHIND`].
    """
    doubtful, strange_line = [], False
    for start, end in _paragraphs(text):
        strange, strange_line = strange_line, False
        for a, b in iter_sentences(text[start:end]):
            sentence = text[start + a : start + b]
            odd = _is_strange(sentence, start + a, foreign)
            named = HEAD.search(sentence) or ABBREVIATION.search(sentence)
            if named and (odd or is_obliging(sentence) or _CLEFT.search(sentence)):
                doubtful.append((start + a, start + b, STRANGE))
            elif named and strange:
                doubtful.append((start + a, start + b, BEHIND))
            running = len(sentence.split()) >= 3
            strange = strange or (odd and running)
            # a line that ends without a stop is a heading or a form
            strange_line = odd and running and b == end - start and sentence[-1] in ".!:"
    return doubtful


_SHORT = re.compile(r"[A-Z]{2,4}|N[uo]s")


def _is_strange(sentence: str, start: int, foreign: Sequence[Span]) -> bool:
    """Whether a sentence holds signs of no report, or a word of none that is no name."""
    if _SYMBOLS.search(sentence):
        return True
    for first, last in foreign:
        word = sentence[max(first - start, 0) : max(last - start, 0)]
        # a capital behind a small letter is a name, short capitals are an abbreviation
        behind_small = re.search(r"[a-z],? $", sentence[: first - start])
        short = _SHORT.fullmatch(word) and first > start and not sentence.isupper()
        named = (word[:1].isupper() and behind_small) or short
        adverb = word.endswith("ly") and first > start
        if word.isalpha() and len(word) > 1 and not (named or adverb):
            return True
    return False
