"""What is known of a tile, put into words in the ways that the experiments compare.

Facts are read back out of the captions through the vocabulary that composed them, so that any
shards with such captions will do. Only what a row says is said; what a report adds that no tile
shows (size, margins, nodes) is drawn by the patient, as it is the same for all tiles of one.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from crafts.captions.findings.extract import extract_fields
from crafts.captions.privacy import scrub
from crafts.captions.prompts import VOCABULARY, TileFields, compose
from crafts.captions.summaries.extractive import extract_summary
from crafts.core.patients import patient_in
from crafts.core.protocols import CountTokens
from crafts.core.runtime import seed_from

Row = dict[str, Any]
WORDINGS = 8
"""Captions a tile where an experiment composes them anew."""

_PAINTED = {
    "glands": TileFields(tissue="epithelium", features=("gland lumens",)),
    "stroma": TileFields(tissue="stroma", features=("fibres",)),
    "lymphocytes": TileFields(tissue="lymphoid tissue", features=("densely cellular",)),
    "fat": TileFields(tissue="adipose tissue", features=("open space",)),
}
_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "organ": {"organ": ""},
    "diagnosis": {"diagnosis": "", "tissue": "", "grade": ""},
    "cells": {"cells": {}, "features": ()},
    "power": {"power": ""},
    "stain": {"stain": ""},
}
_LEAST_VOTES = 0.15  # share of a row's captions that must name a finding; each is said in most


def rng_for(*parts: int | str) -> random.Random:
    """Random numbers that the parts decide."""
    return random.Random(seed_from(*parts))


def facts_of(row: Mapping[str, Any]) -> TileFields:
    """What a row's columns and captions say of its tile."""
    if row.get("set") == "painted":
        lymphocytes = {"lymphocyte": str(row.get("lymphocytes") or "none")}
        return replace(_PAINTED[str(row["label"])], cells=lymphocytes)
    captions = [str(text) for text in (row.get("captions") or [row.get("text", "")])]
    cells: dict[str, str] = {}
    for name in _most_named("cell", captions):
        kind, _, level = name.partition("/")
        cells.setdefault(kind, level)
    return TileFields(
        organ=str(row.get("organ") or ""),
        diagnosis=_most_named_first("diagnosis", captions),
        grade=_most_named_first("grade", captions),
        tissue=_most_named_first("tissue", [_without_names(text) for text in captions]),
        power=str(row.get("power") or ""),
        cells=cells,
        features=tuple(_most_named("feature", captions)),
    )


def captions_without(field: str, row: Row) -> list[str]:
    """Captions composed from the facts of a row, one group of them never said."""
    facts = replace(facts_of(row), **_LEFT_OUT[field])
    rng = rng_for("content", row["key"])
    return [compose(facts, rng) for _ in range(WORDINGS)]


def compose_report(row: Row, facts: TileFields) -> str:
    """A pathology report around the facts of a tile, with what reports say besides."""
    organ, diagnosis = facts.organ or "tissue", facts.diagnosis or facts.tissue or "tissue"
    named = _first("diagnosis", diagnosis)
    seen = [f"The tissue shows {named}."]
    seen += [_TISSUES[facts.tissue]] if facts.tissue in _TISSUES else []
    seen += [_CELLS[level].format(_CELL_NAMES.get(kind, kind))
             for kind, level in facts.cells.items() if level in _CELLS]  # fmt: skip
    seen += [_FEATURES[name] for name in facts.features if name in _FEATURES]
    benign = diagnosis in ("benign", "normal")
    seen += _BENIGN if benign else []
    grade = f", {facts.grade}" if facts.grade else ""
    parts = [
        f"FINAL DIAGNOSIS: {organ.capitalize()}, resection: {named}{grade}.",
        *([] if benign or not facts.diagnosis else _beside(row)),
        "MICROSCOPIC DESCRIPTION: " + " ".join(seen),
        "GROSS DESCRIPTION: The specimen is received in formalin and is entirely submitted.",
    ]
    return "\n".join(parts)


