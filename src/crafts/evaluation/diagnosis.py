"""Which failure the numbers of a generated set point to, by the signatures of the papers.

CRAFTS (arXiv 2512.13164) names four: blurred nuclei with washed eosin (learning rate too high or
too little fine-tuning), right architecture but wrong cancer (category guidance not engaging, or
wrong labels), a good distance but poor alignment with the prompts (semantic consistency weighted
too little), and similar pictures for different prompts (collapse). To these come stain shift,
compression or block edges, and repeated tiles.

A cause is named when its number passes a threshold *and* stands out from what real halves show
beside each other. ``recipes/evaluation/diagnosis.py`` sets the thresholds on some real sets and
strengths of damage, and tests them on others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crafts.evaluation.evidence import Evidence, Measured

EXAMPLES = 6
"""Tiles named with a finding."""


@dataclass(frozen=True)
class Thresholds:
    """Where a number becomes a symptom; set on real tiles, see the module.

    Attributes:
        noise: standard deviations of real halves by which a number must stand out.
        sharpness: lowest difference of log energy without blur.
        blockiness: highest difference of log steps without blocks.
        eosin: lowest log ratio of eosin without washing.
        hematoxylin: highest change of the log ratio of hematoxylin, either way.
        hue: highest change of the density aside of both stains, as a share, either way.
        duplicates: highest share of repeated tiles.
        variety: lowest difference of log distances between near neighbours.
        agreement: highest drop of the share of tiles that show their class, in one class.
        spread: part of the worst drop that the middle one of the other classes reaches where
            prompts are ignored; asked only where no text tells whether the others follow theirs.
        concentrated: share of the tiles that a class lost which show one other class, where every
            class shows another.
        following: lowest part of the real pull between tiles and their own prompts.
        distance: highest kernel distance.
        single: factor on thresholds and noise for the looks of one class, of which there are many.
    """

    noise: float = 4.0
    sharpness: float = -0.4
    blockiness: float = 0.03
    eosin: float = -0.15
    hematoxylin: float = 0.25
    hue: float = 0.04
    duplicates: float = 0.05
    variety: float = -0.3
    agreement: float = 0.25
    spread: float = 0.4
    concentrated: float = 0.8
    following: float = 0.75
    distance: float = 1.0
    single: float = 2.0


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Finding:
    """One cause with its evidence.

    Attributes:
        cause: a key of :data:`CAUSES`.
        scope: "" for the whole set, else the class.
        title: cause and scope in words.
        text: the numbers beside their thresholds, and what to do.
        numbers: name -> value of the evidence.
        examples: rows of the generated tiles, the most telling first.
    """

    cause: str
    scope: str
    title: str
    text: str
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
            "numbers": dict(self.numbers),
            "examples": [names[row] for row in self.examples],
        }


CAUSES: dict[str, tuple[str, str]] = {
    "duplicates": (
        "repeated tiles",
        "Check that seeds differ and that prompts are not repeated with one seed; then count "
        "distinct tiles only, and audit for copies of training tiles.",
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
    "collapse": (
        "collapse: far less variety than real tiles",
        "Check the gradient of the semantic losses beside that of the denoising loss, lower the "
        "guidance scale, and look for captions repeated in training.",
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
"""Cause -> its name for people, and what to do. The order is that of the findings."""


def diagnose(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> list[Finding]:
    """Name the causes, the most direct evidence first; empty for a set without a fault.

    Repeated tiles come first, because they leave few to judge; then what is read from pixels,
    variety, classes and prompts: a blurred set also loses variety and classes, but no wrong class
    blurs a set. Numbers that follow from a cause
    already named do not make another one.

    Args:
        evidence: of :func:`crafts.evaluation.evidence.compute_evidence`.
        thresholds: by default those set on real tiles.

    Returns:
        Findings in the order of :data:`CAUSES`, over all before single classes.
    """
    found = _looks(evidence, "", thresholds)
    found += _repetition(evidence, thresholds, spoilt=bool(found))
    found = found or _prompts(evidence, thresholds)
    if not found:
        for name in evidence.classes:
            found += _looks(evidence, name, thresholds)
    found = found or _distance(evidence, thresholds)
    order = list(CAUSES)
    return sorted(found, key=lambda finding: (order.index(finding.cause), finding.scope))


def _looks(evidence: Evidence, scope: str, limits: Thresholds) -> list[Finding]:
    """Compression, blur and stains; at most one cause of light and one of colour."""
    numbers = evidence.classes[scope] if scope else evidence.overall
    factor = limits.single if scope else 1.0

    def passed(name: str, limit: float) -> bool:
        return _passed(numbers, name, factor * limit, factor * limits.noise)

    blurred, washed = passed("sharpness", limits.sharpness), passed("eosin", limits.eosin)
    shifted = any(
        passed(name, sign * getattr(limits, name)) for name in ("hue", "hematoxylin")
        for sign in (-1, 1)
    )  # fmt: skip
    causes: list[tuple[str, tuple[str, ...]]] = []
    if passed("blockiness", limits.blockiness):
        causes.append(("compression", ("blockiness",)))
    elif blurred and washed and not shifted:
        causes.append(("washed eosin and blur", ("eosin", "sharpness")))
    elif blurred:
        causes.append(("blur", ("sharpness",)))
    if shifted:
        causes.append(("stain shift", ("hue", "hematoxylin", "eosin")))
    elif washed and not blurred:
        causes.append(("washed eosin", ("eosin",)))
    return [_finding(evidence, cause, scope, names, limits) for cause, names in causes]


def _repetition(evidence: Evidence, limits: Thresholds, *, spoilt: bool) -> list[Finding]:
    """Repeated tiles, or little variety; a spoilt set loses variety without collapsing."""
    if _passed(evidence.overall, "duplicates", limits.duplicates, limits.noise):
        return [_finding(evidence, "duplicates", "", ("duplicates", "variety"), limits)]
    if not spoilt and _passed(evidence.overall, "variety", limits.variety, limits.noise):
        return [_finding(evidence, "collapse", "", ("variety", "coverage"), limits)]
    return []


def _prompts(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Wrong class where classes show others, poor alignment where tiles ignore their prompts."""
    drops = {
        name: numbers["agreement"].value
        for name, numbers in evidence.classes.items()
        if "agreement" in numbers
    }
    hit = [
        name
        for name in drops
        if _passed(evidence.classes[name], "agreement", limits.agreement, limits.noise)
    ]
    if hit and _others_are_fine(evidence, drops, hit, limits):
        return [_wrong_class(evidence, name, limits) for name in hit]
    if hit or _passed(evidence.overall, "following", limits.following, limits.noise):
        names = ("following", "agreement")
        return [_finding(evidence, "poor alignment", "", names, limits)]
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


