"""The thirty cancers of the TCGA text sets: code, name, organ, and the words that name them.

Thirty-one TCGA studies, of which colon (COAD) and rectum (READ) count as one cancer. A further
cancer is a row in a file, not code: see ``load_cancers``. ``load_categories`` gives the categories
of the category guidance loss, the cancers or others, with prompts and the labels that mean them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crafts.core.errors import DataError, refusal
from crafts.core.parsing import parse_json, parse_yaml
from crafts.core.tables import CSV_SUFFIXES, TABLE_SUFFIXES, open_table

# code(s); name; organ; synonyms
_TABLE = """
ACC; adrenocortical carcinoma; adrenal gland; adrenal cortical carcinoma
BLCA; bladder urothelial carcinoma; bladder; urothelial carcinoma|transitional cell carcinoma|bladder cancer
BRCA; breast invasive carcinoma; breast; breast carcinoma|breast cancer|invasive ductal carcinoma|invasive lobular carcinoma|mammary carcinoma|triple negative breast cancer
CESC; cervical squamous cell carcinoma; cervix; cervical carcinoma|cervical cancer|carcinoma of the cervix|endocervical adenocarcinoma
CHOL; cholangiocarcinoma; bile duct; bile duct carcinoma|biliary adenocarcinoma
COADREAD COAD READ; colorectal adenocarcinoma; colorectum; colon adenocarcinoma|rectum adenocarcinoma|rectal adenocarcinoma|colorectal carcinoma|colorectal cancer|colon cancer|colon carcinoma|colonic adenocarcinoma|rectal cancer
DLBC; diffuse large B-cell lymphoma; lymph node; large b cell lymphoma|dlbcl
ESCA; esophageal carcinoma; esophagus; oesophageal carcinoma|esophageal cancer|esophageal adenocarcinoma|esophageal squamous cell carcinoma|oesophageal cancer
HNSC; head and neck squamous cell carcinoma; head and neck; oral squamous cell carcinoma|laryngeal squamous cell carcinoma|oral cavity squamous cell carcinoma|head and neck cancer
KICH; chromophobe renal cell carcinoma; kidney; kidney chromophobe|chromophobe carcinoma
KIRC; clear cell renal cell carcinoma; kidney; kidney renal clear cell carcinoma|renal clear cell carcinoma|clear cell carcinoma of the kidney
KIRP; papillary renal cell carcinoma; kidney; kidney renal papillary cell carcinoma|papillary carcinoma of the kidney
LGG; lower grade glioma; brain; low grade glioma|oligodendroglioma|astrocytoma|brain lower grade glioma
LIHC; hepatocellular carcinoma; liver; liver hepatocellular carcinoma|liver cancer
LUAD; lung adenocarcinoma; lung; pulmonary adenocarcinoma|adenocarcinoma of the lung
LUSC; lung squamous cell carcinoma; lung; pulmonary squamous cell carcinoma|squamous cell carcinoma of the lung|squamous cell lung carcinoma
MESO; mesothelioma; pleura; malignant mesothelioma|pleural mesothelioma
OV; ovarian serous cystadenocarcinoma; ovary; ovarian carcinoma|ovarian cancer|ovarian serous carcinoma
PAAD; pancreatic adenocarcinoma; pancreas; pancreatic ductal adenocarcinoma|pancreatic cancer|pancreatic carcinoma
PCPG; pheochromocytoma and paraganglioma; adrenal gland; pheochromocytoma|paraganglioma
PRAD; prostate adenocarcinoma; prostate; prostatic adenocarcinoma|prostate cancer|prostate carcinoma|adenocarcinoma of the prostate
SARC; sarcoma; soft tissue; leiomyosarcoma|liposarcoma|soft tissue sarcoma
SKCM; skin cutaneous melanoma; skin; melanoma|cutaneous melanoma
STAD; stomach adenocarcinoma; stomach; gastric adenocarcinoma|gastric cancer|gastric carcinoma|stomach cancer
TGCT; testicular germ cell tumor; testis; testicular germ cell tumour|seminoma|germ cell tumor
THCA; thyroid carcinoma; thyroid; thyroid cancer|papillary thyroid carcinoma|thyroid papillary carcinoma
THYM; thymoma; thymus; thymic carcinoma|thymic tumor
UCEC; uterine corpus endometrial carcinoma; uterus; endometrial carcinoma|endometrial adenocarcinoma|endometrioid carcinoma|endometrial cancer
UCS; uterine carcinosarcoma; uterus; carcinosarcoma of the uterus
UVM; uveal melanoma; eye; choroidal melanoma
"""  # noqa: E501
PROMPT_TEMPLATES = (
    "an H&E image of {name}",
    "a histology slide of {name}, H&E stain",
    "{organ}, {name}, H&E",
    "{organ} tissue showing {name}, hematoxylin and eosin",
)
UNKNOWN_CATEGORY = -1
_COLUMNS = ("code", "name", "organ", "synonyms", "studies")


@dataclass(frozen=True)
class Cancer:
    """One cancer.

    Attributes:
        code: upper case, one per cancer ("BRCA"; "COADREAD" for the merged pair).
        name: in plain words.
        organ: where it arises.
        synonyms: other names, without the name itself.
        studies: TCGA study codes that count as this cancer.
    """

    code: str
    name: str
    organ: str
    synonyms: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Category:
    """One category of the category guidance loss.

    Attributes:
        name: code of a cancer, or name of a class.
        prompts: texts whose mean direction embeds it, at least one.
        labels: what the label of a row may say to mean it, the name among them.
    """

    name: str
    prompts: tuple[str, ...]
    labels: tuple[str, ...]


def _read_table(text: str) -> tuple[Cancer, ...]:
    cancers = []
    for line in text.strip().splitlines():
        codes, name, organ, synonyms = (part.strip() for part in line.split(";"))
        code, *merged = codes.split()
        cancers.append(
            Cancer(code, name, organ, tuple(synonyms.split("|")), tuple(merged) or (code,))
        )
    return tuple(cancers)


CANCERS = _read_table(_TABLE)


def cancer_of(text_or_code: str, cancers: Sequence[Cancer] = CANCERS) -> Cancer | None:
    """Find the cancer that a study code ("BRCA", "TCGA-READ") or a text names.

    A whole string that is a code wins; in a text the longest name or synonym, as whole words,
    decides, so that "papillary thyroid carcinoma" is thyroid. Codes inside a text are not read.

    Returns:
        The cancer, or None where the text names none or two of equally long names disagree.
    """
    code = text_or_code.strip().upper().removeprefix("TCGA-")
    for cancer in cancers:
        if code == cancer.code or code in cancer.studies:
            return cancer
    words = f" {_plain(text_or_code)} "
    found: dict[int, set[str]] = {}
    for cancer in cancers:
        for name in (cancer.name, *cancer.synonyms):
            if f" {_plain(name)} " in words:
                found.setdefault(len(_plain(name)), set()).add(cancer.code)
    best = found[max(found)] if found else set()
    return next((c for c in cancers if best == {c.code}), None)


def cancer_category(cancer: Cancer) -> Category:
    """The category of a cancer: prompts of ``PROMPT_TEMPLATES``; codes, name and synonyms mean it.

    A TCGA study may be written with or without ``TCGA-``.
    """
    studies = [f"{prefix}{study}" for study in cancer.studies for prefix in ("", "TCGA-")]
    prompts = [text.format(name=cancer.name, organ=cancer.organ) for text in PROMPT_TEMPLATES]
    labels = dict.fromkeys([cancer.code, *studies, cancer.name, *cancer.synonyms])
    return Category(cancer.code, tuple(prompts), tuple(labels))


def load_categories(path: Path | None = None) -> tuple[Category, ...]:
    """The categories that a recipe names.

    Args:
        path: None: the thirty cancers. ``.yaml`` or ``.csv``: these and the file's, see
            :func:`load_cancers`. ``.json``: the classes of the file and no others, as a mapping
            of names to mappings with ``prompts``, a list of texts; other keys are not read.

    Raises:
        DataError: the file is unusable, or two categories go by the same label.
    """
    if path is not None and path.suffix.lower() == ".json":
        categories = _read_classes(path)
    else:
        cancers = CANCERS if path is None else load_cancers(path)
        categories = tuple(cancer_category(cancer) for cancer in cancers)
    _label_index(categories, str(path or "taxonomy"))
    return categories


def category_numbers(labels: Iterable[Any], categories: Sequence[Category]) -> list[int]:
    """Place of each row's category in ``categories``; -1 where the label means none of them.

    A label must be a name of the category as a whole, without regard to case and punctuation: one
    that only mentions it ("no prostate cancer") does not count, and captions are never read.
    """
    index = _label_index(categories, "categories")
    plain = (_plain("" if label is None else str(label)) for label in labels)
    return [index.get(label, UNKNOWN_CATEGORY) for label in plain]


def _label_index(categories: Sequence[Category], where: str) -> dict[str, int]:
    index: dict[str, int] = {}
    for number, category in enumerate(categories):
        for label in category.labels:
            if not (plain := _plain(label)):
                continue  # signs alone: a label without any word means nothing
            first = index.setdefault(plain, number)
            if first != number:
                raise DataError(
                    where,
                    came=f"{label!r} for {categories[first].name} and for {category.name}",
                    allowed="labels that mean one category",
                    do="Take the label from one of the two.",
                )
    return index


def _read_classes(path: Path) -> tuple[Category, ...]:
    """Classes with prompts from a JSON file."""
    try:
        classes = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # of which a fault of the encoding is one
        raise _refusal_of_classes(str(path), " ".join(str(error).split())) from error
    if not isinstance(classes, dict) or not classes:
        came = "no classes" if classes == {} else f"a {type(classes).__name__}"
        raise _refusal_of_classes(str(path), came)
    categories = []
    for name, values in classes.items():
        prompts = values.get("prompts") if isinstance(values, dict) else None
        texts = prompts if isinstance(prompts, list) else []
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise _refusal_of_classes(f"{path}: {name}", f"prompts {prompts!r}"[:80])
        categories.append(Category(name, tuple(texts), (name,)))
    return tuple(categories)


_refusal_of_classes = refusal(
    DataError,
    allowed='{"name": {"prompts": ["text", ...]}, ...}',
    do="Correct the file of classes.",
)


def load_cancers(path: Path) -> tuple[Cancer, ...]:
    """Add the cancers of a file; one whose code is known replaces the known one.

    Args:
        path: ``.yaml`` (a list of mappings) or ``.csv`` with a first line of names, between commas
            or semicolons: code, name, organ and, optional, synonyms and studies (a list in YAML,
            ``a|b`` in csv).

    Raises:
        DataError: the file is no such table or has no rows, or a row lacks a field or has an
            unknown one.
    """
    merged = {cancer.code: cancer for cancer in CANCERS}
    rows = list(_read_rows(path))
    if not rows:
        raise _refusal(str(path), "no rows")
    for number, row in enumerate(rows, start=1):
        cancer = _cancer_from(row, f"{path}: row {number}")
        merged[cancer.code] = cancer
    return tuple(merged.values())


def _read_rows(path: Path) -> Iterable[Any]:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _table_rows(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(str(path), str(error)) from error
    if not text.strip():
        raise _refusal(str(path), "an empty file")
    try:
        rows = parse_yaml(text)
    except ValueError as error:
        raise _refusal(str(path), f"no valid YAML ({error})") from None
    if not isinstance(rows, list):
        raise _refusal(str(path), f"a {type(rows).__name__}")
    return rows


def _table_rows(path: Path) -> Iterable[Any]:
    table = open_table(path, _refusal)
    if path.suffix.lower() in CSV_SUFFIXES and not table.header:
        raise _refusal(str(path), "an empty file")
    for row in table.rows:
        if row.fault:
            raise _refusal(f"{path}: row {row.number}", row.fault)
        yield row.cells


def _cancer_from(row: Any, where: str) -> Cancer:
    if not isinstance(row, Mapping):
        raise _refusal(where, repr(row))
    values = {key: value for key, value in row.items() if value not in (None, "", [])}
    unknown = [str(key) for key in values if key not in _COLUMNS]
    missing = [key for key in _COLUMNS[:3] if not isinstance(values.get(key), str)]
    if unknown or missing:
        came = f"unknown field {unknown[0]!r}" if unknown else f"no text in {missing[0]!r}"
        raise _refusal(where, came)
    code = values["code"].upper()
    return Cancer(
        code, values["name"], values["organ"], _names(values, "synonyms", where),
        _names(values, "studies", where) or (code,),
    )  # fmt: skip


def _names(values: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """The names under a key: a YAML list, or one text with bars between them."""
    value = values.get(key, "")
    names = value.split("|") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refusal(where, f"{key}: {value!r}")
    return tuple(name.strip() for name in names if name.strip())


_refusal = refusal(
    DataError,
    allowed=f"rows with {', '.join(_COLUMNS[:3])} and optional {' and '.join(_COLUMNS[3:])}",
    do="Correct the file of cancers.",
)


def _plain(text: str) -> str:
    """Lower case words of any script between single spaces."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))