def _beside(row: Row) -> list[str]:
    """Lines on a tumour that no tile shows."""
    rng = rng_for("report", patient_in(row) or str(row["key"]))
    return [
        f"Tumor size: {rng.randint(8, 60) / 10:.1f} cm. Margins: "
        f"{rng.choice(('negative', 'positive'))} for tumor. Lymph nodes: "
        f"{rng.randint(0, 4)} of {rng.randint(8, 20)} nodes positive.",
        f"Pathologic stage: pT{rng.randint(1, 4)} pN{rng.randint(0, 2)}. "
        f"Ki-67: {5 * rng.randint(1, 12)} %.",
    ]


def summarize(row: Row, facts: TileFields, tokens: int, count: CountTokens) -> str:
    """The extractive summary of a row's composed report; its caption where nothing is found."""
    scrubbed = scrub(compose_report(row, facts))
    fields = extract_fields(scrubbed.traced)
    summary = extract_summary(scrubbed.text, fields, tokens=tokens, count=count)
    return summary or str(row["text"])


def summarize_whole(row: Row, facts: TileFields, tokens: int, count: CountTokens) -> str:
    """A summary that fills its budget: behind it stands what else the report says of the patient.

    So do summaries of 154 tokens in arXiv 2412.06487, which takes that for noise. It is drawn by
    the patient, and nobody is meant by it.
    """
    words = f"{summarize(row, facts, tokens, count)} {_clerical(row)}".split()

    def length(number: int) -> int:
        return count(" ".join(words[:number]))

    return " ".join(words[: bisect_right(range(1, len(words) + 1), tokens, key=length)])


def _clerical(row: Row) -> str:
    """Some 150 words of a report that no tile shows."""
    rng = rng_for("patient", patient_in(row) or str(row["key"]))
    chosen = [rng.choice(options) for options in _CLERICAL]
    rng.shuffle(chosen)
    return " ".join(re.sub("#", lambda _: str(rng.randint(1, 9)), " ".join(chosen)).split())


def as_figure(text: str, rng: random.Random) -> str:
    """A caption as figures of articles have it: words around it, and some of its own lost."""
    words = [word for word in text.split() if rng.random() > 0.15] or text.split()
    head = rng.choice(("Figure {n}.", "({l})", "Fig. {n}{l}:", "Representative image.", ""))
    tail = rng.choice(
        ("Scale bar, {m} µm.", "See text.", "Arrows: see below.", "Original magnification.", "")
    )
    parts = (head, " ".join(words), tail)
    numbers = {"n": rng.randint(1, 9), "l": rng.choice("ABCDEF"), "m": rng.choice((20, 50, 100))}
    return " ".join(part.format(**numbers) if part != parts[1] else part for part in parts).strip()


