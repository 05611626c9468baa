"""Quality gate: which generated tiles are good enough to keep, by thresholds from real tiles.

Every threshold is a quantile of real tiles, so that the gate refuses a known share of these; what
it does to real tiles of other groups is measured and written beside (``real_pass``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crafts.captions.trained_on import read_trained_on
from crafts.core.config import Config, validate
from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import parse_json
from crafts.core.protocols import Accept, UnknownTo
from crafts.evaluation.config import GateTails
from crafts.measures.appearance import ARTEFACTS, SIDES, measure_artefacts
from crafts.measures.rows import unit_rows
from crafts.sets.splits import Names, halve

if TYPE_CHECKING:
    from PIL import Image

    from crafts.model.vision.image_encoders import ImageEncoder

Features = NDArray[np.float32]

CHECKS = (*ARTEFACTS, "class", "alignment", "copy")
"""Checks in the order in which they speak; the first that refuses is the reason."""

GATE = "gate.json"
_LEAST = 20
_LEAST_SHARE = 0.01  # of white or black pixels: most real tiles have none, and one is no fault


class GateReference(Config):
    """Thresholds of the gate; ``gate.json``.

    Attributes:
        encoder: fingerprint of the encoder that they belong to.
        size: side in pixels at which artefacts are measured.
        tiles, groups: real tiles and patients that set the thresholds.
        tails: share of real tiles beyond each.
        alignment: lowest cosine of image and text; None without texts.
        classes: names of the classes.
        class_texts: mean unit text feature of each class [K, D].
        class_cosine: lowest cosine of a text with a class text to count as of that class.
        disagreement: largest lead of another class over the own one, in cosine.
        artefacts: artefact -> threshold of its number.
        copy_cosine: highest cosine with the nearest training tile; None without a training set.
        real_pass: share of real tiles that pass thresholds set by groups other than theirs.
    """

    version: Literal[1] = 1
    encoder: str
    size: int = Field(ge=8)
    tiles: int
    groups: int
    tails: GateTails = GateTails()
    alignment: float | None = None
    classes: list[str] = []
    class_texts: list[list[float]] = []
    class_cosine: float = 1.0
    disagreement: float | None = None
    artefacts: dict[str, float] = {}
    copy_cosine: float | None = None
    real_pass: float | None = None


@dataclass(frozen=True)
class Candidates:
    """Tiles before the gate.

    Attributes:
        images: unit features [N, D].
        texts: unit features of the prompts [N, D], or None.
        classes: class of each prompt [N], "" where unknown.
        artefacts: of each tile, as :func:`measure_artefacts` gives them.
        copies: cosine with the nearest training tile [N], or None.
    """

    images: Features
    texts: Features | None
    classes: Names
    artefacts: Sequence[Mapping[str, float]]
    copies: NDArray[np.float32] | None = None

    def part(self, rows: NDArray[np.int64]) -> Candidates:
        """Some rows."""
        return Candidates(
            self.images[rows],
            None if self.texts is None else self.texts[rows],
            self.classes[rows],
            [self.artefacts[row] for row in rows],
            None if self.copies is None else self.copies[rows],
        )


def calibrate(
    real: Candidates,
    groups: Names,
    *,
    encoder: str,
    size: int,
    tails: GateTails | None = None,
) -> GateReference:
    """Thresholds from real tiles, and how many real tiles of other groups pass them.

    Args:
        real: held-out tiles with their captions; ``copies`` where a training set is known.
        groups: patient of each [N].
        encoder: fingerprint.
        size: side in pixels at which artefacts were measured.
        tails: shares of real tiles to refuse.

    Raises:
        DataError: fewer than 20 tiles.
    """
    if len(real.images) < _LEAST:
        raise DataError(
            "gate",
            came=f"{len(real.images)} real tiles",
            allowed=f"at least {_LEAST}, to set thresholds",
            do="Give more held-out tiles.",
        )
    tails = tails or GateTails()
    base = GateReference(
        encoder=encoder, size=size, tiles=len(groups), groups=len(np.unique(groups)), tails=tails
    )
    found = _thresholds(base, real)
    halves = halve(groups, real.classes, 0)
    if min(map(len, halves)) < _LEAST:
        return found
    passed = []
    for own, other in (halves, halves[::-1]):
        passed += [
            not reason for reason in judge(_thresholds(base, real.part(own)), real.part(other))
        ]
    return found.model_copy(update={"real_pass": float(np.mean(passed))})


def judge(reference: GateReference, tiles: Candidates) -> list[str]:
    """The first check of :data:`CHECKS` that refuses each tile; "" for those that pass."""
    refused = {name: _spoilt(reference, tiles, name) for name in ARTEFACTS}
    refused["class"] = _wrong_class(reference, tiles)
    refused["alignment"] = np.zeros(len(tiles.images), dtype=bool)
    if reference.alignment is not None and tiles.texts is not None:
        refused["alignment"] = (tiles.images * tiles.texts).sum(axis=1) < reference.alignment
    refused["copy"] = np.zeros(len(tiles.images), dtype=bool)
    if reference.copy_cosine is not None and tiles.copies is not None:
        refused["copy"] = tiles.copies > reference.copy_cosine
    reasons = [""] * len(tiles.images)
    for name in reversed(CHECKS):
        for row in np.flatnonzero(refused[name]):
            reasons[row] = name
    return reasons


def classes_of_texts(reference: GateReference, texts: Features) -> Names:
    """The nearest class of each text [N]; "" for texts that are like no class."""
    if not reference.classes:
        return np.full(len(texts), "", dtype=np.str_)
    scores = texts @ np.asarray(reference.class_texts, dtype=np.float32).T
    names = np.array(reference.classes, dtype=np.str_)[scores.argmax(axis=1)]
    return np.where(scores.max(axis=1) >= reference.class_cosine, names, "")


def build_gate(reference: GateReference, encoder: ImageEncoder) -> Accept:
    """The gate as a function of one image and its prompt; copies are not looked for.

    Args:
        reference: thresholds.
        encoder: the one that they belong to.

    Raises:
        ConfigError: the encoder is another one.
    """
    _same_encoder(reference, encoder.fingerprint, "gate")
    known: dict[str, Features | None] = {}

    def accept(image: Image.Image, prompt: str) -> bool:
        pixels = np.asarray(image.convert("RGB"))
        row = unit_rows(encoder.images([pixels]).numpy())
        if prompt not in known:
            texts = encoder.texts([prompt])
            known[prompt] = None if texts is None else unit_rows(texts[0].numpy())
        text = known[prompt]
        tile = Candidates(
            images=row,
            texts=text,
            classes=np.array([""]) if text is None else classes_of_texts(reference, text),
            artefacts=[measure_artefacts(pixels, reference.size)],
        )
        return not judge(reference, tile)[0]

    return accept


def load_reference(path: Path) -> GateReference:
    """Read ``gate.json``.

    Raises:
        ConfigError: no such file, or it is no gate.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(path),
            came=f"no readable thresholds ({' '.join(str(error).split())})",
            allowed="gate.json as `crafts evaluate --filter` writes it",
            do="Make it again, or leave --keep out.",
        ) from None
    found = validate(GateReference, values if isinstance(values, dict) else {}, str(path))
    return found