def _distance(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    found = evidence.overall["distance"]
    if _passed(evidence.overall, "distance", limits.distance + found.centre, limits.noise):
        return [_finding(evidence, "unexplained", "", ("distance",), limits)]
    return []


_LOW = ("sharpness", "eosin", "variety", "following")


def _passed(numbers: Mapping[str, Measured], name: str, limit: float, noise: float) -> bool:
    """Whether a number lies beyond its threshold and beyond what real halves show."""
    found = numbers.get(name)
    if found is None:
        return False
    sign = -1 if name in _LOW or limit < 0 else 1
    away = sign * (found.value - found.centre)
    return sign * (found.value - limit) > 0 and away > noise * found.noise


def _concentration(evidence: Evidence, name: str) -> float:
    """Share of the tiles that a class lost which show one other class."""
    lost = evidence.classes[name]["agreement"].value
    return max(evidence.shown[name].values()) / lost if lost > 0 else 0.0


def _wrong_class(evidence: Evidence, name: str, limits: Thresholds) -> Finding:
    shown = evidence.shown[name]
    other = max(shown, key=lambda key: shown[key])
    finding = _finding(evidence, "wrong class", name, ("agreement",), limits)
    said = f"{100 * shown[other]:.0f} % more tiles than among real ones show {other!r}. "
    return replace(finding, text=said + finding.text)


def _finding(
    evidence: Evidence, cause: str, scope: str, names: Sequence[str], limits: Thresholds
) -> Finding:
    title, advice = CAUSES[cause]
    numbers = evidence.classes[scope] if scope else evidence.overall
    known = [name for name in names if name in numbers]
    said = "; ".join(_said(name, numbers[name], getattr(limits, name, None)) for name in known)
    return Finding(
        cause=cause,
        scope=scope,
        title=f"{title} ({scope})" if scope else title,
        text=f"{said[:1].upper()}{said[1:]}. {advice}",
        numbers={name: numbers[name].value for name in known},
        examples=evidence.examples(known[0], scope, EXAMPLES),
    )


_WORDS = {
    "sharpness": "fine detail is {ratio:.0%} of that of real tiles",
    "blockiness": "steps across the 8-pixel grid are {ratio:.0%} of those of real tiles",
    "eosin": "eosin is {ratio:.0%} of that of real tiles",
    "hematoxylin": "hematoxylin is {ratio:.0%} of that of real tiles",
    "hue": "{value:+.0%} of the density lies aside of both stains",
    "duplicates": "{value:.0%} of the tiles repeat another one",
    "variety": "near neighbours lie {ratio:.0%} as far apart as among real tiles",
    "coverage": "{value:.0%} of the neighbourhoods of real tiles hold a generated one",
    "distance": "the kernel distance is {value:.3g}",
    "agreement": "{value:.0%} fewer tiles than real ones look like their class",
    "following": "tiles follow their prompts {value:.2f} times as closely as real ones",
}


def _said(name: str, found: Measured, limit: float | None) -> str:
    """One number in words, beside its threshold and that of real halves."""
    words = _WORDS[name].format(value=found.value, ratio=math.exp(min(found.value, 50)))
    beside = f"{name} {found.value:.3g}"
    if limit is not None:
        beside += f", threshold {limit:.3g}"
    return f"{words} ({beside}; real halves {found.centre:.3g} ± {found.noise:.2g})"
