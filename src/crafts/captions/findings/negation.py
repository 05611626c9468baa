"""Whether a sentence rules out what it names."""

from __future__ import annotations

import re

_NEGATED_BEFORE = re.compile(
    r"\b(?:not (?:identified|seen|present|detected|found)\s*:|(?:no|not|without|negative for|zero|"
    r"free of|free from|absence of|absent|never|denies|lacks?|lacking|devoid of|neither|nor|"
    r"rather than|uninvolved by|not involved by|exclud\w+|ruled out)\b)",
    re.IGNORECASE,
)
_NOT_NEGATING = re.compile(
    r"\b(?:not only|no increase|no change|not (?:specified|certain|cause|applicable|excluded|"
    r"ordered)|no longer|"
    r"no significant pathologic)\b",
    re.IGNORECASE,
)
_NEGATED_AFTER = re.compile(
    r"^[^.;:\n]{0,45}?(?:\b(?:can ?|could )not be (?:identified|seen|found|demonstrated|"
    r"appreciated)|"
    r"\b(?:is|are|was|were|has been|have been)\s+(?:\w+ )?(?:not|never|no longer)\b(?! only|"
    r" otherwise| excluded| ruled out)|"
    r"\bnot (?:identified|seen|present|found|detected|demonstrated|noted|observed|evident|"
    r"appreciated|recognized)|"
    r"\b(?:is|are|was|were)\s+(?:(?!not\b)\w+ )?(?:absent|lacking|excluded|ruled out)|"
    r",\s*absent\b)|"
    r"^(?:[\s-]free\b|\s+(?:ruled out|excluded)\b)|"
    r"^[^.;:\n]{0,30}(?:[:=]\s*no\b|"
    # "(no)", "- no residual", and not "(no special type)", "- no necrosis"
    r"[(\[-]\s*no(?:\s+(?:residual|evidence|definite|identifiable)\b|(?=\s*(?:[.,;)\]]|$)))|"
    r"[:=(\[-]\s*0 ?%|"
    r"(?:[:=(\[-]|\s)\s*(?:none\b|nil\b|absent|neg(?:ative)?\b(?! for)|"
    r"not (?:identified|seen|present|found|detected|noted)))",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(
    r"[;\n]|\.\s|\b(?:but|however|although|though|except|whereas|while|yet)\b|,\s*(?:with|"
    r"and (?:is|are|shows?)|is|are|was|were)\b|"
    r"\bpresent\b|\bidentified\b|\bwith\b(?! (?:no|respect))|\)\s",
    re.IGNORECASE,
)
_NEW_SUBJECT = re.compile(r",\s*$")
_VERB_NEXT = re.compile(
    r"^\s*(?:is|are|was|were|measur\w+|involv\w+|identified|present|shows?|extends?)\b",
    re.IGNORECASE,
)


_REACH = 300  # characters


def is_negated(sentence: str, start: int, end: int) -> bool:
    """Whether a sentence rules out what it names in [start, end)."""
    # what denies stands at most fourteen words away; a longer look would cost its square
    first, before, after = max(0, start - _REACH), sentence[:start], sentence[end:]
    denials = _NEGATED_BEFORE.finditer(sentence, first, start)
    last = max(denials, key=lambda match: match.start(), default=None)
    if last and not _NOT_NEGATING.search(
        sentence, last.start(), min(last.end() + 25, len(sentence))
    ):
        between = before[last.end() :]
        fresh = _NEW_SUBJECT.search(before, first) and _VERB_NEXT.match(after)
        if not _BOUNDARY.search(between) and len(between.split()) <= 14 and not fresh:
            return True
    behind = _NEGATED_AFTER.match(after)
    return behind is not None and not _BOUNDARY.search(after[: behind.end()][:-9])