def shipped_gate(*, device: str = "auto") -> Accept:
    """The gate of the evaluation encoder in the package, with the ``gate.json`` beside it.

    Raises:
        ConfigError: no thresholds there, or thresholds of another encoder.
        IntegrityError: a file is damaged.
    """
    from crafts.model.vision.image_encoders import SHIPPED, open_encoder

    encoder = open_encoder("mini", device=device)
    return build_gate(load_reference(SHIPPED / GATE), encoder)


def shipped_gate_words() -> UnknownTo:
    """Words that the encoder of the gate in the package has met with no picture.

    To it such a word is like none of its classes: whatever it says of the picture is chance.
    """
    from crafts.model.vision.image_encoders import SHIPPED

    found = read_trained_on(SHIPPED)
    known = found.known_words() if found else None
    return lambda prompt: [word.word for word in known.unknown(prompt)] if known else []


def count_reasons(reasons: Sequence[str]) -> dict[str, int]:
    """Reason -> tiles, in the order of the checks; those that pass are left out."""
    counts = Counter(reasons)
    order = [*CHECKS, *sorted(set(counts) - set(CHECKS) - {""})]
    return {name: counts[name] for name in order if counts[name]}


def _thresholds(base: GateReference, real: Candidates) -> GateReference:
    tails = base.tails
    found: dict[str, Any] = {"artefacts": _artefact_thresholds(real, tails.artefact)}
    if real.copies is not None:
        found["copy_cosine"] = float(np.quantile(real.copies, 1 - tails.copy_cosine))
    names = [name for name in np.unique(real.classes).tolist() if name]
    if real.texts is None:
        return base.model_copy(update=found)
    found["alignment"] = float(np.quantile((real.images * real.texts).sum(axis=1), tails.alignment))
    if len(names) < 2:
        return base.model_copy(update=found)
    means = np.stack([real.texts[real.classes == name].mean(axis=0) for name in names])
    means = means / np.linalg.norm(means, axis=1, keepdims=True)
    known = real.classes != ""
    own = np.searchsorted(names, real.classes[known])
    cosines = (real.texts[known] * means[own]).sum(axis=1)
    found |= {
        "classes": names,
        "class_texts": [[round(float(value), 6) for value in row] for row in means],
        "class_cosine": float(np.quantile(cosines, tails.alignment)),
    }
    leads = _leads(real.images[known] @ means.T, own)
    found["disagreement"] = float(np.quantile(leads, 1 - tails.disagreement))
    return base.model_copy(update=found)


