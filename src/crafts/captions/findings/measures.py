"""Grades, stages, sizes, counts and receptors: what a sentence measures, in one spelling each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Hit(NamedTuple):
    """Something named in a sentence.

    Attributes:
        name: field.
        value: canonical wording.
        start: where it begins in the sentence.
        end: where it ends.
        weight: how much it tells among its like.
        negated: known to be (or not to be) ruled out; None leaves it to the sentence.
        uncertain: a question rather than a finding.
    """

    name: str
    value: str
    start: int
    end: int
    weight: int = 0
    negated: bool | None = None
    uncertain: bool = False


_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4"}


def _arabic(text: str) -> str:
    return _ROMAN.get(text.lower(), text)


# ---- grades ----------------------------------------------------------------------------------

_LEVEL = r"(\d|I{1,3}V?|IV)(?![\w.]*\d|\w)"
_GLEASON = re.compile(r"gleason[^\d\n.;]{0,30}(\d)\s*\+\s*(\d)(?:\s*=\s*(\d{1,2}))?", re.IGNORECASE)
_GLEASON_SUM = re.compile(
    r"gleason(?:'s)? (?:score|sum)[ :=]{0,3}(?:of )?(\d{1,2})(?!\s*\+|\d)", re.IGNORECASE
)
_GRADE_GROUP = re.compile(r"grade group[ :=]{0,3}(\d)", re.IGNORECASE)
_NOTTINGHAM = re.compile(
    r"\b(?:nottingham|SBR|elston|"
    r"(?:scarff[ -])?bloom[ -](?:and[ -])?richardson)\b[^.;\n\d]{0,40}?grade[ds]?\)?"
    r"[ :,=-]{0,3}(?:is )?\(?" + _LEVEL,
    re.IGNORECASE,
)
_NHG = re.compile(r"\bNHG ?-?([123])\b", re.IGNORECASE)
_NOTTINGHAM_SCORE = re.compile(
    r"(?:nottingham|total|combined)(?: \w+)? ?score[ :=of]{0,6}(?:a )?(\d)(?:\s?/\s?9|\b)|"
    r"total score of (\d)/9",
    re.IGNORECASE,
)
_OTHER_SYSTEM = re.compile(
    r"\b(fuhrman|isup|who|figo|edmondson)(?:[ /-](?:isup|steiner|nuclear|"
    r"histologic))*[ -]grad(?:e|ing)[ :,=-]{0,3}" + _LEVEL,
    re.IGNORECASE,
)
_NUCLEAR = re.compile(
    r"nuclear grade[ :,=-]{0,3}(?:is )?(\d|I{1,3}|high|low|intermediate|moderate)\b|\b(high|low|"
    r"intermediate) nuclear grade",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"(?<!nuclear )(?<!group )\b(?:(?:histologic(?:al)?|overall|tumou?r|combined) )?(?:grade|"
    r"G)[ :=-]{0,3}(?:is )?" + _LEVEL,
    re.IGNORECASE,
)
_DIFFERENTIATION = re.compile(
    r"\b(well|moderately|poorly)(?:[ -]?to[ -]?(moderately|poorly))?[ -]differentiated|"
    r"\b(undifferentiated)\b",
    re.IGNORECASE,
)
_HIGH_LOW = re.compile(r"\b(high|low|intermediate)[ -]grade\b(?! nuclear)", re.IGNORECASE)


def find_grades(text: str) -> Iterator[Hit]:
    """Gleason, Nottingham, other numbered grades, differentiation, nuclear grade."""
    taken: list[tuple[int, int]] = []
    for match in _GLEASON.finditer(text):
        first, second = int(match[1]), int(match[2])
        yield Hit("grade", f"Gleason {first}+{second}={first + second}", *match.span(), 9, False)
        taken.append(match.span())
    named = (
        (_GLEASON_SUM, "Gleason {}", 8),
        (_GRADE_GROUP, "grade group {}", 6),
        (_NOTTINGHAM, "Nottingham grade {}", 9),
        (_NHG, "Nottingham grade {}", 9),
        (_OTHER_SYSTEM, "{} grade {}", 8),
        (_PLAIN, "grade {}", 7),
    )
    for pattern, words, weight in named:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            parts = [_arabic(part) for part in match.groups()]
            if pattern is _OTHER_SYSTEM:
                parts[0] = match[1].upper() if len(match[1]) <= 4 else match[1].capitalize()
            if int(parts[-1]) not in range(1, 11):
                continue
            taken.append(match.span())
            yield Hit("grade", words.format(*parts), *match.span(), weight, False)
    yield from _worded_grades(text)


def _worded_grades(text: str) -> Iterator[Hit]:
    """Scores and nuclear grades, and grades in words."""
    for match in _NOTTINGHAM_SCORE.finditer(text):
        if "nottingham" in match.group().lower() or "/9" in match.group():
            yield Hit("nottingham_score", f"{match[1] or match[2]}/9", *match.span(), 1, False)
    for match in _NUCLEAR.finditer(text):
        yield Hit("nuclear_grade", _arabic((match[1] or match[2]).lower()), *match.span(), 1, False)
    for match in _DIFFERENTIATION.finditer(text):
        words = " to ".join(part.lower() for part in match.groups() if part)
        value = words if words == "undifferentiated" else f"{words} differentiated"
        yield Hit("grade", value, *match.span(), 5, None)
    for match in _HIGH_LOW.finditer(text):
        # the grade of an in situ component is not that of the tumour
        in_situ = re.search(r"in situ|DCIS|intraepithelial|dysplasia", text, re.IGNORECASE)
        weight = 1 if in_situ else 3
        yield Hit("grade", f"{match[1].lower()} grade", *match.span(), weight, None)


# ---- stages ----------------------------------------------------------------------------------

_T = re.compile(
    r"(?<![A-Za-z\d])(?:(?:y?[pPcC]|[amr]p?)-?T(is|IS|[0-4OIilxX])([a-dA-D]?(?:mi)?)|T(is|IS|"
    r"[0-4])([a-d]?(?:mi)?)(?=[ ,/]*p?N[0-3X]))"
    r"(?=$|[^a-z\d]|[NMLVOR]|i?[cC])"
)
_N = re.compile(
    r"(?:(?<![A-Za-z\d])[acmpruy]{0,3}|(?<=[a-dA-D\dsSO]))N([0-3XOo])([a-c]?(?:mi)?)(?=$|"
    r"[^a-z\d]|M|[LVR]|0)",
    re.IGNORECASE,
)
_M = re.compile(
    r"(?:(?<![A-Za-z\d])[acmpruy]{0,3}|(?<=[a-c\dXO]))M([01XOo])(?![\w])", re.IGNORECASE
)
_SPELLED = re.compile(
    r"\b([TNM])[ -]?(?:stage|category|classification)[ :=]{0,3}(?:[pyc]{0,2}[TNM])?(\d[a-c]?|X|"
    r"is)\b",
    re.IGNORECASE,
)


def find_stages(text: str) -> Iterator[Hit]:
    """T, N and M categories, letters that stand for digits put right (pT1CNOMX, pTic)."""
    anchored = False
    for match in _T.finditer(text):
        body = (match[1] or match[3]).lower()
        suffix = (match[2] or match[4] or "").lower()
        digit = {"o": "0", "i": "1", "l": "1"}.get(body, body)
        anchored = True
        yield Hit("t_stage", f"T{digit if digit != 'x' else 'X'}{suffix}", *match.span(), 2, False)
    for name, pattern in (("n_stage", _N), ("m_stage", _M)):
        for match in pattern.finditer(text):
            if not anchored and not re.match(r"[acmpruy]", match.group(), re.IGNORECASE):
                continue  # a lone N1 or M0 is no stage
            digit = {"o": "0", "x": "X"}.get(match[1].lower(), match[1])
            suffix = match[2].lower() if pattern is _N and match[2] else ""
            yield Hit(name, f"{name[0].upper()}{digit}{suffix}", *match.span(), 2, False)
    for match in _SPELLED.finditer(text):
        letter = match[1].upper()
        yield Hit(
            f"{letter.lower()}_stage",
            letter + match[2].lower().replace("x", "X"),
            *match.span(),
            1,
            False,
        )


# ---- sizes -----------------------------------------------------------------------------------

_SIZE = re.compile(
    r"(?<![\d.])(\d{1,3}(?:[.,]\d{1,2})?)(?:\s?(?:cm|mm))?(?:\s?(?:x|"
    r"by)\s?(\d{1,3}(?:[.,]\d{1,2})?)(?:\s?(?:cm|mm))?)?"
    r"(?:\s?(?:x|by)\s?(\d{1,3}(?:[.,]\d{1,2})?))?\s?-?(cm|mm|centimet(?:er|re)s?|millimet(?:er|"
    r"re)s?)\b",
    re.IGNORECASE,
)
_TUMOR = re.compile(
    r"tumou?r|mass\b|masses|lesion|nodule|neoplasm|carcinoma|sarcoma|melanoma|adenoma|diameter|"
    r"\bsized?\b",
    re.IGNORECASE,
)
_NOT_TUMOR = re.compile(
    r"margin|from the|distance|clearance|skin|flap|ellipse|specimen|fragment|\bcores?\b|"
    r"\bcysts?\b|\bnodes?\b|"
    r"thickness|depth|breslow|"
    r"segment|portion|weigh|area|vision|tissue|length|uterus|kidney|colon|lung|within|removed|"
    r"deposit|focus\b|invades",
    re.IGNORECASE,
)


_MASS_FOLLOWS = re.compile(
    r"\W*(?:in (?:greatest|maximum|largest) \w+\W*)?[\w\s-]{0,12}?(?:mass|tumou?r|nodule|lesion|"
    r"carcinoma|in (?:greatest|maximum|largest|diameter))",
    re.IGNORECASE,
)
_OTHER_FOLLOWS = re.compile(
    r"\W*(?:from|to the|away|,? ?deep margin|margin|in thickness|in depth|"
    r"of (?:the )?(?:skin|tissue))",
    re.IGNORECASE,
)
_LABELED = re.compile(r"tumou?r (?:size|diameter)\W{0,4}$", re.IGNORECASE)
_PLAINLY = re.compile(r"tumou?r|carcinoma|mass|greatest", re.IGNORECASE)


def find_sizes(text: str) -> Iterator[Hit]:
    """Sizes of the tumour in cm, largest first; not those of specimens and margins."""
    for match in _SIZE.finditer(text):
        before = text[max(0, match.start() - 70) : match.start()]
        before = re.sub(r"\([^()]*\)", "", before)
        clause = re.split(r"[;.]\s|,\s(?=\D)|\(", before)[-1]
        labeled = _LABELED.search(clause) is not None
        if not labeled and not _is_of_tumor(before, clause, text[match.end() : match.end() + 40]):
            continue
        scale = 0.1 if match[4].lower().startswith(("mm", "mi")) else 1.0
        size = scale * max(float(n.replace(",", ".")) for n in match.groups()[:3] if n)
        if 0 < size <= _LARGEST_CM:
            weight = 3 if labeled else 2 if _PLAINLY.search(clause) else 1
            yield Hit("size", f"{size:.3g} cm", *match.span(), weight, False)


_LARGEST_CM = 60


def _is_of_tumor(before: str, clause: str, after: str) -> bool:
    """Whether a size is that of a tumour, by the nouns around it."""
    if _last(_NOT_TUMOR, clause) > _last(_TUMOR, clause) or _OTHER_FOLLOWS.match(after):
        return False
    # "carcinoma, grade 2, 1.2 cm": nothing else in the sentence has a size
    alone = _TUMOR.search(before) is not None and (
        not clause.strip() or not _NOT_TUMOR.search(before)
    )
    return alone or _TUMOR.search(clause) is not None or _MASS_FOLLOWS.match(after) is not None


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match begins; -1 without one."""
    return max((match.start() for match in pattern.finditer(text)), default=-1)


