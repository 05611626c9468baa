"""Captions composed from what is known of a tile, in varied wording.

A text encoder that reads one fixed sentence per class learns a label number. Here every fact has
several names and every caption its own order and register, so that words, not sentences, carry the
meaning. A second, disjoint set of names and sentence shapes is *held back*: it is never used in a
training caption, so a model can be asked in a wording that it has not met.

Only what is known is said: a missing field is left out, and no number of magnification is ever written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from crafts.core.errors import DataError

POWERS = ("low", "medium", "high", "")
LEVELS = ("none", "few", "some", "many")


class Words(NamedTuple):
    """Names of one fact: those for training captions and those held back (disjoint; first = canonical)."""

    training: tuple[str, ...]
    held_back: tuple[str, ...]


@dataclass(frozen=True)
class TileFields:
    """What is known of a tile; an empty value means unknown and is never put into words.

    Attributes:
        organ: key of ``VOCABULARY["organ"]`` or a free noun ("spleen").
        diagnosis: key of ``VOCABULARY["diagnosis"]`` or a free noun phrase.
        grade: key of ``VOCABULARY["grade"]`` or free text.
        tissue: key of ``VOCABULARY["tissue"]`` or a free noun phrase; what the tile is made of.
        stain: key of ``VOCABULARY["stain"]`` or free text.
        power: "low", "medium", "high" or "".
        cells: kind of cell -> "none", "few", "some" or "many".
        features: further visible findings, keys of ``VOCABULARY["feature"]`` or free noun phrases.
    """

    organ: str = ""
    diagnosis: str = ""
    grade: str = ""
    tissue: str = ""
    stain: str = "H&E"
    power: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()


def _words(training: str, held_back: str) -> Words:
    return Words(tuple(training.split("|")), tuple(held_back.split("|")))


VOCABULARY: dict[str, dict[str, Words]] = {
    "organ": {
        "prostate": _words("prostate", "prostate gland"),
        "oral mucosa": _words("oral mucosa|mouth|oral cavity", "oral lining|mouth mucosa"),
        "colon": _words("colon|large bowel|colorectum", "large intestine|bowel wall"),
        "lung": _words("lung", "lung parenchyma|lungs"),
        "breast": _words("breast", "mammary gland|breast parenchyma"),
        "kidney": _words("kidney", "renal parenchyma|kidney tissue"),
        "bone": _words("bone", "skeleton|bone tissue"),
        "bladder": _words("bladder|urinary bladder", "bladder wall"),
        "stomach": _words("stomach", "stomach wall"),
        "bile duct": _words("bile duct|biliary tract", "biliary tree|bile ducts"),
    },
    "adjective": {
        "prostate": _words("prostatic|prostate", "prostate-derived"),
        "oral mucosa": _words("oral|oral mucosal", "oral-cavity|intraoral"),
        "colon": _words("colonic|colorectal|colon", "large intestinal|large-bowel"),
        "lung": _words("pulmonary|lung", "intrapulmonary|lung-derived"),
        "breast": _words("breast|mammary", "breast-derived"),
        "kidney": _words("renal|kidney", "kidney-derived"),
        "bone": _words("bone|osseous", "skeletal"),
        "bladder": _words("bladder", "bladder-wall"),
        "stomach": _words("gastric|stomach", "stomach-wall"),
        "bile duct": _words("biliary|bile duct", "bile-duct"),
    },
    "diagnosis": {
        "normal": _words("normal tissue|non-neoplastic tissue|healthy tissue|tissue without tumour",
                         "tumour-free tissue|unremarkable tissue|tissue free of neoplasia"),
        "benign": _words("benign tissue|non-malignant tissue|tissue without carcinoma",
                         "benign non-neoplastic parenchyma|cancer-free tissue"),
        "adenocarcinoma": _words("adenocarcinoma|gland-forming carcinoma|invasive adenocarcinoma",
                                 "glandular carcinoma|malignant glandular tumour"),
        "squamous cell carcinoma": _words("squamous cell carcinoma|squamous carcinoma|SCC",
                                          "squamous cancer|malignant squamous tumour"),
        "carcinoma": _words("carcinoma|invasive carcinoma|cancer", "malignant epithelial tumour|invasive cancer"),
        "triple-negative carcinoma": _words("triple-negative carcinoma|triple-negative cancer|invasive carcinoma",
                                            "carcinoma of triple-negative type|TNBC"),
        "ductal carcinoma": _words("ductal carcinoma|invasive ductal carcinoma", "carcinoma of ductal type"),
        "mucinous carcinoma": _words("mucinous carcinoma|mucin-producing carcinoma", "carcinoma of mucinous type"),
        "papillary carcinoma": _words("papillary carcinoma|papillary cancer", "carcinoma of papillary type"),
        "clear cell carcinoma": _words("clear cell carcinoma|carcinoma of clear cells", "clear-cell cancer"),
        "papillary renal cell carcinoma": _words("papillary renal cell carcinoma|papillary carcinoma",
                                                 "renal cell cancer of papillary type"),
        "urothelial carcinoma": _words("urothelial carcinoma|urothelial cancer", "transitional cell carcinoma"),
        "cholangiocarcinoma": _words("cholangiocarcinoma|bile duct carcinoma", "biliary adenocarcinoma"),
        "fibroadenoma": _words("fibroadenoma|benign fibroadenoma", "benign fibroepithelial lesion"),
        "adenosis": _words("adenosis|benign adenosis", "benign glandular proliferation"),
        "phyllodes tumour": _words("phyllodes tumour|benign phyllodes tumour", "benign phyllodes lesion"),
        "tubular adenoma": _words("tubular adenoma|benign tubular adenoma", "benign tubular lesion"),
        "polyp": _words("polyp|polypoid mucosa|polyp with crypts", "polypous mucosa|polypoid lesion"),
        "osteosarcoma": _words("viable osteosarcoma|osteosarcoma|living osteosarcoma",
                               "vital osteosarcoma|malignant bone-forming tumour"),
        "necrotic osteosarcoma": _words(
            "non-viable osteosarcoma|necrotic osteosarcoma|treated osteosarcoma without viable tumour",
            "osteosarcoma, dead tumour|devitalised osteosarcoma"),
        "emphysema": _words("emphysema|emphysema with enlarged airspaces", "emphysematous change"),
        "honeycomb fibrosis": _words("honeycomb fibrosis|usual interstitial pneumonia with honeycomb fibrosis",
                                     "fibrotic honeycombing|UIP pattern fibrosis"),
        "goblet cell hyperplasia": _words("goblet cell hyperplasia|bronchial goblet cell hyperplasia",
                                          "increase of goblet cells"),
        "asthma": _words("asthma|asthma with Charcot-Leyden crystals", "asthmatic change"),
    },
    "tissue": {
        "adipose tissue": _words("adipose tissue|fat|fat cells", "fatty tissue|adipocytes"),
        "lymphoid tissue": _words("lymphoid tissue|sheets of lymphocytes|lymphoid aggregate",
                                  "lymphocyte sheets|lymphoid infiltrate"),
        "mucus": _words("mucus|mucin pools|extracellular mucin", "mucinous material|pools of mucus"),
        "smooth muscle": _words("smooth muscle|muscle|muscularis", "smooth-muscle bundles|muscular layer"),
        "tumour stroma": _words("tumour stroma|cancer-associated stroma|desmoplastic stroma",
                                "stroma of the tumour|stroma around cancer"),
        "epithelium": _words("epithelium|glandular epithelium", "epithelial lining"),
        "stroma": _words("stroma|fibrous stroma|connective tissue", "fibrous connective tissue"),
        "mucosa": _words("mucosa|mucosal tissue", "mucous membrane"),
    },
    "grade": {
        "Gleason 3": _words("Gleason pattern 3|Gleason 3|Gleason grade 3", "pattern 3 of Gleason|Gleason score pattern 3"),
        "Gleason 4": _words("Gleason pattern 4|Gleason 4|Gleason grade 4", "pattern 4 of Gleason|Gleason score pattern 4"),
        "Gleason 5": _words("Gleason pattern 5|Gleason 5|Gleason grade 5", "pattern 5 of Gleason|Gleason score pattern 5"),
    },
    "stain": {"H&E": _words("H&E|HE|hematoxylin and eosin|H&E stain", "haematoxylin-eosin|eosin and hematoxylin")},
    "power": {
        "low": _words("low power|low magnification|low-power view|overview power", "scanning power|weak enlargement"),
        "medium": _words("medium power|medium magnification|medium-power view", "intermediate power|moderate enlargement"),
        "high": _words("high power|high magnification|high-power view", "strong power|strong enlargement"),
    },
    "feature": {
        "gland lumens": _words("visible gland lumens|open gland lumens|glands with lumens", "hollow glands|patent lumina"),
        "densely cellular": _words("dense cellularity|crowded nuclei|many nuclei|high cellularity",
                                   "tightly packed nuclei|closely set nuclei"),
        "sparsely cellular": _words("sparse cellularity|few nuclei|low cellularity|scattered nuclei",
                                    "thinly set nuclei|only occasional nuclei"),
        "open space": _words("much empty space|large clear areas|wide open space",
                             "a largely blank field|large vacant areas"),
        "solid": _words("no empty space|solid tissue|a field full of tissue", "no gaps at all|a field filled by tissue"),
        "close-up": _words("single cells enlarged|very large cells in view", "strongly enlarged cells"),
        "pen mark": _words("pen mark|ink of a marker pen", "felt-pen artefact"),
        "blurred": _words("blur|blurred nuclei", "an unsharp view|poor focus"),
        "necrosis": _words("necrosis|necrotic debris", "dead cells"),
        "fibres": _words("fibres|collagen bundles", "fibrous strands"),
    },
    "cell": {
        "lymphocyte/many": _words("many lymphocytes|numerous lymphocytes|dense lymphocytic infiltrate|abundant lymphocytes",
                                  "heavy lymphocytic infiltration|plenty of lymphocytes"),
        "lymphocyte/some": _words("some lymphocytes|scattered lymphocytes|several lymphocytes",
                                  "a moderate number of lymphocytes"),
        "lymphocyte/few": _words("few lymphocytes|occasional lymphocytes|sparse lymphocytes",
                                 "rare lymphocytes|hardly any lymphocytes"),
        "lymphocyte/none": _words("no lymphocytes|absent lymphocytes|no lymphocytic infiltrate",
                                  "not a single lymphocyte|lack of lymphocytes"),
        "epithelial/many": _words("dense epithelium|crowded epithelial cells|abundant epithelium",
                                  "tightly packed epithelium|plenty of epithelial cells"),
        "epithelial/some": _words("some epithelium|visible epithelial cells", "a moderate amount of epithelium"),
        "epithelial/few": _words("little epithelium|few epithelial cells", "hardly any epithelium"),
        "epithelial/none": _words("no epithelium|no epithelial cells", "lack of epithelium"),
        "connective/many": _words("abundant stroma|many stromal cells|rich connective tissue",
                                  "plenty of stroma|predominant stroma"),
        "connective/some": _words("some stroma|visible stromal cells", "a moderate amount of stroma"),
        "connective/few": _words("little stroma|few stromal cells", "hardly any stroma"),
        "connective/none": _words("no stroma|no stromal cells", "lack of stroma"),
        "plasma/many": _words("many plasma cells|numerous plasma cells|abundant plasma cells", "plenty of plasma cells"),
        "plasma/some": _words("some plasma cells|visible plasma cells|plasma cells", "a moderate number of plasma cells"),
        "eosinophil/many": _words("many eosinophils|numerous eosinophils", "plenty of eosinophils"),
        "eosinophil/some": _words("some eosinophils|visible eosinophils|eosinophils", "a moderate number of eosinophils"),
        "neutrophil/many": _words("many neutrophils|numerous neutrophils", "plenty of neutrophils"),
        "neutrophil/some": _words("some neutrophils|visible neutrophils|neutrophils", "a moderate number of neutrophils"),
    },
}
SUBJECTS = Words(
    ("{adjective} {what}", "{what} of the {organ}", "{organ}, {what}", "{organ} with {what}", "{organ}: {what}"),
    ("{what} from the {organ}", "{what} ({organ})", "{what} in {organ}"),
)
BARE_SUBJECTS = Words(("{adjective} tissue", "tissue of the {organ}", "{organ}"), ("tissue from the {organ}",))
SENTENCES = Words(
    ("{power} {stain} section showing {subject}{with_findings}.", "This {stain} tile shows {subject}{at_power}{with_findings}.",
     "{subject}{at_power}{with_findings}, {stain}.", "Image of {subject}{with_findings}{at_power}, {stain}.",
     "{power} histology of {subject}{with_findings}."),
    ("Seen under the microscope{at_power}: {subject}{with_findings} ({stain}).",
     "One recognises {subject}{with_findings}{at_power}; preparation: {stain}.",
     "An example of {subject}{with_findings}, prepared with {stain}{at_power}."),
)


def tile_fields(row: Mapping[str, Any]) -> TileFields:
    """Take the fields that captions know from a row; other columns are left alone.

    Raises:
        DataError: power or the level of a cell kind is not one that captions know.
    """
    known = {f.name: row[f.name] for f in fields(TileFields) if row.get(f.name) is not None}
    known["features"] = tuple(known.get("features", ()))
    tile = TileFields(**known)
    if tile.power not in POWERS:
        _refuse("power", tile.power, POWERS)
    for kind, level in tile.cells.items():
        if level not in LEVELS:
            _refuse(f"cells.{kind}", level, LEVELS)
    return tile


def compose(row: Mapping[str, Any] | TileFields, rng: random.Random, *, held_back: bool = False) -> str:
    """Compose one caption from the known fields; which words it uses is decided by ``rng`` alone.

    Organ, diagnosis and tissue are always named; grade, power, stain, cells and features each only
    most of the time, so that a model also learns prompts that leave them open.

    Args:
        row: TileFields, or a mapping with any of their names (other keys are ignored).
        rng: source of every choice.
        held_back: use only the wordings that no training caption contains.

    Raises:
        DataError: see ``tile_fields``.
    """
    tile = row if isinstance(row, TileFields) else tile_fields(row)
    subject = _subject(tile, rng, held_back)
    if tile.grade and rng.random() < 0.8:
        subject += ", " + _pick("grade", tile.grade, rng, held_back)
    findings = _findings(tile, rng, held_back)
    power = _pick("power", tile.power, rng, held_back) if tile.power and rng.random() < 0.85 else ""
    stain = _pick("stain", tile.stain, rng, held_back) if tile.stain else ""
    if held_back:
        register: Callable[..., str] = _sentence
    else:
        register = rng.choice((_report, _sentence, _keywords))
    return register(subject, findings, power, stain, rng=rng, held_back=held_back)


def describe_class(row: Mapping[str, Any] | TileFields) -> str:
    """Write the one canonical prompt of a class: every known field, first names, always the same.

    Raises:
        DataError: see ``tile_fields``.
    """
    tile = row if isinstance(row, TileFields) else tile_fields(row)
    what = [_names("diagnosis", tile.diagnosis, False)[0]] if tile.diagnosis else []
    what += [_names("tissue", tile.tissue, False)[0]] if tile.tissue else []
    parts = [_names("organ", tile.organ, False)[0] if tile.organ else "", *what, tile.grade and
             _names("grade", tile.grade, False)[0]]
    parts += [_names("cell", f"{kind}/{level}", False)[0] for kind, level in tile.cells.items() if _sayable(kind, level)]
    parts += [_names("feature", name, False)[0] for name in tile.features]
    parts += [_names("power", tile.power, False)[0] if tile.power else "", tile.stain]
    return ", ".join(part for part in parts if part)


def _subject(tile: TileFields, rng: random.Random, held_back: bool) -> str:
    """Name organ and what is seen of it, in one of the shapes a title takes."""
    what = [_pick(kind, getattr(tile, kind), rng, held_back) for kind in ("diagnosis", "tissue") if getattr(tile, kind)]
    if not tile.organ:
        return " with ".join(what) or "tissue"
    shapes = SUBJECTS if what else BARE_SUBJECTS
    shape = rng.choice(shapes.held_back if held_back else shapes.training)
    return shape.format(
        what=" with ".join(what),
        organ=_pick("organ", tile.organ, rng, held_back),
        adjective=_pick("adjective", tile.organ, rng, held_back),
    )


def _findings(tile: TileFields, rng: random.Random, held_back: bool) -> list[str]:
    """Cells and features, each said two times in three, in any order."""
    said = [_pick("cell", f"{kind}/{level}", rng, held_back)
            for kind, level in tile.cells.items() if _sayable(kind, level) and rng.random() < 0.67]
    said += [_pick("feature", name, rng, held_back) for name in tile.features if rng.random() < 0.67]
    rng.shuffle(said)
    return said


def _report(subject: str, findings: Sequence[str], power: str, stain: str, *, rng: random.Random, held_back: bool) -> str:
    """Telegraphic: one short statement after another, as at the head of a report."""
    technique = ", ".join(part for part in (stain if rng.random() < 0.7 else "", power) if part)
    parts = [subject, *findings]
    parts.insert(rng.choice((1, len(parts), 0)), technique)
    return " ".join(f"{_capital(part)}." for part in parts if part)


def _sentence(subject: str, findings: Sequence[str], power: str, stain: str, *, rng: random.Random, held_back: bool) -> str:
    """One sentence; gaps that unknown fields leave are closed."""
    shape = rng.choice(SENTENCES.held_back if held_back else SENTENCES.training)
    if len(findings) > 1:
        findings = [", ".join(findings[:-1]) + " and " + findings[-1]]
    text = shape.format(
        subject=subject, stain=stain, power=power, at_power=f" at {power}" if power else "",
        with_findings=f", with {findings[0]}" if findings else "",
    )
    return _capital(" ".join(text.replace(", .", ".").split()))


def _keywords(subject: str, findings: Sequence[str], power: str, stain: str, *, rng: random.Random, held_back: bool) -> str:
    """Key words between commas, subject first or anywhere."""
    parts = [*findings, power, stain if rng.random() < 0.6 else ""]
    rng.shuffle(parts)
    parts.insert(0 if rng.random() < 0.7 else rng.randint(0, len(parts)), subject)
    return ", ".join(part for part in parts if part)


def _sayable(kind: str, level: str) -> bool:
    return f"{kind}/{level}" in VOCABULARY["cell"]


def _pick(kind: str, key: str, rng: random.Random, held_back: bool) -> str:
    return rng.choice(_names(kind, key, held_back))


def _names(kind: str, key: str, held_back: bool) -> tuple[str, ...]:
    """Names of a fact; a fact outside the vocabulary has its own name only."""
    words = VOCABULARY[kind].get(key)
    if words is None:
        return (key,)
    return words.held_back if held_back else words.training


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _refuse(name: str, value: object, allowed: Sequence[str]) -> None:
    raise DataError(
        f"captions: {name}",
        came=repr(value),
        allowed=" or ".join(repr(word) for word in allowed),
        do="Correct the field, or leave it empty when it is not known.",
    )
