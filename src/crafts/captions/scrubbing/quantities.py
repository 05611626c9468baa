"""Where a number may stand in a de-identified text: it measures, grades, stages, counts or scores.

Every other number goes, whatever it is. The patterns are narrow on purpose: at most three digits,
and the word that gives them their meaning beside them.
"""

from __future__ import annotations

import re

_N = r"\d{1,3}(?:[.,]\d{1,2})?"
_UNIT = (
    r"(?:cms?|mms?|um|microns?|centimet(?:er|re)s?|millimet(?:er|re)s?|g|gms?|grams?|kg|ml|cc|%|"
    r"percent|per ?cent|mm2|sq)(?![A-Za-z\d])"
)
_STAGE = (
    r"(?<![A-Za-z\d])[acmpruy]{0,3}(?:T(?:is|a|x|[0-4OI][a-dimIlO]{0,3})|"
    r"N[0-3XO][a-cimIlO]{0,3}|M[01XO][a-c]?|L[01OXV]{1,3}|V[0-2OX]{1,2}|R[012OX]|Pn[01OX]|"
    r"PN[01OX])"
)
_MARKER = (
    r"(?<![\w.])(?:CD ?-?\d{1,3}[a-z]?|CK ?-?\d{1,2}(?:/\d{1,2})?|"
    r"cytokeratins? ?-?\d{1,2}(?:/\d{1,2})?|"
    r"p-?(?:16|21|27|40|53|57|63|120|504s?)(?:ink4a)?|her ?-?2(?: ?/ ?neu| neu)?|HER2|ki ?-?67|"
    r"S ?-?100|D2-40|TTF ?-?1|WT ?-?1|"
    r"MUC ?-?\d(?:AC)?|PAX ?-?[258]|GATA ?-?3|SOX ?-?\d{1,2}|CAM ?5\.2|AE ?1(?: ?/ ?(?:AE)? ?3)?|"
    r"AE ?3|34 ?beta ?E ?12|34BE12|"
    r"MLH ?-?1|PMS ?-?2|MSH ?-?[26]|BCL ?-?[126]|HMB ?-?45|CDX ?-?2|BRCA ?-?[12]|MDM ?-?2|"
    r"CDK ?-?4|IDH ?-?[12]|"
    r"MIB ?-?1|PD-?L1|ROS ?-?1|DOG ?-?1|SATB ?-?2|INI ?-?1|SMAD ?-?4|NKX ?3\.1|NKX2\.2|Ber-?EP4|"
    r"MOC-?31|B72\.3|"
    r"GCDFP-?15|STAT6|TFE3|TLE1|MART-?1|HNF ?-?1|CA ?-?(?:125|19-9|IX)|EGFR|PSAP|GLUT-?1|SV40|"
    r"HPV ?-?(?:16|18)|"
    r"1p(?: ?/ ?19q)?|19q|[RV]\d{3}[HE]|c-?kit|c-?erb-?B-?2|14-3-3|beta-?2|factor VIII|"
    r"H ?& ?E)(?![\w])"
)
_SCALE = (
    r"(?:grade[ds]?|grading|gr|NHG|SBR|NSBR|isup|who|gleason|pattern|patterns|scores?|stage|"
    r"level|type|class|category|"
    r"points?|total|sum|rate|counts?|formations?|pleomorphism|nuclei|nuclear|tubules?|tubular|"
    r"mitos[ei]s|mitotic|figures|"
    r"index|indices|intensity|group|differentiation|papilla|part|g|multiplicity|quadrants?|clark|"
    r"borrmann|her2|"
    r"histologic|architecture|glands?|masses|foci|nodules)"
)
_CHAIN = (
    rf"{_N}\+?(?:\s?(?:/|-|\+|=|of|out of|"
    rf"to)\s?\d{{1,2}}(?:\.\d)?\+?){{0,4}}(?:[/ ]+(?:\d+[ ]?)?(?:HPFs?|mitos\w+|mm2?))?"
)
_ROMAN = r"(?:IV|V|I{1,3}|VI)(?:[A-Ca-c]\d?)?(?:\s?[-/]\s?I{1,3}V?)?"
_NUMBERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\w./-])[<>~]?\s?{_N}(?:\s?(?:x|by|to|-|and|/)\s?{_N}){{0,3}}\s?-?{_UNIT}",
        rf"(?<![\w./-]){_N}(?:\s?(?:cm|mm))?(?:\s?x\s?{_N}(?:\s?(?:cm|mm))?){{1,3}}(?![\w/])",
        rf"\b{_SCALE}\b[\s:=(,-]{{0,5}}(?:of |is |was |equals )?(?:\(?(?:{_CHAIN}|"
        rf"{_ROMAN})(?![\w-])[\s,)]{{0,2}}){{1,2}}(?:\(?(?:of|out of|/)\s?(?:\d|I{{1,3}})\)?)?",
        r"\b(?:[TNM])(?=[ -]?(?:stage|category|classification)\b)",
        r"\b[TNM](?:[ -](?:stage|category))[\s:=]{0,3}[ptn]{0,2}(?:\d[a-c]?|X|is)(?!\w)",
        r"(?<![\d/.])\d(?: ?\+ ?\d){1,2}(?: ?= ?\d{1,2}(?:/10)?)?(?![\d/])",
        r"(?<![\w.])[0-4]\+(?![\w+])",
        r"(?<![\w./-])\d{1,3}\s?(?:/|\(?\s?of|"
        r"out of)\s?(?:the )?\d{1,3}(?![\w/.-]*\d)(?=[^.;\n]{0,60}(?:node|metasta|positive|"
        r"negative|hpf|field|core|\)))",
        r"(?:node|metasta|positive|negative|lymph|regional|axillary|"
        r"involv\w*)[^.;\d\n]{0,30}\(?(?<![\w./-])\d{1,3}\s?(?:/|of|"
        r"out of)\s?\d{1,3}(?![\w/.-]*\d)(?:\s?,\s?\d{1,3}/\d{1,3})*",
        r"(?<![\w./#-])\(?\d{1,3}\)?(?=\s(?:\(?of \d|[a-z]+[ -]){0,4}(?:nodes?|cores?|fragments?|"
        r"foci|mitos[ei]s|mitotic|hpfs?|high|fields?|pieces|masses|nodules|lesions|tumou?rs?|"
        r"polyps?|cysts|cm|mm|/)\b)",
        r"(?<![\w./-])\d{1,3}(?=\s(?:per|/)\s?\d{1,2}\s?(?:hpf|high|mm))",
        r"(?<![\w./-])\d{1,3}(?=\s(?:with|contain\w*|show\w*|are|is|were|was|positive|negative|"
        r"involved)\b[^.\n]{0,30}(?:metast|positiv|negativ|involv|carcinoma|tumou?r))",
        r"(?:multiple|all|of the|nodes?|contains?)\s\(?\d{1,2}\)?(?![\w./])(?=\s(?:\(|"
        r"[a-z]+ ){1,4})",
        r"(?:per|/)\s?\d{1,2}\s?(?:hpfs?|high)",
        r"(?:er|pr|receptors?|score|her2(?:/neu)?|ki-?67|"
        r"allred)\W{1,3}(?:\w+\W{1,3}){0,2}\(?(?:[0-3]\+?|\d/8)(?![\w.%])",
        r"\b(?:[1-9]|1[0-2])(?::[03]0)?[ -]?o'? ?clock",
        r"\b[1-8]?\d(?=[ -]?(?:years?|yrs?)[ -]?(?:old|of age)\b|[ -]y/?o\b)",
        r"\b(?:[BT]|NK|clear|plasma)(?=[ -]cells?\b)",
    )
)
_MIXED = re.compile(
    rf"{_STAGE}+(?:\s?[,/]?\s?{_STAGE})*(?:\s?/?\(?(?:sn|i[+-]|mol[+-]|mi|f)\)?/?)?(?![A-Za-z\d])",
    re.IGNORECASE,
)
_MARKERS = re.compile(_MARKER, re.IGNORECASE)
_NHG = re.compile(r"\bNHG ?-?[123]\b|\bG ?[1-4X]\b(?!-)|\bG ?I{1,3}\b", re.IGNORECASE)


def find_quantities(text: str) -> list[bool]:
    """For each character: does it stand where a number, stage or marker is a finding?"""
    allowed = [False] * len(text)
    for pattern in (*_NUMBERS, _MIXED, _MARKERS, _NHG):
        for match in pattern.finditer(text):
            allowed[match.start() : match.end()] = [True] * (match.end() - match.start())
    return allowed
