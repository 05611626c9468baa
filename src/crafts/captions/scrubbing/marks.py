"""Marks that de-identification leaves behind: ``___``, ``[NAME]``, ``**DATE**``, ``XXXX``."""

from __future__ import annotations

import re

from crafts.captions.vocabulary import load_lexicon

_MARK_WORDS = (
    "name names date redacted removed phi pii address phone hospital mrn ssn dob patient doctor "
    "physician institution facility location zip email deleted omitted initials surname person id"
).split()
_MARKED = rf"(?:{'|'.join(_MARK_WORDS)})"
_PLACEHOLDERS = frozenset(
    [*_MARK_WORDS, *"age city country device number place room state street time year".split()]
)
"""Words that stand for what was taken out, where they stand between marks."""


_MARK = re.compile(
    "|".join(
        f"(?:{one})"
        for one in (
            r"_{2,}",
            r"\*{2,}\s?\w[^*\n]{0,40}\*{2,}",
            r"\[\*\*[^\]\n]{0,60}\*\*\]",
            rf"[\[<{{(]+\s?[*_]*(?:\w+[ _-]){{0,2}}{_MARKED}"
            r"(?:[ _#:-]*\w+){0,2}[*_]*\s?[\]>})]+",
            r"\[+[_x*. -]+\]+",
            r"[<{]\s?(?:no|not|none|without|negative|absent)\s?[>}]",
            r"(?<![a-z])x{3,}(?![a-z])",
            r"\bxx?([/-])xx?\1x{2,4}\b",
            r"\*{3,}|#{3,}|%{2,}\w*|~{3,}",
            r"\b(?:redacted|de-?identified|anonymi[sz]ed|blacked out|censored)\b",
            r"\b(?:patient|doctor|hospital|name|date)[_-]?(?:name|id)?_?\d+\b",
        )
    ),
    re.IGNORECASE,
)


def find_marks(text: str) -> list[tuple[int, int, str]]:
    """Spans (start, end, "mark") of what stands where something was taken out before."""
    return [
        (match.start(), match.end(), "mark")
        for match in _MARK.finditer(text)
        if not (_is_emphasis(match.group()) or _ROLE.search(match.group()))
    ]


# who speaks in a prompt; for those who look for instructions
_ROLE = re.compile(r"\b(?:system|user|assistant|human|tool|developer|inst|prompt)\b", re.IGNORECASE)


def _is_emphasis(mark: str) -> bool:
    """Whether stars stand around plain words: ``**No**`` is said loudly, ``**NAME**`` is a hole."""
    words = re.findall(r"\w+", mark)
    kind = load_lexicon().kind
    return mark.startswith("**") and all(
        kind(word) and word.lower() not in _PLACEHOLDERS for word in words or ("",)
    )
