"""What a sentence says of nodes, margins, vessels, nerves, lymphocytes and necrosis."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crafts.captions.findings.measures import Hit

# ---- nodes and margins -----------------------------------------------------------------------

_NODES = re.compile(
    r"\(?\b(\d{1,3})\s?(?:/|\(?\s?(?:out )?of(?: the)?)\s?(\d{1,3})\b\)?", re.IGNORECASE
)
_COUNT = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "thirteen": 13,
    "fourteen": 14,
    "fifteen": 15,
    "sixteen": 16,
}
_COUNTED = re.compile(
    rf"\b({'|'.join(_COUNT)}|\d{{1,2}})\s(?:\(\d{{1,2}}\)\s)?(?:\w+\s){{0,3}}lymph nodes?",
    re.IGNORECASE,
)
_SOME_OF = re.compile(rf"\b({'|'.join(_COUNT)}) (?:out )?of ({'|'.join(_COUNT)})\b", re.IGNORECASE)
_NODE_WORD = re.compile(r"\bnod(?:es?|al)\b|\bLN\b", re.IGNORECASE)


def find_nodes(text: str) -> Iterator[Hit]:
    """Lymph nodes as involved/examined."""
    if not _NODE_WORD.search(text):
        return
    found = False
    for match in (*_NODES.finditer(text), *_SOME_OF.finditer(text)):
        first, second = (int(_COUNT.get(part.lower(), part)) for part in match.groups()[:2])
        scored = re.search(
            r"(?:score|grade|mitos\w*|tubules?|nuclei|formation|ki-?67|rate)\W{0,4}$",
            text[: match.start()],
            re.IGNORECASE,
        )
        if (
            first > second
            or scored
            or re.match(r"\s?(?:x\b|cm|mm|/|hpf)", text[match.end() :], re.IGNORECASE)
        ):
            continue
        found = True
        yield Hit("nodes", f"{first}/{second}", *match.span(), second + 100 * (first > 0), False)
    if not found:
        yield from _counted_nodes(text)


def _counted_nodes(text: str) -> Iterator[Hit]:
    for match in _COUNTED.finditer(text):
        number = int(_COUNT.get(match[1].lower(), match[1]))
        # "no carcinoma in one lymph node", "two lymph nodes, negative for carcinoma"
        near = text[max(0, match.start() - 60) : match.end() + 70]
        if re.search(r"\b(?:no|negative|free|without|benign|uninvolved)\b", near, re.IGNORECASE):
            yield Hit("nodes", f"0/{number}", *match.span(), number, False)
        elif re.search(r"\b(?:involv\w*|metast\w*|positive)\b", near, re.IGNORECASE):
            yield Hit("nodes", f"{number}/{number}", *match.span(), 100 + number, False)


_MARGIN = re.compile(
    r"\b(?:(?:surgical|resection|deep|inked|specimen|radial|proximal|distal) )*(?:margins?|"
    r"resection lines?|cut edges?)\b",
    re.IGNORECASE,
)
_MARGIN_NEGATIVE = re.compile(
    r"\b(?:negative|free|clear|uninvolved|not involved|no (?:tumou?r|carcinoma|residual)|"
    r"tumou?r-free|not (?:seen|present|identified))\b",
    re.IGNORECASE,
)
_MARGIN_POSITIVE = re.compile(
    r"\b(?:positive|involved|involves?|involving|transected|extends? to (?!within)|(?:tumou?r|"
    r"carcinoma|dcis|neoplasm|is|present|present focally) at)\b|present at",
    re.IGNORECASE,
)
_MARGIN_CLOSE = re.compile(
    r"\bclose(?:ly)?\b(?! (?:to|margin is (?:\d{2,}|[1-9]) ?cm))|\bwithin (?:less than |"
    r"<)?\s?\d?(?:\.\d+)? ?mm",
    re.IGNORECASE,
)


def find_margins(text: str) -> Iterator[Hit]:
    """Margins as negative, positive or close; a margin of unknown state says nothing."""
    last: tuple[int, str] | None = None
    for match in _MARGIN.finditer(text):
        state = _margin_state(text, match)
        if state and (last is None or last[1] != state):
            last = (match.end(), state)
            weight = {"positive": 3, "close": 2, "negative": 1}[state]
            yield Hit("margins", state, *match.span(), weight, False)


def _margin_state(text: str, match: re.Match[str]) -> str:
    start = max(text.rfind(";", 0, match.start()), text.rfind(". ", 0, match.start())) + 1
    after = re.split(r"[;]|\.\s|\bbut\b|\bhowever\b", text[match.end() : match.end() + 110])[0]
    before = text[max(start, match.start() - 90) : match.start()]
    clause = before + " # " + after
    behind = after if re.match(r"[^,]{0,40}\b(?:is|are|was|were|:)|\s*:", after) else ""
    for part in (behind, clause) if behind else (clause,):
        if _MARGIN_NEGATIVE.search(part):
            return "negative"
        if _MARGIN_CLOSE.search(part):
            return "close"
        if _MARGIN_POSITIVE.search(part):
            return "positive"
    return ""


# ---- what can be seen in the tissue ----------------------------------------------------------

_VESSEL = re.compile(
    r"\b(?:lympho-?vascular|angio-?lymphatic|lymphatic[ -](?:and |/ ?|or )?(?:blood )?vascular|"
    r"vascular(?:[ /-](?:space|lymphatic))?|lymphatic(?: space)?|venous|angio)"
    r"[ -]?(?:space )?(?:channel )?(?:invasion|involvement|permeation|emboli|space invasion)|"
    r"\bLVS?I\b",
    re.IGNORECASE,
)
_NERVE = re.compile(
    r"\b(?:perineural|perineurial|neural|nerve)(?: sheath)? (?:invasion|involvement|"
    r"infiltration)|\bPNI\b",
    re.IGNORECASE,
)
_TILS = re.compile(
    r"\b(?:tumou?r[- ]infiltrating lymphocytes?|s?TILs?|lymphocytic (?:infiltrat\w+|response|"
    r"reaction|host response)|lymphoid (?:infiltrat\w+|response|stroma))(?:\W{0,3}\(s?TILs?\))?",
    re.IGNORECASE,
)
_NECROSIS = re.compile(
    r"\b(?:(comedo|tumou?r|focal|coagulative|central|extensive|geographic|"
    r"fat)[ -]?)*?(?:necrosis|necroses)\b|\bcomedo-?necrosis\b",
    re.IGNORECASE,
)
_VALUE = (
    r"(?:none|no|not|nil|absent|present|neg|pos|yes|identified|seen|found|focal|extensive|minimal|"
    r"marked|moderate|mild|brisk|sparse|dense|few|many|low|high|prominent|scant|abundant)"
)
_UNKNOWN = re.compile(
    r"\s*\?|\W*(?:(?:is|are|was|were) )?(?:not (?:specified|assess|evalua|applic|report|stated|"
    r"given|provided|available|known|document|determin|done|perform|mention|submitted)|"
    r"cannot be (?:assess|determin|evaluat)|indeterminate|equivocal|unknown|pending)"
    # a label whose value is lost, at the end or before the next label
    r"|\s*:\s*(?:$|[.;,]|(?!" + _VALUE + r")(?-i:(?=[A-Z][\w -]{2,40}:)))",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"(\d{1,3}) ?%")
_AMOUNTS = {
    "high": r"\b(?:brisk|marked|dense|prominent|heavy|severe|abundant|intense|numerous|extensive|"
    r"high)\b",
    "moderate": r"\b(?:moderate)\b",
    "low": r"\b(?:mild|sparse|scant|scanty|minimal|few|low|non-?brisk|slight|focal)\b",
}


def find_tissue(text: str) -> Iterator[Hit]:
    """Invasion of vessels and nerves, lymphocytes, necrosis."""
    for name, pattern in (("lymphovascular_invasion", _VESSEL), ("perineural_invasion", _NERVE)):
        for match in pattern.finditer(text):
            if _UNKNOWN.match(text, match.end()):
                continue
            yield Hit(name, name.replace("_", " "), *match.span(), 1)
    for match in _TILS.finditer(text):
        if _UNKNOWN.match(text, match.end()):
            continue
        yield Hit("tils", _amount(text, match), *match.span(), 1)
    for match in _NECROSIS.finditer(text):
        kind = "comedonecrosis" if "comedo" in match.group().lower() else "necrosis"
        if "fat" not in match.group().lower() and not _UNKNOWN.match(text, match.end()):
            yield Hit("necrosis", kind, *match.span(), 1)


def _amount(text: str, match: re.Match[str]) -> str:
    near = (
        text[max(0, match.start() - 25) : match.start()]
        + " "
        + text[match.end() : match.end() + 30]
    )
    for amount in ("low", "moderate", "high"):
        if re.search(_AMOUNTS[amount], near, re.IGNORECASE):
            return amount
    percent = _PERCENT.search(text[match.end() : match.end() + 25])
    if percent:
        return "low" if int(percent[1]) <= 10 else "moderate" if int(percent[1]) < 50 else "high"
    return "present"
