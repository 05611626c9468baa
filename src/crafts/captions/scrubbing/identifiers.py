"""Patterns of what identifies a person: numbers, dates, names, places.

Every pattern works on normalised ASCII text. They are the first of two guards: what they miss must
still be a word of the lexicon to pass. They matter most for words that are both, such as the
surname Brown.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from crafts.captions.cleaning import ANY_GAP, line_around
from crafts.captions.vocabulary import load_lexicon


class Pattern(NamedTuple):
    """One kind of identifier."""

    kind: str
    pattern: re.Pattern[str]


_MONTH = (
    r"(?:jan(?:uary)?|febr?(?:uary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d"


PROTECTED = frozenset(
    "no not none without negative positive free absent present left right".split()
)
"""Words whose loss would turn a finding into its opposite; they are never part of a name."""

_UNITS = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = (
    "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|"
    "forty|fifty|sixty|seventy|eighty|ninety"
)
_ORDINAL = (
    r"(?:(?:twenty|thirty)[ -]?)?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|"
    r"tenth|eleventh|twelfth|\w{3,6}teenth|twentieth|thirtieth)"
)
_WORDED_YEAR = (
    rf"(?:(?:nineteen|twenty)[ -](?:hundred(?: and)?|oh|(?:{_TEENS}))(?:[ -](?:{_UNITS}))?"
    rf"|two thousand(?: and)?(?:[ -](?:{_TEENS}))?(?:[ -](?:{_UNITS}))?)"
)


def _make(kind: str, *alternatives: str) -> Pattern:
    return Pattern(kind, re.compile("|".join(f"(?:{one})" for one in alternatives), re.IGNORECASE))


PATTERNS = (
    _make(
        "email",
        r"[\w.+-]{1,64}\s?@\s?[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}",
        r"[\w.+-]{1,64}\s?\(at\)\s?[\w.-]{1,64}",
    ),
    _make(
        "url",
        r"(?:https?|ftp|file)\s?:\s?/+\S*",
        r"\bwww\.\S+",
        r"\b[\w-]{1,63}\.(?:com|org|net|edu|gov|io|info|biz)\b\S*",
    ),
    _make(
        "uuid",
        r"(?:\buuid\b\W*)?\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-\w{8,12}\b",
        r"\buuid\b\W*\S*",
    ),
    _make("barcode", r"\bTCGA(?:\s?-\s?[A-Z0-9]{1,5}){1,6}(?:\s?\n?-[A-Z]{2}\b)?"),
    _make(
        "number",
        r"\b\d{3}-\d{2}-\d{4}\b",
        # letters and digits of record and accession numbers: S12-34567, SP-2012-0012, 12:SP1234
        r"\b[A-Z]{1,4}[-:]?\d{2,4}[-:]\d{3,7}\b",
        r"\b(?=[A-Z]{0,4}\d{5,}|\d{1,5}[A-Z]{2,3}\d{2,})[A-Z0-9]{5,}\b",
        r"\b\d{2,4}[-:][A-Z]{1,4}[-:]?\d{2,7}\b",
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
        r"(?:\b(?:mrn|mr|ssn|nhs|pesel|dln|hcn|acct|account|accession|record|case|chart|specimen|"
        r"patient|lab(?:oratory)?|examination|surgical|reference|ref|order|requisition|policy|"
        r"hospital|encounter|visit|report|file|id|test|license|npi|dea)"
        r"(?:[ /]?(?:id|no|nr|num|number|record number|record))?\s?[.#:]{0,2}\s?#?\s?"
        r"(?:is |was )?:?\s?)(?=[A-Z-]{0,5}\d)[A-Z0-9]{1,6}(?:[-/:.]?[A-Z0-9]+)*(?<=\d{4}|"
        r"\d-\d{2}|[A-Z]\d{3}|\d[A-Z]\d{2})",
        r"\bno\.?\s?[A-Z]{0,3}-?\d{3,}(?:[-/]\d+)*",
    ),
    _make(
        "date",
        r"\b\d{1,2}\s?[/-]\s?\d{1,2}\s?[/-]\s?\d{1,4}\b",
        r"\b\d{1,2}\.\d{1,2}\.(?:\d{4}|\d{2})\b",
        rf"\b{_YEAR}[/.-]\d{{1,2}}[/.-]\d{{1,2}}(?:T\d\S*)?",
        rf"\b{_DAY}[ -](?:of )?{_MONTH}\b[ .,-]*(?:{_YEAR}|'?\d\d\b)?",
        rf"\b{_MONTH}[ .-]*{_DAY}\b(?:[ ,-]+(?:{_YEAR}|\d\d\b))?",
        rf"\b{_MONTH}[ .,-]*{_YEAR}\b",
        rf"\b{_ORDINAL}(?: day)?,? (?:of )?{_MONTH}\b(?:[ ,]+{_WORDED_YEAR}\b)?",
        rf"\b{_MONTH},? (?:the )?{_ORDINAL}\b(?:[ ,]+{_WORDED_YEAR}\b)?",
        rf"\b{_WORDED_YEAR}\b(?! (?:lymph|nod|cm|mm|of|slide|block|core))",
        r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
        rf"(?<![\d.]){_YEAR}(?![\d.]|\s?[x%]|\s?(?:g|cm|mm|ml)\b)",
    ),
    _make("time", r"\b\d{1,2}:\d{2}(?::\d{2})?\s?(?:[ap]\.?m\b\.?|hrs?\b|hours\b)?"),
    _make(
        "phone",
        r"(?:\b(?:phone|tel|telephone|fax|pager|beeper|mobile|cell|ext)\b\W{0,3}(?:no\.?|"
        r"number)?\W{0,3})"
        r"(?:\+?[\dx().-]\s?[\dx() .-]{5,})",
        r"(?<![\w.])\+?\d{0,3}[ .(-]{0,2}\d{3}[ .)-]{1,2}\d{3}[ .-]\d{4}(?:\s?(?:x|ext\.?)\s?\d+)?",
        r"(?<![\w.])\+\d[\d ().-]{7,}\d",
        r"\b\d{3}-\d{4}\b",
    ),
    _make(
        "age",
        r"\b(?:9\d|1[0-4]\d)[ -]?(?:years?|yrs?|y)\b[ -]?(?:old|of age|/?o)?\b",
        r"\bage[ds]?\W{0,3}(?:9\d|1[0-4]\d)\b",
        r"\b(?:ninety|nonagenarian|centenarian|one hundred)[- ]?\w*[ -]years?[ -]old",
    ),
)

# ---- names, places ---------------------------------------------------------------------------

_NAME_LABEL = re.compile(
    r"""\b(?: patient(?:'?s)?(?:\ name)? | (?:first|last|sur|family|given|full|maiden)\ ?name | name
      | (?:referring|requesting|ordering|attending|primary|consulting|treating|order
      |submitting)\ (?:physician|doctor|provider|surgeon|clinician|md)(?:\(s\))?
      | (?:physician|doctor|provider|surgeon|clinician|pathologist|resident|fellow|prosector
      |oncologist|radiologist|technician|cytotechnologist
      |transcriptionist)s?(?:\ in\ charge)?(?:\(s\))?
      | (?:dictated|transcribed|verified|authenticated|reported|grossed|examined|reviewed|signed
      |approved|validated|prepared)(?:\ out)?(?:\ electronically)?\ by
      | cc | copy\ to | copies\ to | next\ of\ kin | spouse | mother | father | guardian
      | contact | insurance | insurer | employer
      | hospital | clinic | institution | facility | practice | ward | department
      | unit\ in\ charge | laboratory | address | residence | city | state | zip | country | county
      | sex | gender | race | ethnicity(?:\ \(race\))? | dob | date\ of\ birth | birth\ ?date
      | pesel | case\ \# | age
    )\s?[:#]+[ .]*""",
    re.IGNORECASE | re.VERBOSE,
)
_TITLE = re.compile(
    r"\b(?:Drs?|DRS?|Mr|MR|Mrs|MRS|Ms|MS|Miss|MISS|Prof|PROF|Professor|Doctor|DOCTOR|Nurse|Sir|"
    r"Physician|Surgeon|Pathologist)\b\.?(?=\s+[A-Z])[ ]+"
)
_BY = re.compile(
    r"\b(?:signed|verified|reviewed|dictated|transcribed|reported|discussed|performed|examined|"
    r"interpreted|called|communicated|submitted|prepared|approved|authenticated|attested|faxed|"
    r"given|notified|seen|read|grossed|requested|ordered|referred|sent|informed|told|agrees|"
    r"concurs|confirmed|provided|obtained|accompanied|consultation|intradepartmentally)"
    r"(?:[ ]out)?(?:[ ]electronically)?[ ](?:by|with|to|from)[ :]+",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(
    r",?\s*\b(?:M\.?D|D\.?O|Ph\.?\s?D|M\.?B\.?B\.?S|MBChB|FRCPath|FRCPC|FCAP|F\.C\.A\.P|FACS|PA-?C|"
    r"R\.?N|N\.?P|DDS|DMD|DVM|CT\s?\(ASCP\)|HTL|MPH)\b\.?"
)
_INSTITUTION = re.compile(
    r"\b(?i:hospitals?|medical\s+(?:center|centre|college|school|group|associates|clinic|plaza)|"
    r"clinics?|"
    r"infirmary|health\s?care|health\s+(?:system|center|centre|services|sciences|network|partners)|"
    r"institutes?|universit\w+|college|laborator(?:y|ies)|labs?|foundation|hospice|"
    r"surgery\s+center|cancer\s+cent(?:er|re)|practice|associates|partners|incorporated|inc|llc|"
    r"plc|ltd|sanatorium|polyclinic|klinik\w*|group\s+practice)\b"
)
_STREET = re.compile(
    r"\b\d{1,6}[A-Z]?,?[ ]+(?:(?:[NSEW]\.?|[A-Z][A-Za-z.'-]*|of|the|de|la)[ ]+){0,4}"
    r"(?i:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|way|place|pl|"
    r"square|"
    r"sq|terrace|parkway|pkwy|circle|cir|highway|hwy|route|rte|crescent|trail|plaza|alley|turnpike|"
    r"expressway|freeway|close|gardens|mews|walk|row)\b\.?"
)
_NUMBERED_CAPITALS = re.compile(
    r"\b\d{1,6}[A-Z]?,?[ ]+((?:[A-Z][A-Za-z.'-]+[ ]+){0,3}[A-Z][A-Za-z'-]+)\b"
)
_UNIT = re.compile(
    r"\b(?i:apt|apartment|flat|studio|suite|ste|unit|box|po box|p\.o\. box|psc|room|floor|bldg|"
    r"building)\b"
    r"\.?\s?#?\s?\d+[A-Za-z]?\b(?!\s?(?:x|mm|cm|%)\b)(?:,?\s*(?:Box|BOX)\s+\d+)?"
    r"|\b(?i:(?:lives?|living|resid(?:es?|ing)|domiciled) (?:at|in))\b[^\n;]*?(?=\.\s|\n|$)"
)
_ZIP = re.compile(
    r"(?:\b(?:[A-Z][A-Za-z.'-]*[ ]){0,3}[A-Z][A-Za-z.'-]*,?[ ]+)?\b[A-Z]{2},?[ ]+\d{5}(?:-\d{4})?\b"
    r"|\b[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}\b"
)
_TOKEN = re.compile(r"[A-Za-z][A-Za-z'-]*\b(?!\d)\.?|[A-Za-z]?\d[\w.,/-]*|[^\sA-Za-z\d]")
_PARTICLES = {
    "de",
    "van",
    "von",
    "der",
    "la",
    "le",
    "da",
    "del",
    "bin",
    "al",
    "di",
    "st",
    "jr",
    "sr",
}


def is_shouted(line: str) -> bool:
    """Whether a line is written in capitals, so that a capital says nothing about a word."""
    letters = [letter for letter in line if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) > 0.7 * len(letters)


def name_like(word: str, shouted: bool, *, expected: bool = False) -> bool:
    """Whether a word may belong to a name when it stands where names stand.

    Args:
        word: as written, perhaps with a full stop.
        shouted: its line is in capitals.
        expected: nothing but a name can follow (Dr. ..., signed by ...): in mixed case any
            capitalised word is one then, even a word of pathology.
    """
    bare = word.strip(".'-")
    lexicon = load_lexicon()
    if not bare or bare.lower() in PROTECTED:
        return False
    if len(bare) == 1 or bare.lower() in _PARTICLES:
        return bare.isupper() or bare.lower() in _PARTICLES
    unknown = not lexicon.kind(bare) or bare.lower() in lexicon.also_names
    if shouted:
        return unknown
    if expected and bare.istitle():
        return True
    return bare[0].isupper() and (unknown or lexicon.kind(bare) == "common")


def name_end(text: str, start: int, *, most: int = 5, expected: bool = False) -> int:
    """Where a name that begins at ``start`` ends; ``start`` itself where none begins."""
    shouted = is_shouted(line_around(text, start))
    end, words = start, 0
    for match in _TOKEN.finditer(text, start):
        token = match.group()
        if words >= most or "\n" in text[end : match.start()]:
            break
        if (token in (",", "&", "-", "/") or re.fullmatch(ANY_GAP, token)) and words:
            continue
        if token.lower() == "and" and words:
            continue
        after_initial = re.search(r"\b[A-Z]\.?\s*$", text[start : match.start()]) is not None
        if not name_like(token, shouted, expected=expected or after_initial):
            break
        end, words = match.end(), words + 1
        if token.endswith(".") and len(token) > 3:
            return end - 1
    return end


def find_names(text: str) -> list[tuple[int, int, str]]:
    """Spans (start, end, kind) of names, institutions and addresses; unsorted, may overlap."""
    spans: list[tuple[int, int, str]] = []
    for match in _NAME_LABEL.finditer(text):
        spans.append((match.start(), _value_end(text, match.end()), "name"))
    for pattern in (_TITLE, _BY):
        for match in pattern.finditer(text):
            end = name_end(text, match.end(), expected=True)
            if end > match.end() or pattern is _TITLE:
                spans.append((match.start(), end, "name"))
    for match in _CREDENTIAL.finditer(text):
        start = name_start(text, match.start())
        if start < match.start() or "." in match.group():
            spans.append((start, match.end(), "name"))
    for match in _INSTITUTION.finditer(text):
        spans.append(
            (_institution_start(text, match.start()), _place_end(text, match.end()), "place")
        )
    spans.extend((m.start(), m.end(), "address") for m in _STREET.finditer(text) if _is_street(m))
    spans.extend((m.start(), m.end(), "address") for p in (_UNIT, _ZIP) for m in p.finditer(text))
    for match in _NUMBERED_CAPITALS.finditer(text):
        end = _last_unknown(text, match)
        if end:
            spans.append((match.start(), end, "address"))
    return spans


def _last_unknown(text: str, match: re.Match[str]) -> int:
    """Where a house number with words ends; 0 where all of its words are in the lexicon."""
    lexicon = load_lexicon()
    words = list(re.finditer(r"\S+", match.group(1)))
    unknown = [w for w in words if not lexicon.kind(re.sub(r"[^A-Za-z]", "", w.group()))]
    if not unknown:
        return 0
    shouted = is_shouted(line_around(text, match.start()))
    return match.start(1) + unknown[-1].end() if shouted else match.end()


def _is_street(match: re.Match[str]) -> bool:
    # "2 cm row", "10 x 4 cm place" are no streets: a street has a capital before its kind
    words = match.group().split()[1:]
    return len(words) >= 2 and all(word[0].isupper() for word in words[:-1] if len(word) > 3)


_SHORT_VALUE = 90
_NEXT_LABEL = re.compile(r"[A-Z][A-Za-z/#]*(?: [A-Za-z/#]+){0,3}\s?:")


def _value_end(text: str, start: int) -> int:
    """Where the value behind a label ends: the line, the next label or the first finding."""
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    following = _NEXT_LABEL.search(text, start, line_end)
    limit = following.start() if following else line_end
    if limit <= start:
        # the value may stand on the next line, if that reads like a name
        return name_end(text, start + 1) if text[start : start + 1] == "\n" else start
    if limit - start <= _SHORT_VALUE and not following:
        return limit
    lexicon = load_lexicon()
    end = start
    denial = limit  # "No carcinoma seen" behind a name: what denies belongs to the finding
    for count, match in enumerate(_TOKEN.finditer(text, start, limit)):
        word = match.group().strip(".'-").lower()
        if word in PROTECTED:
            denial = min(denial, match.start())
        found = lexicon.kind(word) == "term" and word not in lexicon.also_names
        # "C. Pons", "Vasa, Colin": an initial before it or a comma behind it make a name
        found = found and not re.search(r"\b[A-Z]\.?\s*$", text[start : match.start()])
        found = found and not re.match(
            r",\s+[A-Z][a-z]+\s*(?:$|\n|[A-Z][\w ]*:)", text[match.end() :]
        )
        if count >= 14 or (found and len(word) > 2):
            return min(end, denial)
        end = match.end()
    return end


def name_start(text: str, end: int, *, most: int = 4) -> int:
    """Where a name that ends at ``end`` begins; ``end`` itself where none ends there."""
    line_start = text.rfind("\n", 0, end) + 1
    shouted = is_shouted(line_around(text, max(end - 1, line_start)))
    start = end
    for match in list(_TOKEN.finditer(text, line_start, end))[::-1][: most + 2]:
        token = match.group()
        if token == "," or re.fullmatch(ANY_GAP, token):
            continue
        if not name_like(token, shouted) or (len(token) > 3 and token.endswith(".")):
            break
        start = match.start()
    return start


def _institution_start(text: str, end: int) -> int:
    line_start = text.rfind("\n", 0, end) + 1
    shouted = is_shouted(line_around(text, max(end - 1, line_start)))
    lexicon = load_lexicon()
    start = end
    for match in list(_TOKEN.finditer(text, line_start, end))[::-1][:7]:
        token = match.group()
        word = token.strip(".'-").lower()
        known_kind = word in _KINDS_OF_PLACE and start == end
        joins = known_kind or word in ("of", "and", "the", "for", "de", "&", "'s", "'")
        proper = token[0].isupper() and (
            name_like(token, shouted)
            or (not shouted and lexicon.kind(word) != "")
            or token == "St."
        )
        if not joins and not proper:
            break
        if proper or known_kind:
            start = match.start()
    return start


_KINDS_OF_PLACE = frozenset(
    "cancer pathology medical surgical clinical diagnostic heart eye breast skin women children "
    "regional general "
    "memorial oncology research health university community county city state".split()
)


def _place_end(text: str, start: int) -> int:
    """An institution may go on: 'of Springfield', ', Department of Pathology'."""
    match = re.compile(r"(?:\s+(?:of|at|for|in)\s+(?:the\s+)?)").match(text, start)
    if not match:
        return start
    end = name_end(text, match.end(), most=4)
    return end if end > match.end() else start