# ---- receptors -------------------------------------------------------------------------------

_RECEPTOR = re.compile(
    r"\b(?:(?P<er>ER(?=\W|$)|o?estrogen(?: receptors?)?(?: \(ER\))?)|(?P<pr>PR(?=\W|$)|PgR|"
    r"progesterone(?: receptors?)?(?: \((?:PR|PgR)\))?)"
    r"|(?P<her2>HER-? ?2(?: ?/ ?neu|-neu| neu)?(?: receptor| protein|"
    r" oncoprotein)?(?: over-?expression)?|c-?erbB-?2))(?!\w)",
    re.IGNORECASE,
)
_POSITIVE = re.compile(
    r"\bpos(?:itiv\w*)?\b|^\s?\+(?!\w)|\b3\+|(?<!not )(?<!non-)(?<!non )\bamplified|"
    r"strong(?:ly)? |(?<!not )\bexpress(?:ed|ion present)",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"\bneg(?:ativ\w*)?\b|^\s?-(?=[\s,/;.)]|$)|\bnon[- ]?(?:amplified|reactive)|"
    r"\bnot (?:amplified|over-?expressed|expressed|detected|identified|seen|present)|\babsent|"
    r"\bno (?:staining|expression|over-?expression|amplification|reactivity)|"
    r"\b[01]\+|score(?: of)?[ :=]*[01]\b|\b0 ?%|<\s?1 ?%|\bscore 0\b",
    re.IGNORECASE,
)
_EQUIVOCAL = re.compile(r"equivocal|borderline|indeterminate|\b2\+", re.IGNORECASE)
_PERCENT = re.compile(r"(\d{1,3}) ?%")