def _artefact_thresholds(real: Candidates, tail: float) -> dict[str, float]:
    found = {}
    for name, (number, side) in SIDES.items():
        values = [tile[number] for tile in real.artefacts]
        limit = float(np.quantile(values, 1 - tail if side > 0 else tail))
        found[name] = max(limit, _LEAST_SHARE) if name in ("white", "black") else limit
    return found


def _spoilt(reference: GateReference, tiles: Candidates, name: str) -> NDArray[np.bool_]:
    if name not in reference.artefacts:
        return np.zeros(len(tiles.images), dtype=bool)
    number, side = SIDES[name]
    values = np.array([tile[number] for tile in tiles.artefacts])
    return np.asarray(side * values > side * reference.artefacts[name])


def _wrong_class(reference: GateReference, tiles: Candidates) -> NDArray[np.bool_]:
    refused = np.zeros(len(tiles.images), dtype=bool)
    known = np.isin(tiles.classes, reference.classes)
    if reference.disagreement is None or not known.any():
        return refused
    order = np.argsort(reference.classes)
    own = order[np.searchsorted(reference.classes, tiles.classes[known], sorter=order)]
    scores = tiles.images[known] @ np.asarray(reference.class_texts, dtype=np.float32).T
    refused[known] = _leads(scores, own) > reference.disagreement
    return refused


def _leads(scores: Features, own: NDArray[np.int64]) -> Features:
    """By how much the best class leads over the own one [N]; 0 where the own one is best."""
    return np.asarray(scores.max(axis=1) - scores[np.arange(len(own)), own])


def _same_encoder(reference: GateReference, fingerprint: str, where: str) -> None:
    if reference.encoder != fingerprint:
        raise ConfigError(
            where,
            came=f"thresholds for encoder {reference.encoder[:12]}",
            allowed=f"thresholds for {fingerprint[:12]}",
            do="Make them again: python -m crafts.workflows.releasing gate TILES.",
        )
