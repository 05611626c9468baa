"""Scanned reports made readable, with a map from every character back to the source.

Characters come first (one spelling of dashes, quotes and look-alike letters, nothing invisible),
then formatting tags and the boxes of forms, then words that the scanner split or misread, then
lines: page furniture and form boilerplate go, broken lines are joined, and what remains stands one
statement or item a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crafts.captions.markup import ENTITY, SIGNS, find_unticked, unescape
from crafts.captions.vocabulary import load_lexicon, repair_word

Replacement = str | Callable[[re.Match[str]], str | None]


@dataclass(frozen=True)
class TracedText:
    """A text that knows where each of its characters came from.

    Attributes:
        text: the text as it now reads.
        starts: for each character, where its origin begins in the source.
        ends: for each character, where its origin ends in the source (exclusive).
        doubtful: spans of the source whose diagnoses are in doubt, and how much: (start, end,
            doubt), see :mod:`crafts.captions.scrubbing.trust`.
    """

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    doubtful: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, source: str) -> TracedText:
        """A source text as it is: each character comes from itself."""
        return cls(source, tuple(range(len(source))), tuple(range(1, len(source) + 1)))

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """Span [start, end) of this text -> the smallest span of the source that holds it.

        Raises:
            ValueError: an empty span, or one outside of the text.
        """
        if not 0 <= start < end <= len(self.text):
            raise ValueError(f"span [{start}, {end}) of a text of {len(self.text)} characters")
        return min(self.starts[start:end]), max(self.ends[start:end])

    def replace(self, pattern: re.Pattern[str], replacement: Replacement) -> TracedText:
        """Replace every match; the new characters come from where the match came from.

        Args:
            pattern: what to look for.
            replacement: a literal string, or a function of the match; None keeps the match.
        """
        edits = []
        for match in pattern.finditer(self.text):
            new = replacement if isinstance(replacement, str) else replacement(match)
            if new is not None and new != match.group():
                edits.append((match.start(), match.end(), new))
        return self.edit(edits)

    def edit(self, edits: list[tuple[int, int, str]]) -> TracedText:
        """Replace spans (start, end, new text), which are sorted and do not overlap."""
        if not edits:
            return self
        text: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        for start, end, new in edits:
            text.append(self.text[position:start] + new)
            starts.extend(self.starts[position:start])
            ends.extend(self.ends[position:start])
            first = self.starts[start] if start < end else self.ends[start - 1] if start else 0
            last = self.ends[end - 1] if start < end else first
            starts.extend([first] * len(new))
            ends.extend([last] * len(new))
            position = end
        text.append(self.text[position:])
        starts.extend(self.starts[position:])
        ends.extend(self.ends[position:])
        return TracedText("".join(text), tuple(starts), tuple(ends), self.doubtful)


def clean(source: str) -> TracedText:
    """A report without what scanning did to it; see the module for the order of steps."""
    traced = normalize(source)
    for pattern, words in SIGNS:
        traced = traced.replace(pattern, words)
    traced = traced.edit([(start, end, " ") for start, end in find_unticked(traced.text)])
    traced = _drop_furniture(traced)
    traced = _mend_words(traced)
    traced = _break_flat_lines(traced)
    traced = _join_lines(traced)
    return tidy_spaces(traced)


# ---- sentences ---

GAP, HOLE, LOST = "\ue000", "\ue001", "\ue002"
"""Stand for a removed identifier, a removed number, and a removed capitalised word, until the text
is tidied; never part of a result."""

ANY_GAP = f"[{GAP}-{LOST}]"
_BREAK = re.compile(
    r"\n|(?<=[a-z)\]%\"'\d\ue000-\ue002+-][.!?;])\s+(?=[\w\"'(<\[{#*@`\ue000-\ue002-])|"
    r"(?<=[A-Z]{3}[.!?;])\s+(?=[\w\"'(<\[{#*@`-])"
)


def iter_sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences and lines of a text, blank ends left out."""
    spans = []
    start = 0
    for match in [*_BREAK.finditer(text), None]:
        end = match.start() if match else len(text)
        piece = text[start:end]
        if piece.strip():
            lead = len(piece) - len(piece.lstrip())
            spans.append((start + lead, start + len(piece.rstrip())))
        start = match.end() if match else end
    return spans