_CONTROL = re.compile(
    r"\b(?:positive|negative) (?:\w+ )?controls?\b|"
    r"\bcontrols? (?:\w+ ){0,3}(?:positive|negative|adequate|appropriate)\b",
    re.IGNORECASE,
)


def find_receptors(text: str, previous: str = "") -> Iterator[Hit]:
    """Estrogen, progesterone and HER2 as positive, negative or equivocal."""
    text = _CONTROL.sub(lambda match: " " * len(match.group()), text)
    triple = re.search(r"\btriple[- ]negative\b", text, re.IGNORECASE)
    if triple:
        for name in ("er", "pr", "her2"):
            yield Hit(name, "negative", *triple.span(), 1, False)
    matches = [m for m in _RECEPTOR.finditer(text) if m.lastgroup]
    for i, match in enumerate(matches):
        limit = matches[i + 1].start() if i + 1 < len(matches) else len(text)
        state = _state_before(text[: match.start()])
        state = state or _receptor_state(match.lastgroup or "", text[match.end() : limit][:90])
        if (
            not state
            and i + 1 < len(matches)
            and re.fullmatch(r"\W*(?:and|/|,)?\W*", text[match.end() : limit])
        ):
            following = matches[i + 1]
            state = _receptor_state(match.lastgroup or "", text[following.end() :][:90])
        if state:
            yield Hit(match.lastgroup or "", state, *match.span(), 2, False)
    if (
        not matches
        and previous
        and re.match(r"\s*(?:negative|positive|equivocal) reaction", text, re.IGNORECASE)
    ):
        named = [m for m in _RECEPTOR.finditer(previous) if m.lastgroup]
        state = _receptor_state("her2", text)
        if named and state:
            yield Hit(named[-1].lastgroup or "", state, 0, min(len(text), 60), 1, False)


