"""What is written in signs instead of words: formatting tags, ticked boxes, (+) and (-).

They go, or become words, before anything else is read: a tag must not take the "No" that it
formats along, and of a form only what is ticked was said.
"""

from __future__ import annotations

import html
import re

_BLOCKS = (
    "address article blockquote body br caption center dd div dl dt footer h1 h2 h3 h4 h5 h6 head "
    "header hr html li main ol p pre section table tbody tfoot thead title tr ul"
).split()
_INLINE = "a abbr b big em font i label mark small span strong sub sup td th tt u".split()

ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")


def _tag(names: list[str]) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{'|'.join(names)})(?:\s[^<>]{{0,300}})?/?>", re.IGNORECASE)


SIGNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_tag(_BLOCKS), "\n"),
    (_tag(_INLINE), " "),
    (re.compile(r"\(\s?-\s?\)"), " negative "),
    (re.compile(r"\(\s?\+{1,3}\s?\)"), " positive "),
    (re.compile(r"(?<=\w)[ ]-(?=[ ]*[.,;])"), " negative"),
    (re.compile(r"(?<=:)[ ]*\bN\b[ ]*(?=[.,;\n]|$)"), " no"),
    (re.compile(r"(?<=:)[ ]*-{1,3}[ ]*(?=[.,;\n]|$)"), " not specified"),
)
"""Formatting tags and signs, in normalised text, and what stands for them."""


def unescape(match: re.Match[str]) -> str:
    """The character behind an HTML entity; what is none stays as it is."""
    return html.unescape(match.group())


# ---- ticked boxes ----------------------------------------------------------------------------

_BOX = re.compile(r"\[\s?(?P<square>[xX_ ]?)\s?\]|\(\s?(?P<round>[xX_ ]?)\s?\)(?=\s*[A-Za-z]|\s*$)")
_STATEMENT = re.compile(r"(?:[^.;\n]|[.;](?!\s))+")
_LABEL_END = re.compile(r"[,.;]|\s{2,}")


def find_unticked(text: str) -> list[tuple[int, int]]:
    """Spans [start, end) of the options of a form that were not ticked, with their boxes.

    Without a single tick in the text a box is a bullet, and nothing is found. A statement whose
    boxes do not stand before their options may mean either thing: it is found whole.
    """
    if not any(_is_ticked(box) for box in _BOX.finditer(text)):
        return []
    spans: list[tuple[int, int]] = []
    for statement in _STATEMENT.finditer(text):
        boxes = list(_BOX.finditer(text, *statement.span()))
        if boxes and not all(map(_is_ticked, boxes)):
            spans += _unticked_of(text, statement.span(), boxes)
    return spans


def _is_ticked(box: re.Match[str]) -> bool:
    return (box["square"] or box["round"] or "").lower() == "x"


def _unticked_of(
    text: str, statement: tuple[int, int], boxes: list[re.Match[str]]
) -> list[tuple[int, int]]:
    start, end = statement
    before = text[start : boxes[0].start()].rpartition(":")[2]
    if re.search(r"\w", before):
        return [statement]
    spans = []
    for box, following in zip(boxes, [*boxes[1:], None], strict=True):
        if _is_ticked(box):
            continue
        stop = following.start() if following else end
        option = text[box.end() : stop]
        if ":" in option:  # the next question has begun; where, only its layout can say
            cut = _LABEL_END.search(option.rstrip())
            if cut is None or ":" in option[: cut.start()]:
                return [statement]
            stop = box.end() + cut.start()
        spans.append((box.start(), stop))
    return spans