def line_around(text: str, position: int) -> str:
    """The line of a text that holds a position."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : len(text) if end < 0 else end]


# ---- characters ------------------------------------------------------------------------------

# Letters of other scripts that look Latin, so that a disguised word meets the same rules.
_LOOK_ALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһѵԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιıɡɑʟ",
    "ABESIJKMHOPCTYXaesijopcyxdhvqwlABEZHIKMNOPTYXoiigaL",
)
_NAMED = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "κ": "kappa", "λ": "lambda",
    "µ": "u", "μ": "u", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l",
    "Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "×": "x", "✕": "x", "÷": "/", "±": "+/-",
    "≤": "<", "≥": ">", "→": "-", "•": "-", "·": ".", "●": "-", "▪": "-", "◦": "-",
    "☐": "[ ] ", "□": "[ ] ", "☑": "[x] ", "☒": "[x] ", "■": "[x] ", "✓": "[x] ", "✔": "[x] ",
    "✗": " ", "ð": "d",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'", "´": "'",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "‒": "-", "―": "-", "…": "...",
    "™": "", "®": "", "©": "", "°": " ", "\u2028": "\n", "\u2029": "\n", "\x85": "\n",
}  # fmt: skip
_ODD = re.compile(r"\r\n?|[\t\f\v]|[\x00-\x08\x0e-\x1f\x7f]|[^\x00-\x7f]|(?<=\w)[\u0300-\u036f]+")


def normalize(source: str) -> TracedText:
    """One spelling of every character, in ASCII; invisible ones vanish.

    Letters that only look Latin become Latin, accents fall, full-width forms become plain. What
    has no ASCII form at all becomes a space.
    """
    traced = TracedText.of(source)
    while (plainer := traced.replace(ENTITY, unescape)) is not traced:
        traced = plainer  # "&amp;lt;" holds another one
    return traced.replace(_ODD, lambda match: _plain(match.group()))


def _plain(character: str) -> str:
    if character in ("\r\n", "\r", "\f", "\v"):
        return "\n"
    if character in _NAMED:
        return _NAMED[character]
    folded = unicodedata.normalize("NFKD", character).translate(_LOOK_ALIKES)
    kept = "".join(
        _NAMED.get(letter, letter) for letter in folded if not unicodedata.combining(letter)
    )
    if kept.isascii() and kept.isprintable():
        return kept
    invisible = all(unicodedata.category(letter) in ("Cf", "Mn", "Me") for letter in character)
    return "" if invisible else " "


# ---- page furniture and boilerplate ----------------------------------------------------------

_FURNITURE = re.compile(
    r"""\W* (?: page\W*\d+(?:\W*(?:of|/)\W*\d+)? | (?:begin|end)\ of\ (?:the\ )?report
      | (?:surgical\ )?pathology\ (?:consultation\ )?report | continued(?:\ on\ next\ page)?
      | for\ official\ use\ only.* | not\ for\ patient'?s?\ chart | original\ (?:text|ver\ id).*
      | criteria | yes | no | (?:diagnosis|primar[y,]\W*tumor\ site|hipaa)\ discrepancy
      | prior\ malignancy\ history | dual\W*synchronous\ primary(?:\ noted)?
      | case\ is\ \(?circle\)?.* | reviewer\ \w+ | (?:qualified\W*)?(?:disqualified\W*|qualified)
      | date\ revie[vw]ed | reviewed | redacted | file\ under.* | printed.{0,40} | confidential.*
      | icd.{0,3}o?.{0,2}3 | tss\ patient\ id | \w\.? | electronically\ signed.{0,80}
    ) \W*""",
    re.IGNORECASE | re.VERBOSE,
)
_RULE = re.compile(r"[^\w\n`]*")  # a fence of backticks is kept for those who look for code


def _drop_furniture(traced: TracedText) -> TracedText:
    seen: Counter[str] = Counter()
    lines = list(_iter_lines(traced.text))
    totals = Counter(_line_key(traced.text[start:end]) for start, end in lines)
    edits = []
    previous = ""
    for start, end in lines:
        line = traced.text[start:end]
        key = _line_key(line)
        seen[key] += 1
        # a running head comes on every page; a finding may be said twice, so it is kept
        running_head = key and totals[key] >= 3 and seen[key] > 1 and not _holds_term(line)
        repeated = len(key) >= 12 and key == previous
        furniture = _FURNITURE.fullmatch(line) or (_RULE.fullmatch(line) and line.strip() != "=")
        if repeated or running_head or furniture:
            edits.append((start, end, ""))
        previous = key or previous
    return traced.edit(edits).replace(_CHECKBOX, " ")


_CHECKBOX = re.compile(
    r"\[\s?[xX_ ]?\s?\](?=\s)|\(\s?[xX_ ]?\s?\)(?=\s*[A-Za-z])|(?m:^[ ]*[*|~^]+\s)"
)


def _line_key(line: str) -> str:
    return " ".join(re.findall(r"\w+", line.lower()))


def _holds_term(line: str) -> bool:
    lexicon = load_lexicon()
    return any(lexicon.kind(word) == "term" for word in re.findall(r"[A-Za-z]{4,}", line))


def _iter_lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in text.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


# ---- words -----------------------------------------------------------------------------------

_SPLIT_WORD = re.compile(r"\b([A-Za-z]{2,})-[ ]*\n[ ]*([a-z]{2,}|[A-Z]{2,})\b")
_WORD = re.compile(r"(?<![\w.@/-])[A-Za-z][A-Za-z0-9|]{4,39}(?![\w@/|])")


_CONTRACTION = re.compile(r"(?<=[a-zA-Z])n't\b", re.IGNORECASE)


def _mend_words(traced: TracedText) -> TracedText:
    traced = traced.replace(_SPLIT_WORD, _joined)
    # a negation must not hang on an apostrophe
    traced = traced.replace(_CONTRACTION, lambda match: " not")
    return traced.replace(_WORD, _repaired)


def _joined(match: re.Match[str]) -> str:
    left, right = match.groups()
    whole = bool(load_lexicon().kind(left + right))
    return f"{left}{right}" if whole else f"{left}-{right}"


def _repaired(match: re.Match[str]) -> str | None:
    word = match.group()
    # a capital within a sentence is a name as likely as a misread word: leave it as it came
    if load_lexicon().kind(word) or (word[0].isupper() and word[1:].islower()):
        return None
    repaired = repair_word(word)
    if not repaired:
        return None
    return repaired.upper() if word.isupper() else repaired


# ---- lines -----------------------------------------------------------------------------------

_FLAT = 240
_HEADING = re.compile(
    r"""(?<!final)(?<!clinical)(?<!gross)(?<!scopic)(?<!pathologic)(?<!pathological)(?<!patient)
    (?<!operative)(?<!synoptic)(?<!ancillary)(?<!section)(?<!intraoperative)[ ]+(?= (?:(?:final
      |clinical|gross|microscopic|macroscopic|histopathological|pathologic(?:al)?|
      pre-?operative|post-?operative|synoptic|intraoperative|ancillary|frozen\ section)\ ){0,2}
      (?:diagnos[ie]s|descriptions?|comments?|note|history|information|specimens?(?:\ submitted)?|
      consultation|summary|report|findings|impression|addendum|margins?|lymph\ nodes
      |tumou?r\ size) \s?:
    | (?:patient|name|mrn|dob|date|address|phone|physician|pathologist|accession
      |hospital)\b[\w\ #./]{0,18}: )
    | (?<=[.:;)])(?<!grade:)(?<!score:)(?<!rate:)(?<!count:)(?<!stage:)(?<!tion:)
      (?<!ism:)[ ]+ (?:-[ ]+ (?=[A-Z]) | (?=[1-9][.)][ ][A-Z]))
    | (?:(?<=[.;)])|(?<=s:))(?<!dr\.)(?<!mrs\.)(?<!mr\.)(?<!ms\.)[ ]+(?=[A-H][.)][ ][A-Z]) """,
    re.IGNORECASE | re.VERBOSE,
)


def _break_flat_lines(traced: TracedText) -> TracedText:
    """Give a report that came as one line its headings and items back."""
    lines = [span for span in _iter_lines(traced.text) if span[1] - span[0] > _FLAT]
    edits = [
        (match.start(), match.end(), "\n")
        for start, end in lines
        for match in _HEADING.finditer(traced.text, start, end)
    ]
    return traced.edit(edits)


_ITEM = re.compile(
    r"""\s*(?: [-*#>]\s | (?:part\ )?(?:[A-Z]|\d{1,2}|[IVX]{1,4}|[a-h])\s?[.):]\s?(?!\d) | part\ \d
      | [A-Z][\w/\ ,()#-]{1,40}:(?=\s|$)(?!\d) )""",
    re.VERBOSE | re.IGNORECASE,
)
_OPEN_END = re.compile(
    r"(?:[,(/=-]|\b(?:and|or|of|with|by|for|in|on|to|the|a|an|from|at|is|are|was|were|no|not|as|"
    r"than|that|which|into|within|without|between|all|both|each|its|this|see|per|well|poorly|"
    r"moderately|extensive|multiple|nuclear|nottingham|AJCC|invasive|infiltrating|infiltrative|"
    r"ductal|"
    r"lobular|squamous|cell|adenoid|mucinous|papillary|metastatic|residual|lymph|extranodal)|"
    r"=)\s*$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(
    r"\s*(?:[a-z(,;)/%=]|(?:AND|OR|OF|WITH|BY|FOR|IN|TO|FROM)\b|\d+(?:\.\d+)?\s*(?:[xX%]|cm|mm)|"
    r"[\])]|[,;.])"
)
_HEADING_START = re.compile(r"\s*[A-Z][a-z]+(?: [A-Za-z]+){0,3}\s*:")


def _join_lines(traced: TracedText) -> TracedText:
    """Replace the line ends that a margin made by spaces; those that end a statement stay."""
    lines = [(s, e) for s, e in _iter_lines(traced.text) if traced.text[s:e].strip()]
    texts = [traced.text[start:end] for start, end in lines]
    width = max((len(text.rstrip()) for text in texts), default=0)
    edits = []
    for i in range(len(lines) - 1):
        wrapped = _is_wrapped(texts[i], texts[i + 1], width)
        edits.append((lines[i][1], lines[i + 1][0], " " if wrapped else "\n"))
    return traced.edit(edits)


def _is_wrapped(line: str, following: str, width: int) -> bool:
    stripped = line.rstrip()
    if _ITEM.match(following) and not following.lstrip()[0].islower():
        return False
    if stripped.endswith((".", ";", ":", "}", ">")) or _HEADING_START.match(following):
        return bool(stripped.endswith(":") and _CONTINUES.match(following))
    if _CONTINUES.match(following) or _OPEN_END.search(stripped):
        return True
    first_word = following.split(maxsplit=1)[0]
    # the next word would not have fitted: the margin broke the line, not the writer
    return width >= 60 and len(stripped) + 1 + len(first_word) > width


_SPACES = re.compile(r"\s*\n\s*|[ \t]{2,}|^\s+|\s+$")


def tidy_spaces(traced: TracedText) -> TracedText:
    """Single spaces and line ends, none at the rims."""
    return traced.replace(_SPACES, _space)


def _space(match: re.Match[str]) -> str:
    if match.start() == 0 or match.end() == len(match.string):
        return ""
    return "\n" if "\n" in match.group() else " "
