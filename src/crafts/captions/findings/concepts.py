"""What reports speak of, as tables: organs, procedures, and a small grammar of diagnoses.

A diagnosis is a head ("carcinoma") with modifiers before it ("invasive ductal") or behind it
("carcinoma, infiltrating ductal"), in English and the Latin of older reports. The grammar names
combinations that no list holds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# canonical name: what it is called in reports (regular expressions, whole words)
SITES: dict[str, str] = {
    "lymph node": r"lymph nodes?|nodal tissue|axillary contents",
    "breast": r"breasts?|mammary(?: gland)?|mammae",
    "prostate": r"prostat(?:e|ic)(?: gland)?",
    "seminal vesicle": r"seminal vesicles?",
    "rectum": r"rectum|rectal|rectosigmoid",
    "colon": r"(?:sigmoid |ascending |descending |transverse )?(?:colon|colonic)|colorect(?:al|"
    r"um)|cecum|cecal|large (?:bowel|intestine)",
    "appendix": r"appendix|appendiceal",
    "small intestine": r"small (?:bowel|intestine)|duoden(?:um|al)|jejun(?:um|al)|ile(?:um|al)|"
    r"ampulla(?: of vater)?",
    "stomach": r"stomach|gastric|antrum",
    "esophagus": r"o?esophag(?:us|eal)|gastroesophageal junction",
    "liver": r"liver|hepatic",
    "gallbladder": r"gallbladder",
    "bile duct": r"(?:common )?bile ducts?|biliary",
    "pancreas": r"pancreas|pancreatic",
    "lung": r"lungs?|pulmonary|bronch(?:us|ial)",
    "pleura": r"pleura|pleural",
    "mediastinum": r"mediastin(?:um|al)",
    "thymus": r"thymus|thymic",
    "kidney": r"kidneys?|renal",
    "bladder": r"(?:urinary )?bladder|vesical",
    "ureter": r"ureters?|ureteral",
    "urethra": r"urethra|urethral",
    "adrenal gland": r"adrenal(?: gland)?s?",
    "thyroid": r"thyroid(?: gland)?",
    "parathyroid": r"parathyroid",
    "salivary gland": r"parotid|submandibular gland|salivary gland",
    "larynx": r"larynx|laryngeal|vocal cords?|glottis|supraglottis|epiglottis",
    "pharynx": r"(?:oro|naso|hypo)?pharyn(?:x|geal)|tonsil(?:lar)?s?",
    "oral cavity": r"oral cavity|oral mucosa|tongue|floor of mouth|buccal mucosa|gingiva|palate|"
    r"mandible",
    "uterus": r"uterus|uterine|endometri(?:um|al)|myometrium",
    "cervix": r"(?:uterine )?cervix|endocervix|endocervical",
    "ovary": r"ovar(?:y|ies|ian)",
    "fallopian tube": r"fallopian tubes?",
    "vulva": r"vulvar?",
    "vagina": r"vaginal?",
    "placenta": r"placental?",
    "testis": r"test(?:is|es|icle|icular)",
    "penis": r"penis|penile",
    "skin": r"skin",
    "soft tissue": r"soft tissues?|retroperitoneum|thigh|subcutaneous tissue",
    "bone": r"bone|femur|tibia|humerus",
    "bone marrow": r"bone marrow",
    "spleen": r"spleen|splenic",
    "brain": r"brain|cerebr(?:um|al)|(?:frontal|temporal|parietal|occipital) lobe|cerebell(?:um|"
    r"ar)",
    "meninges": r"mening(?:es|eal)|dura",
    "eye": r"eye|choroid|uvea|uveal",
    "peritoneum": r"peritone(?:um|al)|omentum|omental",
}

PROCEDURES: dict[str, str] = {
    "modified radical mastectomy": r"modified radical mastectomy",
    "radical mastectomy": r"radical mastectomy",
    "simple mastectomy": r"(?:simple|total|skin[- ]sparing) mastectomy",
    "partial mastectomy": r"(?:wire[- ]guided |segmental |partial )+mastectomy|quadrantectomy",
    "mastectomy": r"mastectomy",
    "lumpectomy": r"lumpectomy|wide local excision",
    "sentinel node biopsy": r"sentinel (?:lymph )?node(?:s)?(?: #?\d)?,?(?: \w+,?){0,2} "
    r"(?:biopsy|excision)",
    "core biopsy": r"(?:core|needle|tru-?cut)(?: needle)? (?:core )?biops(?:y|ies)|core biopsies",
    "excisional biopsy": r"excisional biops(?:y|ies)",
    "punch biopsy": r"punch biopsy",
    "shave biopsy": r"shave biopsy",
    "endoscopic biopsy": r"endoscopic biops(?:y|ies)",
    "biopsy": r"biops(?:y|ies)",
    "transurethral resection": r"transurethral resection|TURBT|TURP",
    "prostatectomy": r"(?:radical )?prostatectomy",
    "cystectomy": r"(?:radical )?(?:cystectomy|cystoprostatectomy)",
    "partial nephrectomy": r"partial nephrectomy",
    "nephrectomy": r"(?:radical )?nephrectomy|nephroureterectomy",
    "hemicolectomy": r"(?:right |left )?hemicolectomy",
    "colectomy": r"(?:sub)?(?:total )?(?:sigmoid )?colectomy|sigmoidectomy",
    "low anterior resection": r"(?:low )?anterior resection",
    "abdominoperineal resection": r"abdominoperineal resection",
    "polypectomy": r"polypectomy",
    "gastrectomy": r"(?:(?:sub)?total |partial |distal )?gastrectomy",
    "esophagectomy": r"esophagectomy|esophagogastrectomy",
    "pancreaticoduodenectomy": r"pancreaticoduodenectomy|whipple(?: procedure| resection)?",
    "pancreatectomy": r"(?:distal )?pancreatectomy",
    "hepatectomy": r"(?:partial )?hepatectomy|liver resection",
    "lobectomy": r"lobectomy",
    "pneumonectomy": r"pneumonectomy",
    "wedge resection": r"wedge (?:resection|biopsy)",
    "thyroidectomy": r"(?:total |hemi)?thyroidectomy",
    "hysterectomy": r"(?:total |radical )*(?:abdominal )?hysterectomy",
    "oophorectomy": r"(?:salpingo-?)?oophorectomy",
    "orchiectomy": r"(?:radical )?orchi(?:d)?ectomy",
    "lymph node dissection": r"(?:axillary|neck|pelvic|lymph node)s? dissection|lymphadenectomy",
    "craniotomy": r"craniotomy",
    "curettage": r"curettage|curettings",
    "fine needle aspiration": r"fine needle aspiration|FNA",
    "amputation": r"amputation",
    "excision": r"(?:re-?)?excision",
    "resection": r"resection(?! margins?| lines?| edges?)",
}


class Diagnosis(NamedTuple):
    """What a phrase of the grammar says.

    Attributes:
        field: "histology", "in_situ" or "finding".
        value: canonical wording, lower case.
        malignant: an invasive or metastatic malignancy.
        metastatic: said to come from elsewhere.
        weight: how much the phrase tells; the number of words that specify.
    """

    field: str
    value: str
    malignant: bool
    metastatic: bool
    weight: int


_SAME = {
    "tumour": "tumor",
    "tumours": "tumor",
    "tumors": "tumor",
    "noninvasive": "non-invasive",
    "infiltrating": "invasive",
    "infiltrative": "invasive",
    "infiltrans": "invasive",
    "invasivum": "invasive",
    "duct": "ductal",
    "ductale": "ductal",
    "ducted": "ductal",
    "ducts": "ductal",
    "lobulare": "lobular",
    "papilliferous": "papillary",
    "papillare": "papillary",
    "mucinosum": "mucinous",
    "mucin-producing": "mucinous",
    "non-small": "non-small",
    "nonsmall": "non-small",
    "cells": "cell",
    "nevi": "nevus",
    "naevus": "nevus",
    "keratinising": "keratinizing",
    "transitional": "urothelial",
    "haemangioma": "hemangioma",
    "cancers": "cancer",
    "planocellulare": "squamous cell",
    "poorly-cohesive": "poorly cohesive",
    "urotheliale": "urothelial",
    "hepatocellulare": "hepatocellular",
    "anaplasticum": "anaplastic",
    "glioblastomas": "glioblastoma",
    "oligodendrogliomas": "oligodendroglioma",
    "cribrate": "cribriform",
    "micro-invasive": "microinvasive",
    "change": "changes",
    "oesophagitis": "esophagitis",
    "calcification": "calcifications",
    "microcalcification": "microcalcifications",
}

_SAYS = (
    "non-invasive noninvasive "
    "invasive infiltrating infiltrative infiltrans invasivum microinvasive micro-invasive ductal "
    "duct ductale ducted lobular lobulare "
    "papillary papillare micropapillary mucinous mucinosum colloid tubular medullary metaplastic "
    "apocrine cribriform cribrate comedo "
    "adenoid cystic squamous cell basal basaloid clear small large non-small nonsmall "
    "signet-ring signet ring spindle giant "
    "keratinizing keratinising nonkeratinizing non-keratinizing verrucous serous endometrioid "
    "urothelial urotheliale transitional "
    "hepatocellular hepatocellulare renal chromophobe follicular anaplastic anaplasticum "
    "neuroendocrine acinar acinic lepidic solid "
    "mixed pleomorphic alveolar embryonal myxoid dedifferentiated desmoplastic nodular "
    "superficial spreading acral lentiginous "
    "diffuse b-cell t-cell b t hodgkin non-hodgkin mantle marginal zone high-grade low-grade "
    "atypical usual florid complex simple "
    "sclerosing intraductal villous tubulovillous serrated sessile hyperplastic adenomatous "
    "inverted fibroepithelial phyllodes "
    "malignant benign metastatic encapsulated adenosquamous sarcomatoid undifferentiated "
    "poorly-cohesive cohesive intestinal-type "
    "epithelioid biphasic fibrolamellar pilocytic granulosa germ yolk sac mammary adrenocortical "
    "cortical oncocytic merkel ewing "
    "kaposi hurthle warthin stromal gastrointestinal nonseminomatous teratomatous columnar "
    "epithelial squamous intestinal fibrocystic "
    "stromal chronic acute active lymphocytic granulomatous interstitial pseudoangiomatous "
    "secretory collecting chordoid "
    "planocellulare anaplastic intraepithelial prostatic trophoblastic adult-type juvenile "
    "borderline conventional classical "
    "intradermal junctional compound dysplastic blue seborrheic actinic fundic gland "
    "cholangiocellular myxopapillary "
    "oligodendroglial astrocytic angiomatous meningothelial fibrous transitional psammomatous "
    "lipomatous"
).split()
_NOISE = (
    "residual recurrent multifocal multicentric unifocal primary extensive focal focally "
    "predominantly mostly well moderately "
    "poorly differentiated moderate poor grade high low intermediate to an a of the type variant "
    "pattern nos viable involving "
    "poorly-differentiated well-differentiated moderately-differentiated thyroid pulmonary "
    "colonic gastric pancreatic endometrial "
    "cervical ovarian breast lung colorectal rectal bladder testicular "
    "component associated and or with superficially minimally widely mild severe marked"
).split()
_LINK = r"(?:[\s,/&-]+(?:and|or|with|to|of)?[\s,-]*)"
_WORD = "|".join(sorted({re.escape(w) for w in _SAYS}, key=len, reverse=True))
_QUIET = "|".join(sorted(_NOISE, key=len, reverse=True))
_HEADS = (
    r"(?:[a-z]*(?:carcinomas?|sarcomas?|blastomas?|melanomas?|lymphomas?|gliomas?)|cancers?|"
    r"leuka?emia|"
    r"(?!stroma|granuloma|hematoma|haematoma|atheroma|condyloma|xanthoma\b)[a-z]{3,}omas?|"
    r"(?:tumou?rs?|neoplasms?)(?=\s|[,.;:)]|$)|nev(?:us|i)|naevus|polyps?|malignanc(?:y|ies)|"
    r"mesothelioma|keratos[ei]s|nephroblastoma|carcinoid)"
)
_TAIL = r"(?:[\s,-]+in[\s-]+situ)"
_FINDINGS = (
    r"(?:hyperplasia|metaplasia|dysplasia|neoplasia|adenosis|fibrocystic changes?|"
    r"(?:columnar cell )changes?|"
    r"(?:micro)?calcifications?|(?:epithelial )atypia|endometriosis|adenomyosis|cirrhosis|"
    r"steatosis|steatohepatitis|fibrosis|"
    r"gastritis|colitis|hepatitis|cholecystitis|pancreatitis|thyroiditis|pneumonia|esophagitis|"
    r"cystitis|"
    r"prostatitis|cervicitis|mastitis|atrophy|emphysema|granulomas?|hematoma|gynecomastia|"
    r"lymphadenitis|inflammation)"
)
# "non-invasive" is no "invasive"
_BEFORE = rf"(?:(?<!\bnon[- ])\b(?:{_WORD}|{_QUIET}){_LINK})*"
PHRASE = re.compile(
    rf"(?P<before>{_BEFORE})(?:\bin[\s-]+situ{_LINK})?(?P<middle>{_BEFORE})\b(?P<head>{_HEADS}|"
    rf"{_FINDINGS})\b"
    rf"(?P<situ>{_TAIL})?(?P<after>(?:[\s,(]+(?:{_WORD}|nos|type|variant|in situ|et in situ|and|"
    rf"with)\b)*)",
)
"""A diagnosis with its modifiers, in text of lower case."""

HEAD = re.compile(rf"{_HEADS}|{_FINDINGS}", re.IGNORECASE)
ABBREVIATIONS = {
    "dcis": "ductal carcinoma in situ",
    "lcis": "lobular carcinoma in situ",
    "idc": "invasive ductal carcinoma",
    "ilc": "invasive lobular carcinoma",
    "adh": "atypical ductal hyperplasia",
    "alh": "atypical lobular hyperplasia",
    "fea": "flat epithelial atypia",
    "hcc": "hepatocellular carcinoma",
    "gist": "gastrointestinal stromal tumor",
    "scc": "squamous cell carcinoma",
    "bcc": "basal cell carcinoma",
    "rcc": "renal cell carcinoma",
    "hgpin": "high-grade prostatic intraepithelial neoplasia",
    "gbm": "glioblastoma",
}
ABBREVIATION = re.compile(rf"\b(?:{'|'.join(ABBREVIATIONS)})\b", re.IGNORECASE)

_MALIGNANT = re.compile(
    r"carcinoma|sarcoma|blastoma|melanoma|lymphoma|glioma|astrocytoma|seminoma|mesothelioma|"
    r"myeloma|"
    r"leuka?emia|germinoma|chordoma|ependymoma|cancer|malignan|thymoma|carcinoid|"
    r"gastrointestinal stromal"
    r"|neuroendocrine tumor|pheochromocytoma|paraganglioma|teratoma|cytoma\b(?<!oncocytoma)"
)
_SITU = re.compile(r"\bin[\s-]+situ\b", re.IGNORECASE)


def read_phrase(match: re.Match[str]) -> list[Diagnosis]:
    """Diagnoses that a match of :data:`PHRASE` holds: one, or invasive and in situ of one head."""
    head = _canonical(match["head"].lower())
    words = _modifiers(match["before"]) + _modifiers(match["middle"] or "")
    after = match["after"] or ""
    # "carcinoma, keratinizing" reads "keratinizing carcinoma"
    behind = _modifiers(after)
    words = words if set(behind) <= set(words) - {"cell"} else behind + words
    if not {"serous", "intraepithelial"} & set(words):
        words = [word for word in words if word not in ("high-grade", "low-grade")]
    if re.fullmatch(_FINDINGS, match["head"], re.IGNORECASE):
        # "fibrocystic change" has its adjective in the head
        value = " ".join(word for word in [*words, head] if word)
        return [Diagnosis("finding", value, False, False, len(words))]
    return _neoplasms(match.group(), head, words)


def _neoplasms(phrase: str, head: str, words: list[str]) -> list[Diagnosis]:
    situ = bool(_SITU.search(phrase)) or "intraductal" in words and head == "carcinoma"
    invasive = "invasive" in words
    found = []
    kind = [word for word in words if word not in ("invasive", "metastatic", "intraductal")]
    kind = kind or (["ductal"] if "intraductal" in words and head == "carcinoma" else [])
    if situ and head in ("carcinoma", "adenocarcinoma", "melanoma"):
        value = " ".join([*_joined(kind), head, "in situ"])
        found.append(Diagnosis("in_situ", value, False, False, len(kind)))
        if not invasive:
            return found
    elif "intraductal" in words:
        kind = ["intraductal", *kind]
    if head in ("tumor", "neoplasm", "malignancy", "polyp") and not kind:
        return found
    value = " ".join([*(["invasive"] if invasive else []), *_joined(kind), head])
    malignant = bool(_MALIGNANT.search(value)) and "benign" not in words
    metastatic = "metastatic" in words
    if metastatic:
        value = "metastatic " + value
    return [Diagnosis("histology", value, malignant, metastatic, len(words)), *found]


def read_abbreviation(text: str) -> Diagnosis:
    """The diagnosis behind an abbreviation such as DCIS."""
    value = ABBREVIATIONS[text.lower()]
    if value.endswith("in situ"):
        return Diagnosis("in_situ", value, False, False, 1)
    if value.endswith(("hyperplasia", "atypia", "neoplasia")):
        return Diagnosis("finding", value, False, False, 1)
    return Diagnosis("histology", value, True, False, 2)


def _modifiers(text: str) -> list[str]:
    words: list[str] = []
    text = text.replace("poorly cohesive", "poorly-cohesive")
    for raw in re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()):
        word = _canonical(raw)
        if word in _NOISE or word in ("in", "situ", "et", "in-situ") or word in words[-1:]:
            continue
        words.append(word)
    return _with_and(text, words)


def _with_and(text: str, words: list[str]) -> list[str]:
    """Keep the "and" of a mixed diagnosis: ductal and lobular."""
    kinds = (
        "ductal",
        "lobular",
        "mucinous",
        "tubular",
        "papillary",
        "micropapillary",
        "cribriform",
    )
    for left in kinds:
        for right in kinds:
            pair = left in words and right in words and words.index(right) == words.index(left) + 1
            if pair and re.search(r"\band\b", text, re.IGNORECASE):
                where = words.index(right)
                return [*words[:where], "and", *words[where:]]
    return words


def _joined(words: list[str]) -> list[str]:
    unique: list[str] = []
    for word in words:
        if word not in unique or word in ("cell", "and"):
            unique.append(word)
    return unique


def _canonical(word: str) -> str:
    if word in _SAME:
        return _SAME[word]
    if word.endswith("omas"):
        return word[:-1]
    if word in ("polyps", "tumors", "neoplasms"):
        return word[:-1]
    return {"malignancies": "malignancy"}.get(word, word)
