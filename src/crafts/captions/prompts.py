"""Captions composed from what is known of a tile, in varied wording.

A text encoder that reads one fixed sentence per class learns a label number. Here every fact has
several names and every caption its own order and register, so that words, not sentences, carry the
meaning. A second, disjoint set of names and sentence shapes is *held back*: it is never used in a
training caption, so a model can be asked in a wording that it has not met.

Only what is known is said: a missing field is left out, and no magnification is ever written.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import Any, NamedTuple

from crafts.core.errors import DataError

POWERS = ("low", "medium", "high", "")
LEVELS = ("none", "few", "some", "many")


class Words(NamedTuple):
    """Names of one fact, first = canonical; training and held-back names are disjoint."""

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


class _Pieces(NamedTuple):
    """The parts of a caption in words, before they are put in order."""

    subject: str
    findings: list[str]
    power: str
    stain: str


def _read_vocabulary(text: str) -> dict[str, dict[str, Words]]:
    """Read ``wordings.txt`` into kind -> key -> words."""
    tables: dict[str, dict[str, Words]] = {}
    for line in text.replace("\n    ", " ").strip().splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("["):
            table = tables.setdefault(line.strip("[]"), {})
            continue
        key, _, wordings = line.partition(": ")
        training, held_back = (
            tuple(part.strip() for part in side.split("|")) for side in wordings.split("//")
        )
        table[key] = Words(training, held_back)
    return tables


VOCABULARY = _read_vocabulary(
    (files("crafts.captions") / "wordings.txt").read_text(encoding="utf-8")
)
SUBJECTS = Words(
    (
        "{adjective} {what}",
        "{what} of the {organ}",
        "{organ}, {what}",
        "{organ} with {what}",
        "{organ}: {what}",
        "{what}, {organ}",
        "{what} in a sample of {organ}",
        "{organ} tissue showing {what}",
        "{adjective} sample: {what}",
    ),
    ("{what} from the {organ}", "{what} ({organ})", "{what} in {organ}"),
)
BARE_SUBJECTS = Words(
    ("{adjective} tissue", "tissue of the {organ}", "{organ}"), ("tissue from the {organ}",)
)
SENTENCES = Words(
    (
        "{power} {stain} section showing {subject}{with_findings}.",
        "This {stain} tile shows {subject}{at_power}{with_findings}.",
        "{subject}{at_power}{with_findings}, {stain}.",
        "Image of {subject}{with_findings}{at_power}, {stain}.",
        "{power} histology of {subject}{with_findings}.",
        "A {stain} picture of {subject}{at_power}{with_findings}.",
        "{subject}{with_findings}; {stain}{at_power}.",
        "Here we see {subject}{with_findings}{at_power} ({stain}).",
        "Microscopy{at_power}, {stain}: {subject}{with_findings}.",
        "Photomicrograph of {subject}, {stain}{at_power}{with_findings}.",
        "{stain} preparation{at_power}. There is {subject}{with_findings}.",
        "The tile comes from a {stain} slide and shows {subject}{with_findings}{at_power}.",
    ),
    (
        "Seen under the microscope{at_power}: {subject}{with_findings} ({stain}).",
        "One recognises {subject}{with_findings}{at_power}; preparation: {stain}.",
        "An example of {subject}{with_findings}, prepared with {stain}{at_power}.",
    ),
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


def compose(
    row: Mapping[str, Any] | TileFields, rng: random.Random, *, held_back: bool = False
) -> str:
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
    pieces = _Pieces(subject, findings, power, stain)
    if held_back:
        return _sentence(pieces, rng.choice(SENTENCES.held_back))
    return rng.choice((_report, _any_sentence, _keywords))(pieces, rng)


def describe_class(row: Mapping[str, Any] | TileFields) -> str:
    """Write the one canonical prompt of a class: every known field, first names, always the same.

    Raises:
        DataError: see ``tile_fields``.
    """
    tile = row if isinstance(row, TileFields) else tile_fields(row)
    facts = [(kind, getattr(tile, kind)) for kind in ("organ", "diagnosis", "tissue", "grade")]
    facts += [("cell", f"{k}/{level}") for k, level in tile.cells.items() if _sayable(k, level)]
    facts += [*(("feature", name) for name in tile.features), ("power", tile.power)]
    facts += [("stain", tile.stain)]
    return ", ".join(_names(kind, key, held_back=False)[0] for kind, key in facts if key)


def _subject(tile: TileFields, rng: random.Random, held_back: bool) -> str:
    """Name organ and what is seen of it, in one of the shapes a title takes."""
    what = [
        _pick(kind, getattr(tile, kind), rng, held_back)
        for kind in ("diagnosis", "tissue")
        if getattr(tile, kind)
    ]
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
    parts = [
        _pick("cell", f"{kind}/{level}", rng, held_back)
        for kind, level in tile.cells.items()
        if _sayable(kind, level) and rng.random() < 0.67
    ]
    parts += [
        _pick("feature", name, rng, held_back) for name in tile.features if rng.random() < 0.67
    ]
    rng.shuffle(parts)
    return parts


def _report(pieces: _Pieces, rng: random.Random) -> str:
    """Telegraphic: one short statement after another, as at the head of a report."""
    stain = pieces.stain if rng.random() < 0.7 else ""
    technique = ", ".join(part for part in (stain, pieces.power) if part)
    parts = [pieces.subject, *pieces.findings]
    parts.insert(rng.choice((1, len(parts), 0)), technique)
    return " ".join(f"{_capital(part)}." for part in parts if part)


def _any_sentence(pieces: _Pieces, rng: random.Random) -> str:
    return _sentence(pieces, rng.choice(SENTENCES.training))


def _sentence(pieces: _Pieces, shape: str) -> str:
    """One sentence; gaps that unknown fields leave are closed."""
    *first, last = pieces.findings or [""]
    listed = f"{', '.join(first)} and {last}" if first else last
    text = shape.format(
        subject=pieces.subject,
        stain=pieces.stain,
        power=pieces.power,
        at_power=f" at {pieces.power}" if pieces.power else "",
        with_findings=f", with {listed}" if listed else "",
    )
    return _capital(" ".join(text.split()))


def _keywords(pieces: _Pieces, rng: random.Random) -> str:
    """Key words between commas, subject first or anywhere."""
    parts = [*pieces.findings, pieces.power, pieces.stain if rng.random() < 0.6 else ""]
    rng.shuffle(parts)
    parts.insert(0 if rng.random() < 0.7 else rng.randint(0, len(parts)), pieces.subject)
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