_CLERICAL = (
    ("Patient: woman, #5 years.", "Patient: man, 6# years.", "Patient: 4# years, retired teacher."),
    (
        "History of high blood pressure for 1# years, treated with two tablets a day.",
        "History of diabetes and of an operation of the knee # years ago.",
        "No earlier illness is known; the mother died of a stroke at the age of 7#.",
    ),
    (
        "Admitted on day # of the month after a fall at home and seen by the family doctor.",
        "Seen in the clinic on a Tuesday, accompanied by a daughter, for a check of the blood.",
    ),
    (
        "The request asks for a result by telephone at number #4#1#7 before noon.",
        "The request was signed by the ward and came without a telephone number.",
    ),
    (
        "Container # of # is labelled with name and number #0#3#1 and arrived at 1#:4#.",
        "The container was labelled twice, with number #7#2#5, and arrived late on Friday.",
    ),
    (
        "The specimen measures # x # x # cm, weighs 1#4 grams and is inked blue and black.",
        "Received are # pieces of up to 0.# cm, wrapped in paper and put into one cassette.",
    ),
    (
        "It is cut into slices of # mm and submitted in 1# cassettes; the rest is kept # weeks.",
        "All of it is submitted in # cassettes by the assistant on duty; nothing is kept.",
    ),
    (
        "No frozen section was asked for; photographs were taken and stored under number ##0#.",
        "A frozen section was read by the colleague on call and is deferred to this report.",
    ),
    (
        "Earlier slides of the year 200# were not at hand for comparison and have been requested.",
        "An earlier report of the year 201# was at hand and has been scanned into the record.",
    ),
    (
        "The case was shown at the weekly conference of the surgeons; the ward gets a letter.",
        "A copy goes to the family doctor, the ward and the insurance; the bill has code #8#05.",
    ),
    (
        "Controls of all stains reacted as they should; the tests were made in this laboratory.",
        "The tests were made elsewhere under contract # and are not approved by an authority.",
    ),
    (
        "The patient agreed to the use of what is left for teaching on form ## of the year.",
        "Religion, address and next of kin stand in the record and were not checked again.",
    ),
)
"""Sentences of reports on everything but the tissue, one of each row; # is a digit."""
_CELL_NAMES = {
    "lymphocyte": "lymphocytes",
    "plasma": "plasma cells",
    "epithelial": "epithelial cells",
    "connective": "stromal fibroblasts",
    "eosinophil": "eosinophils",
    "neutrophil": "neutrophils",
}
_CELLS = {
    "many": "Many {} infiltrate the stroma and epithelium.",
    "some": "Some {} lie in the stroma between the epithelium.",
    "few": "Only few {} lie in the stroma of the epithelium.",
}
_FEATURES = {
    "gland lumens": "The glands have open lumens.",
    "densely cellular": "The nuclei lie densely in cellular sheets.",
    "sparsely cellular": "The nuclei lie scattered in fibrous stroma.",
    "open space": "Wide clear spaces lie between vacuolated cells and stroma.",
    "solid": "The cells grow in solid sheets.",
    "necrosis": "The cells show necrosis with debris of nuclei.",
    "fibres": "The stroma is fibrous with collagen bundles.",
}
_TISSUES = {
    "epithelium": "The epithelium lines glands.",
    "stroma": "The stroma is fibrous connective tissue with spindle cells.",
    "tumour stroma": "The stroma is desmoplastic around nests of atypical cells.",
    "lymphoid tissue": "Lymphoid cells lie in sheets of lymphocytes.",
    "adipose tissue": "Adipose cells are large with empty vacuolated cytoplasm.",
    "smooth muscle": "Spindle cells form bundles of smooth muscle.",
    "mucus": "Pools of mucin lie between the glands.",
    "mucosa": "The mucosa holds regular glands and epithelium.",
}
_BENIGN = ["The nuclei are regular and cells show neither atypia nor dysplasia."]


@cache
def _names(kind: str) -> tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]]:
    """A pattern of all training names of a kind, longest first, and the keys of each name."""
    keys: dict[str, tuple[str, ...]] = {}
    for key, words in VOCABULARY[kind].items():
        for name in words.training:
            keys[name.lower()] = (*keys.get(name.lower(), ()), key)
    names = "|".join(re.escape(name) for name in sorted(keys, key=lambda name: (-len(name), name)))
    return re.compile(rf"(?<!\w)(?:{names})(?!\w)"), keys


def _votes(kind: str, captions: Sequence[str]) -> Counter[str]:
    """How many captions name each key; a diagnosis or grade is named by the longest name alone."""
    pattern, keys = _names(kind)
    votes: Counter[str] = Counter()
    for caption in captions:
        found = set(pattern.findall(caption.lower()))
        if kind in ("diagnosis", "grade") and found:
            found = {max(found, key=len)}
        votes.update({key for name in found for key in keys[name]})
    return votes


def _without_names(caption: str) -> str:
    """A caption without what holds a name of tissue (oral mucosa, benign glands and stroma)."""
    text = caption.lower()
    for kind in ("diagnosis", "organ", "adjective"):
        text = _names(kind)[0].sub(" ", text)
    return text


def _most_named(kind: str, captions: Sequence[str]) -> list[str]:
    """Keys that enough captions name, most often named first."""
    least = max(2, _LEAST_VOTES * len(captions))
    return [key for key, number in _votes(kind, captions).most_common() if number >= least]


def _most_named_first(kind: str, captions: Sequence[str]) -> str:
    found = _most_named(kind, captions)
    return found[0] if found else ""


def _first(kind: str, key: str) -> str:
    """Canonical name of a fact; its own where the vocabulary has none."""
    words = VOCABULARY[kind].get(key)
    return words.training[0] if words else key
