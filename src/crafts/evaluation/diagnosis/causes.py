"""Which failure the numbers of a generated set point to, by the signatures of the papers.

CRAFTS (arXiv 2512.13164) names four: blurred nuclei with washed eosin (learning rate too high or
too little fine-tuning), right architecture but wrong cancer (category guidance not engaging, or
wrong labels), a good distance but poor alignment with the prompts (semantic consistency weighted
too little), and similar pictures for different prompts (collapse). To these come stain shift,
compression or block edges, and repeated tiles.

A cause is named when its number passes a threshold *and* stands out from what real halves show
beside each other. ``bench/diagnosis.py`` sets the thresholds on some real sets and
strengths of damage, and tests them on others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crafts.evaluation.diagnosis.evidence import Contrast, Evidence
from crafts.evaluation.diagnosis.thresholds import THRESHOLDS, Thresholds

EXAMPLES = 6
"""Tiles named with a finding."""


@dataclass(frozen=True)
class Cause:
    """One cause with its evidence.

    Attributes:
        cause: a key of :data:`CAUSES`.
        scope: "" for the whole set, else the class.
        title: cause and scope in words.
        text: the numbers beside their thresholds, and what to do.
        weight: how many times its threshold the plainest number is.
        numbers: name -> value of the evidence.
        examples: rows of the generated tiles, the most telling first.
    """

    cause: str
    scope: str
    title: str
    text: str
    weight: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[int, ...] = ()

    def as_row(self, names: Sequence[str]) -> dict[str, Any]:
        """The finding for ``metrics.json``; ``names`` [N] of the generated tiles."""
        return {
            "cause": self.cause,
            "scope": self.scope,
            "title": self.title,
            "text": self.text,
            "alarm": True,
            "weight": self.weight,
            "numbers": dict(self.numbers),
            "examples": [names[row] for row in self.examples],
        }


CAUSES: dict[str, tuple[str, str]] = {
    "duplicates": (
        "repeated tiles",
        "Check that seeds differ and that prompts are not repeated with one seed; then count "
        "distinct tiles only, and audit for copies of training tiles.",
    ),
    "collapse": (
        "collapse: far less variety than real tiles",
        "Check the gradient of the semantic losses beside that of the denoising loss, lower the "
        "guidance scale, and look for captions repeated in training.",
    ),
    "missing glands": (
        "missing glands",
        "The tiles have the stains of their class without its glands: train longer, or on more "
        "tiles of these classes, and look at the tiles before anything is done about the stain.",
    ),
    "compression": (
        "compression or block edges",
        "Look for JPEG in the training tiles (keep quality at 90 or more) and for a chequer of the "
        "decoder's 8-pixel cells.",
    ),
    "washed eosin and blur": (
        "washed eosin and blur",
        "The papers' sign of a learning rate that is too high, or of too little fine-tuning: lower "
        "the rate, warm up longer, train on, and sample from the averaged weights.",
    ),
    "blur": (
        "blur",
        "Compare with real tiles passed through the codec: if they are blurred too, train the "
        "decoder; else train the denoiser longer or take more sampling steps.",
    ),
    "washed eosin": (
        "washed eosin",
        "Half of the papers' sign of a learning rate that is too high: lower it, or lower the "
        "guidance scale, and check the stain of the training tiles.",
    ),
    "stain shift": (
        "stain shift",
        "Compare the stains of training and held-out tiles (site, scanner): if they differ, mix "
        "sites or match stains; if not, check colour handling (RGB order, range, codec).",
    ),
    "wrong class": (
        "right architecture but wrong class",
        "Category guidance does not engage, or labels are wrong: check the labels of these classes "
        "in the training tiles, then the weight of the category loss.",
    ),
    "poor alignment": (
        "good distance but poor alignment with the prompts",
        "Tiles look real but do not follow their prompts: raise the guidance scale or the weight "
        "of the semantic loss, and check that captions belong to their tiles.",
    ),
    "unexplained": (
        "far from real tiles, for no known cause",
        "None of the known failures explains the distance: look at the worst tiles, and at slices "
        "by class, site and scanner.",
    ),
}
"""Cause -> its name for people, and what to do."""


def diagnose(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> list[Cause]:
    """Name the causes, the heaviest first; empty for a set without a fault.

    Wrong classes and poor alignment count only where they outweigh repetition and looks: washed
    tiles can look like another class. What weighs less than half of the heaviest is
    left out, because it mostly follows from that. The looks of single classes, and a distance that
    nothing explains, are asked for only where nothing else was found. Missing glands come first:
    stains are judged over whole tiles, and change with the lumens and nuclei that are missing.
    They are not asked for in blurred tiles, which show no nuclei.

    Args:
        evidence: of :func:`crafts.evaluation.diagnosis.evidence.compute_evidence`.
        thresholds: by default those set on real tiles.
    """
    found = _repetition(evidence, thresholds) + _looks(evidence, "", thresholds)
    heaviest = max((finding.weight for finding in found), default=0.0)
    found += [other for other in _prompts(evidence, thresholds) if other.weight > heaviest]
    if not found:
        for name in evidence.classes:
            found += _looks(evidence, name, thresholds.stricter())
    blurred = any("blur" in finding.cause for finding in found)
    glands = [] if blurred else _missing_glands(evidence, thresholds)
    found = found or ([] if glands else _distance(evidence, thresholds))
    found.sort(key=lambda finding: -finding.weight)
    return glands + [one for one in found if 2 * one.weight >= found[0].weight]


def hidden_causes(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> list[str]:
    """Causes that these tiles could not show at their thresholds, with what would have shown.

    Where real halves differ more than that, a fault of the strength of the threshold passes for
    chance: no finding says nothing then.
    """
    found = []
    for cause, names in _SYMPTOMS.items():
        one, limit = evidence.overall.get(names[0]), getattr(thresholds, names[0], None)
        if one is None or limit is None or cause in ("washed eosin and blur", "unexplained"):
            continue
        shows = thresholds.noise * one.noise
        if shows > abs(limit):
            words = f"{names[0]} {shows:.2g} in place of {abs(limit):.2g}"
            found.append(f"{CAUSES[cause][0]} ({words})")
    return found


def _missing_glands(evidence: Evidence, limits: Thresholds) -> list[Cause]:
    """Glands that are missing in all, or else in single classes."""
    if _passed(evidence.overall, "glands", limits):
        return [_finding(evidence, "missing glands", "", limits)]
    stricter = limits.stricter()
    return [
        _finding(evidence, "missing glands", name, stricter)
        for name, numbers in evidence.classes.items()
        if _passed(numbers, "glands", stricter)
    ]


def _looks(evidence: Evidence, scope: str, limits: Thresholds) -> list[Cause]:
    """Compression, blur and stains; at most one cause of detail and one of colour."""
    numbers = evidence.classes[scope] if scope else evidence.overall
    causes = [cause for cause in (_detail(numbers, limits), _color(numbers, limits)) if cause]
    if causes == ["blur", "washed eosin"]:
        causes = ["washed eosin and blur"]
    return [_finding(evidence, cause, scope, limits) for cause in causes]


def _detail(numbers: Mapping[str, Contrast], limits: Thresholds) -> str:
    """Blur or compression, whichever lies further beyond its threshold.

    Strong compression takes detail too, and the cells of a decoder show in a blurred set.
    """
    found = {"blur": "sharpness", "compression": "blockiness"}
    passed = [cause for cause, name in found.items() if _passed(numbers, name, limits)]
    return max(passed, key=lambda cause: _times(numbers, found[cause], limits), default="")


def _color(numbers: Mapping[str, Contrast], limits: Thresholds) -> str:
    """Washed eosin where eosin goes and nothing else changes as much; else a stain shift."""
    shifted = [
        name
        for name in ("hue", "hematoxylin", "eosin")
        if _passed(numbers, name, limits) or _passed(numbers, name, limits, turned=True)
    ]
    if not _passed(numbers, "eosin", limits):
        return "stain shift" if shifted else ""
    hematoxylin = numbers["hematoxylin"]
    # washing adds no hematoxylin; half the usual noise will do, where eosin is gone for certain
    gained = hematoxylin.value > max(limits.gained, limits.noise / 2 * hematoxylin.noise)
    aside = "hue" in shifted and _times(numbers, "hue", limits) > _times(numbers, "eosin", limits)
    return "stain shift" if gained or aside else "washed eosin"


_SYMPTOMS: dict[str, tuple[str, ...]] = {
    "duplicates": ("duplicates", "variety"),
    "collapse": ("variety", "coverage"),
    "missing glands": ("glands",),
    "compression": ("blockiness",),
    "washed eosin and blur": ("eosin", "sharpness"),
    "blur": ("sharpness",),
    "washed eosin": ("eosin",),
    "stain shift": ("hue", "hematoxylin", "eosin"),
    "wrong class": ("agreement",),
    "poor alignment": ("following", "agreement"),
    "unexplained": ("distance",),
}


def _repetition(evidence: Evidence, limits: Thresholds) -> list[Cause]:
    """Repeated tiles, or else little variety."""
    for name, cause in (("duplicates", "duplicates"), ("variety", "collapse")):
        if _passed(evidence.overall, name, limits):
            return [_finding(evidence, cause, "", limits)]
    return []


def _prompts(evidence: Evidence, limits: Thresholds) -> list[Cause]:
    """Wrong class where classes show others, poor alignment where tiles ignore their prompts."""
    drops = {
        name: numbers["agreement"].value
        for name, numbers in evidence.classes.items()
        if "agreement" in numbers
    }
    hit = [name for name in drops if _passed(evidence.classes[name], "agreement", limits)]
    if hit and _others_are_fine(evidence, drops, hit, limits):
        return [_wrong_class(evidence, name, limits) for name in hit]
    if hit or _passed(evidence.overall, "following", limits):
        return [_finding(evidence, "poor alignment", "", limits)]
    return []


def _others_are_fine(
    evidence: Evidence, drops: Mapping[str, float], hit: Sequence[str], limits: Thresholds
) -> bool:
    """Whether some classes show others, rather than all tiles ignoring their prompts."""
    others = [name for name in drops if name not in hit]
    if not others:
        narrow = [_concentration(evidence, name) >= limits.concentrated for name in hit]
        return len(hit) > 3 and all(narrow)
    following = [evidence.classes[name].get("following") for name in others]
    known = [found.value for found in following if found is not None]
    if known:
        return statistics.mean(known) > limits.following
    return statistics.median(drops[name] for name in others) < limits.spread * max(drops.values())


def _distance(evidence: Evidence, limits: Thresholds) -> list[Cause]:
    if _passed(evidence.overall, "distance", limits):
        return [_finding(evidence, "unexplained", "", limits)]
    return []


def _passed(
    numbers: Mapping[str, Contrast], name: str, limits: Thresholds, *, turned: bool = False
) -> bool:
    """Whether a number lies beyond its threshold and beyond what real halves show.

    ``turned`` asks for as much on the other side of what real tiles have.
    """
    found, limit = numbers.get(name), getattr(limits, name)
    if found is None:
        return False
    sign = (1 if limit > 0 else -1) * (-1 if turned else 1)
    away = sign * (found.value - found.centre)
    return sign * found.value > abs(limit) and away > limits.noise * found.noise


def _times(numbers: Mapping[str, Contrast], name: str, limits: Thresholds) -> float:
    """How many times its threshold a number is."""
    return abs(numbers[name].value / float(getattr(limits, name)))


def _concentration(evidence: Evidence, name: str) -> float:
    """Share of the tiles that a class lost which show one other class."""
    lost = evidence.classes[name]["agreement"].value
    return max(evidence.shown[name].values()) / lost if lost > 0 else 0.0


def _wrong_class(evidence: Evidence, name: str, limits: Thresholds) -> Cause:
    shown = evidence.shown[name]
    other = max(shown, key=lambda key: shown[key])
    finding = _finding(evidence, "wrong class", name, limits)
    text = f"{100 * shown[other]:.0f} % more tiles than among real ones show {other!r}. "
    return replace(finding, text=text + finding.text)


def _finding(evidence: Evidence, cause: str, scope: str, limits: Thresholds) -> Cause:
    title, advice = CAUSES[cause]
    numbers = evidence.classes[scope] if scope else evidence.overall
    times = {
        name: _times(numbers, name, limits) if hasattr(limits, name) else 0.0
        for name in _SYMPTOMS[cause]
        if name in numbers
    }
    names = sorted(times, key=lambda name: -times[name])
    text = "; ".join(say_number(name, numbers[name], getattr(limits, name, None)) for name in names)
    return Cause(
        cause=cause,
        scope=scope,
        title=f"{title} ({scope})" if scope else title,
        text=f"{text[:1].upper()}{text[1:]}. {advice}",
        weight=times[names[0]],
        numbers={name: numbers[name].value for name in names},
        examples=evidence.examples(names[0], scope, EXAMPLES),
    )


_WORDS = {
    "sharpness": "fine detail is {ratio:.0%} of that of real tiles",
    "blockiness": "steps across the 8-pixel grid are {ratio:.0%} of those of real tiles",
    "eosin": "eosin is {ratio:.0%} of that of real tiles",
    "hematoxylin": "hematoxylin is {ratio:.0%} of that of real tiles",
    "glands": "{lost:.0%} fewer tiles than real ones show a gland",
    "hue": "{value:+.0%} of the density lies aside of both stains",
    "duplicates": "{value:.0%} of the tiles repeat another one",
    "variety": "near neighbours lie {ratio:.0%} as far apart as among real tiles",
    "coverage": "{value:.0%} of the neighbourhoods of real tiles hold a generated one",
    "distance": "the kernel distance is {value:.3g}",
    "agreement": "{value:.0%} fewer tiles than real ones look like their class",
    "following": "tiles follow their prompts {times:.2f} times as closely as real ones",
}


def say_number(name: str, found: Contrast, limit: float | None) -> str:
    """One number in words, beside its threshold and that of real halves."""
    words = _WORDS[name].format(
        value=found.value,
        lost=-found.value,
        ratio=math.exp(min(found.value, 50)),
        times=1 + found.value,
    )
    value, centre, noise = (round(v, 4) + 0.0 for v in (found.value, found.centre, found.noise))
    beside = f"{name} {value:.3g}"
    if limit is not None:
        beside += f", threshold {limit:.3g}"
    return f"{words} ({beside}; real halves {centre:.3g} ± {noise:.2g})"
