"""De-identified text: patterns take away what identifies, then an allow-list decides what stays.

The allow-list fails closed. A word passes only if the lexicon of pathology reports holds it, a
number only where it measures, grades, stages, counts or scores something. Words that are names as
well (Brown, Bloom, Stone) are judged by their company. Where something was taken out of a clause
that then tells of no finding, the clause goes too, so that no hole and no placeholder remains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from crafts.captions.cleaning import (
    ANY_GAP,
    GAP,
    HOLE,
    LOST,
    TracedText,
    clean,
    iter_sentences,
    tidy_spaces,
)
from crafts.captions.scrubbing.identifiers import (
    PATTERNS,
    PROTECTED,
    find_names,
    is_shouted,
)
from crafts.captions.scrubbing.instructions import find_instructions
from crafts.captions.scrubbing.marks import find_marks
from crafts.captions.scrubbing.quantities import find_quantities
from crafts.captions.scrubbing.trust import find_doubtful, find_tainted
from crafts.captions.vocabulary import load_lexicon


@dataclass(frozen=True)
class Scrubbed:
    """A report without identifiers.

    Attributes:
        traced: the text that is left, each character with its place in the source.
        removed: kind of identifier -> how many were taken out; "word" counts words and numbers
            that the allow-list did not let pass. What they were is kept nowhere.
    """

    traced: TracedText
    removed: Mapping[str, int]

    @property
    def text(self) -> str:
        """The text that is left."""
        return self.traced.text

    @property
    def flagged(self) -> bool:
        """Whether the report held sentences that speak to somebody instead of telling of tissue."""
        return "instruction" in self.removed


def scrub(report: str | TracedText) -> Scrubbed:
    """Take everything out of a report that may identify someone or that addresses a machine.

    Args:
        report: source text, cleaned first, or a text that
            :func:`crafts.captions.cleaning.clean` returned.
    """
    traced = clean(report) if isinstance(report, str) else report
    traced = traced.replace(_LABELS, " ")
    removed: Counter[str] = Counter()
    # marks before instructions: <PATIENT> is a mark, no tag
    for find in (find_marks, find_instructions, _find_patterns, find_names):
        spans = find(traced.text)
        if find in (find_marks, find_instructions):
            spans = _with_what_they_deny(traced.text, spans)
        spans = _merge(spans)
        removed.update(kind for _, _, kind in spans)
        if find is find_instructions:
            tainted = find_tainted(traced.text, [(start, end) for start, end, _ in spans])
            spans = _merge([*spans, *((*span, "instruction") for span in tainted)])
        traced = traced.edit([(start, end, _gap(kind)) for start, end, kind in spans])
    # what does not parse as a finding, while the words that tell so are still there
    doubts = find_doubtful(traced.text, _refused(traced.text))
    doubtful = tuple((*traced.source_span(a, b), doubt) for a, b, doubt in doubts)
    traced = replace(traced, doubtful=doubtful)
    traced, count = _apply_allow_list(traced)
    removed["word"] += count
    traced = _close_gaps(traced)
    # closing gaps brings words together; what is not allowed beside its new neighbours goes too
    while _refused(traced.text):
        traced, count = _apply_allow_list(traced)
        removed["word"] += count
        traced = _close_gaps(traced)
    return Scrubbed(traced, dict(sorted((+removed).items())))


def disallowed(text: str) -> tuple[str, ...]:
    """The pieces of a text that would not pass, in order; () for a clean text.

    For checking what somebody else wrote, such as the answer of a language model.
    """
    found: list[tuple[int, int, str]] = []
    for find in (find_marks, find_instructions, _find_patterns, find_names):
        found += find(text)
    found += [(*match.span(), "word") for match in _FOREIGN.finditer(text)]
    found += [(start, end, "word") for start, end in _refused(text)]
    return tuple(text[start:end] for start, end, _ in _merge(found))


_FOREIGN = re.compile(r"[^\x20-\x7e\n]+|={3,}")


_LABELS = re.compile(
    r"(?m)^[ ]*(?:[A-Z]|\d{1,2}|[A-Z]\d)\s?(?:[.)]\s*[A-Z]\s?)?[.):](?=\s|$)|#\s?\d+[A-Z]?\b"
    r"|(?<=[.;:]\s)[A-H][.)](?=[ ][A-Z])|(?<=[.;]\s)[1-9][.)](?=[ ][A-Z])|\bn/a\b"
)
"""Numbers and letters of items ("A.", "#1"): they order a list and say nothing else."""


def _gap(kind: str) -> str:
    return GAP if kind in ("name", "place", "address", "mark") else HOLE


def _with_what_they_deny(
    text: str, spans: list[tuple[int, int, str]]
) -> list[tuple[int, int, str]]:
    """Spans that hold a negation take their sentences along: "<no> carcinoma" must not affirm."""
    found = list(spans)
    for first, last, kind in spans:
        if _NEGATION.search(text, first, last):
            sentences = iter_sentences(text)
            found += [(a, b, kind) for a, b in sentences if a < last and first < b]
    return found


def _find_patterns(text: str) -> list[tuple[int, int, str]]:
    return [
        (match.start(), match.end(), kind)
        for kind, pattern in PATTERNS
        for match in pattern.finditer(text)
    ]


def _merge(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(spans):
        if start >= end:
            continue
        if merged and start < merged[-1][1]:
            first, last, old = merged[-1]
            merged[-1] = (first, max(last, end), old)
        else:
            merged.append((start, end, kind))
    return merged


# ---- words -----------------------------------------------------------------------------------

_TOKEN = re.compile(r"[A-Za-z\d]+(?:'[A-Za-z]{1,2}\b)?|[\ue000-\ue002]")
_JOINED_BY = re.compile(r"[ ,.'&-]{0,3}")


@dataclass
class _Token:
    """One word or number and what is decided of it."""

    start: int
    end: int
    word: str
    kept: bool
    kind: str


def _tokens(text: str) -> list[_Token]:
    lexicon = load_lexicon()
    allowed = find_quantities(text)
    tokens = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        bare = re.sub(r"'s?$|'[A-Z]$", "", word).lower()
        kind = lexicon.kind(bare) if bare.isalpha() else ""
        inside = allowed[match.start()] and allowed[match.end() - 1]
        if _is_gap(word):
            kept = False
        elif inside and (not word.isalpha() or kind or len(word) <= 8):
            # within a measure: digits, and the letters of stages and markers, not any long word
            kept, kind = True, "term"
        elif len(bare) == 1:
            kept = bare == "a" and not _is_label(text, match)
        else:
            kept = bool(kind)
        tokens.append(
            _Token(match.start(), match.end(), word if _is_gap(word) else bare, kept, kind)
        )
    _judge_eponyms(text, tokens)
    return tokens


def _is_gap(word: str) -> bool:
    return word in (GAP, HOLE, LOST)


def _is_label(text: str, match: re.Match[str]) -> bool:
    return match.group() == "A" and text[match.end() : match.end() + 1] in (".", ":", ")")


def _judge_eponyms(text: str, tokens: list[_Token]) -> None:
    """Let a name pass in the company that makes a term of it (Paget disease, not Dr Paget)."""
    lexicon = load_lexicon()
    for i, token in enumerate(tokens):
        company = lexicon.eponyms.get(token.word)
        if company is None:
            continue
        after, before = _neighbor(tokens, i, 1), _neighbor(tokens, i, -1)
        fits = (
            after is not None
            and _beside(text, token, after)
            and (
                after.word in company
                or ("*" in company and lexicon.kind(after.word) == "term")
                or ("#" in company and re.fullmatch(r"\d{1,2}", after.word) is not None)
            )
        )
        fits = fits or (
            before is not None and _beside(text, before, token) and "<" + before.word in company
        )
        token.kept, token.kind = fits, "term" if fits else ""


def _neighbor(tokens: list[_Token], index: int, step: int) -> _Token | None:
    """The next word on a side, an "and" between two names not counted."""
    index += step
    if 0 <= index < len(tokens) and tokens[index].word == "and":
        index += step
    return tokens[index] if 0 <= index < len(tokens) else None


def _beside(text: str, left: _Token, right: _Token) -> bool:
    return re.fullmatch(r"[\s'/:(,-]{0,3}(?:and )?", text[left.end : right.start]) is not None


def _refused(text: str) -> list[tuple[int, int]]:
    """Spans of the words and numbers of a text that may not stay, judged until nothing changes."""
    tokens = _tokens(text)
    _judge_by_company(text, tokens)
    return [(t.start, t.end) for t in tokens if not t.kept and not _is_gap(t.word)]


def _judge_by_company(text: str, tokens: list[_Token]) -> None:
    """Refuse words that are names as well where they stand like names."""
    also_names = load_lexicon().also_names
    shouted = {}
    for index, token in enumerate(tokens):
        line = text.rfind("\n", 0, token.start)
        if line not in shouted:
            end = text.find("\n", line + 1)
            shouted[line] = is_shouted(text[line + 1 : end if end >= 0 else len(text)])
        if not token.kept or token.word not in also_names or shouted[line]:
            continue
        if _is_proper(text, tokens, index):
            token.kept = False
    changed = True
    while changed:
        changed = False
        for index, token in enumerate(tokens):
            line = text.rfind("\n", 0, token.start)
            if token.kept and _joins_a_name(text, tokens, index, shouted[line]):
                token.kept, changed = False, True


def _is_proper(text: str, tokens: list[_Token], index: int) -> bool:
    """A capital within a sentence: 'reviewed with Brown', not 'Brown tissue'."""
    token = tokens[index]
    if not text[token.start : token.end].istitle() or token.kind == "term" or index == 0:
        return False
    before = tokens[index - 1]
    between = text[before.end : token.start]
    return between == " " and text[before.start].islower()


def _joins_a_name(text: str, tokens: list[_Token], index: int, shouted: bool) -> bool:
    """Beside a refused capitalised word, a capitalised word that may be a name is one."""
    token = tokens[index]
    written = text[token.start : token.end]
    if not written[0].isupper():
        return False
    if token.word in PROTECTED:
        return False
    may_be = token.word in load_lexicon().also_names
    if not shouted:
        sentence_start = re.search(r"(?:^|[\n.:])\W*$", text[max(token.start - 4, 0) : token.start])
        may_be = may_be or (token.kind == "common" and not sentence_start)
    if not may_be:
        return False
    for other in tokens[max(index - 1, 0) : index] + tokens[index + 1 : index + 2]:
        left, right = (other, token) if other.start < token.start else (token, other)
        near = _JOINED_BY.fullmatch(text[left.end : right.start])
        if near and not other.kept and _was_a_name(text, other, beside_term=token.kind == "term"):
            return True
    return False


def _was_a_name(text: str, token: _Token, *, beside_term: bool) -> bool:
    """A word of pathology gives way to a known name only, other words to any unknown one."""
    written = text[token.start : token.end]
    if written == GAP:
        return True
    unknown = written == LOST or (written[0].isupper() and written.isalpha())
    return unknown and not beside_term


def _apply_allow_list(traced: TracedText) -> tuple[TracedText, int]:
    refused = _refused(traced.text)
    edits = []
    for start, end in refused:
        word = traced.text[start:end]
        edits.append((start, end, LOST if word[0].isupper() and word.isalpha() else HOLE))
    return traced.edit(edits), len(refused)


# ---- what is left reads well -----------------------------------------------------------------

_LINKS = (
    r"(?:by|at|from|of|on|with|to|in|into|for|per|as|and|or|the|a|an|are|is|was|were|this|these|"
    r"via|"
    r"under|see|see also|also|than|versus|between|about|within|both|approximately|including)"
)
_AROUND_GAP = re.compile(
    rf"(?:\b{_LINKS}\b[ ,]*)*[#'\"]?{ANY_GAP}(?:[\s'\".,/#&+*-]*{ANY_GAP})*(?:'s)?",
    re.IGNORECASE,
)
_GAPS = re.compile(ANY_GAP)
_SEGMENT = re.compile(r"[^,:()\[\]\n]+")
_NEGATION = re.compile(
    r"\b(?:no|not|non|without|negative|free|absent|none|never|neither|nor)\b", re.IGNORECASE
)
_PUNCTUATION = (
    (re.compile(r"[^\x20-\x7e\n]"), ""),
    (re.compile(r"[\\{}|~^`_@$]|\*+|#+|<(?!\s?\d)|>(?!\s?\d)|={2,}|\+{2,}|&(?!\s?E)|\"+"), ""),
    (re.compile(r"[(\[][\s,.;:/+-]*[)\]]"), ""),
    (re.compile(r"(?m)(?<=[(\[])[\s,.;:]+|[\s,.;:/-]+(?=[)\]])"), ""),
    (re.compile(r"(?m)^[\s,.;:)\]/+='-]+(?!\d)"), ""),
    (re.compile(r"[ ]+(?=[,;:.])|(?<=[,;:])[,;:]+|(?<=[.])[,;:]+|[,;:/]+(?=\.(?!\d))"), ""),
    (re.compile(r"(?m)(?:[\s,/(\[=]|(?<=\s)-)+$|(?<=[.;])[ ]*[.;]+"), ""),
    (re.compile(r"(?<![\w)%+])-(?=\s)|(?<=\s)[/'](?=\s)|'(?=\s)|(?<=\s)'"), ""),
)


def _close_gaps(traced: TracedText) -> TracedText:
    edits: list[tuple[int, int, str]] = []
    for start, end in iter_sentences(traced.text):
        if _GAPS.search(traced.text, start, end):
            edits.extend(_mend_sentence(traced.text, start, end))
    traced = traced.edit(edits)
    traced = traced.replace(_AROUND_GAP, " ")
    for pattern, replacement in _PUNCTUATION:
        traced = tidy_spaces(traced.replace(pattern, replacement))
    return tidy_spaces(traced.replace(_LINE, _without_idle_label))


_LINE = re.compile(r"(?m)^.+$")
_HEADING = re.compile(
    r"diagnos|comment|descri|microscop|gross|note|specimen|finding|impression|result|summary|synop",
    re.IGNORECASE,
)


def _without_idle_label(match: re.Match[str]) -> str | None:
    """Drop a label whose value went ("Material received on:") and that heads nothing."""
    line = match.group()
    idle = re.search(rf"(?::|\b{_LINKS})$|\bNo\.$", line, re.IGNORECASE) and not _tells(line)
    return "" if idle and not _HEADING.search(line) else None


def _mend_sentence(text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """Take out the segments that lost something and tell of nothing, or the whole sentence."""
    sentence = text[start:end]
    gaps = len(_GAPS.findall(sentence))
    words = len(re.findall(r"[A-Za-z]{2,}", sentence))
    if not _tells(sentence) or (gaps >= 4 and gaps > 1.5 * words):
        return [(start, end, "")]
    edits = []
    for match in _SEGMENT.finditer(sentence):
        segment = match.group()
        # a negation governs what follows its segment: it stays, so that "no ..., carcinoma" never
        # turns into "carcinoma"
        if not _GAPS.search(segment) or _tells(segment) or _NEGATION.search(segment):
            continue
        edits.append((start + match.start(), start + match.end(), GAP))
    return edits


def _tells(text: str) -> bool:
    """Whether a piece of text holds a word of pathology."""
    lexicon = load_lexicon()
    return any(
        lexicon.kind(word) == "term" and len(word) > 1 for word in re.findall(r"[A-Za-z]+", text)
    )