def _receptor_state(name: str, after: str) -> str:
    after = re.split(r"\bordered\b|\bpending\b", after)[0]
    if name == "her2" and _EQUIVOCAL.search(after):
        return "equivocal"
    signs = [
        (m.start(), state)
        for p, state in ((_NEGATIVE, "negative"), (_POSITIVE, "positive"))
        for m in [p.search(after)]
        if m
    ]
    if signs:
        return min(signs)[1]
    percent = _PERCENT.search(after)
    if percent and name != "her2":
        return "positive" if int(percent[1]) >= 1 else "negative"
    return ""


def _state_before(before: str) -> str:
    found = re.search(
        r"\b(positive|negative)(?: \w+)? (?:for|expression of|"
        r"staining for)\s(?:[\w/-]+(?: receptors?)?(?:,| and| or|/)\s?){0,3}$",
        before,
        re.IGNORECASE,
    )
    return found[1].lower() if found else ""


_KI67 = re.compile(
    r"(?:ki-? ?67|mib-? ?1)[^%\n;]{0,60}?[<>~]?\s?(\d{1,3})(?:\s?(?:-|to)\s?\d{1,3})?\s?(?:%|"
    r"percent)",
    re.IGNORECASE,
)


def find_ki67(text: str) -> Iterator[Hit]:
    """Ki-67 index in percent."""
    for match in _KI67.finditer(text):
        if int(match[1]) <= 100:
            yield Hit("ki67", f"{int(match[1])}%", *match.span(), 1, False)
