"""From the folders of a benchmark to its sets: who trains, who tests, and is that enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.core.protocols import BuildExtractor
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.data.splits import assign_splits
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.statistics import LEAST_PATIENTS, least_per_class
from crafts.sets.described import Described, caption_fields, describe
from crafts.sets.source import SetFacts, SetName, Source, open_source
from crafts.sets.splits import Rows

_LEAST_TRAINING = 2  # patients of a class; with one of them a low-data draw would be no draw


@dataclass(frozen=True)
class Side:
    """A folder with what is known of its tiles."""

    name: str
    source: Source
    tiles: Described

    @property
    def features(self) -> NDArray[np.float32]:
        """[N, D]."""
        return self.tiles.set.features


@dataclass(frozen=True)
class Opened:
    """The sets of a benchmark.

    Attributes:
        real: real tiles.
        train, test: its rows on either side; no patient stands on both.
        generated: each folder by itself.
        external: tiles of another place, or None.
        classes: names in the order of their numbers.
        notes: what a reader must know first.
    """

    real: Side
    train: Rows
    test: Rows
    generated: list[Side]
    external: Side | None
    classes: list[str]
    notes: list[str] = field(default_factory=list)

    def numbers(self, side: Side) -> NDArray[np.int64]:
        """Number of the class of each tile [N]; -1 where it is none of the classes."""
        known = {name: number for number, name in enumerate(self.classes)}
        return np.array([known.get(name, -1) for name in side.tiles.classes], dtype=np.int64)


def open_sources(config: BenchmarkConfig) -> tuple[Source, list[Source], Source | None]:
    """The folders, looked at before any work, so that mistakes show at once.

    Raises:
        ConfigError: no such folder, or sets that are swapped.
        DataError: a layout that is not recognised.
    """
    opened = partial(open_source, split="", wanted="", columns=config.columns.as_columns())
    made = [opened("generated", path) for path in config.generated]
    external = opened("heldout", config.external) if config.external else None
    return opened("heldout", config.real), made, external


def open_sets(
    config: BenchmarkConfig,
    sources: tuple[Source, list[Source], Source | None],
    build: BuildExtractor,
    ledger: Ledger,
) -> Opened:
    """Features of every tile, its class and its side of the split.

    Raises:
        DataError: unusable images, no labels, or too few tiles or patients to see anything.
    """
    real = Side("real", sources[0], _read(config, sources[0], build, ledger, name="real"))
    captions = caption_fields([real.tiles.set])
    generated = [
        Side(name, one, _read(config, one, build, ledger, name=name, captions=captions))
        for name, one in zip(_names(config.generated), sources[1], strict=True)
    ]
    external = None
    if sources[2] is not None:
        tiles = _read(config, sources[2], build, ledger, name="external")
        external = Side("external", sources[2], tiles)
    notes: list[str] = []
    train, test = _split(config, real, notes)
    classes = sorted(set(real.tiles.classes[train]) - {""})
    opened = Opened(real, train, test, generated, external, classes, notes)
    _require_enough(config, opened)
    _note(config, opened)
    return opened


def set_facts(opened: Opened) -> list[SetFacts]:
    """What ``metrics.json`` says of the sets."""
    groups = opened.real.tiles.groups
    listed: list[tuple[SetName, Side, int, int]] = [
        ("train", opened.real, len(opened.train), len(set(groups[opened.train]))),
        ("heldout", opened.real, len(opened.test), len(set(groups[opened.test]))),
    ]
    listed += [("generated", one, len(one.tiles), 0) for one in opened.generated]
    return [
        SetFacts(
            name=name,
            folder=side.source.path.resolve().name,
            listed=used + (len(side.tiles.set.rejected) if name == "generated" else 0),
            used=used,
            rejected=len(side.tiles.set.rejected) if name == "generated" else 0,
            groups=patients,
        )
        for name, side, used, patients in listed
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders, numbered where two are called alike."""
    names = [path.resolve().name for path in paths]
    twice = {name for name, number in Counter(names).items() if number > 1}
    return [f"{name} ({k + 1})" if name in twice else name for k, name in enumerate(names)]


def _read(
    config: BenchmarkConfig,
    source: Source,
    build: BuildExtractor,
    ledger: Ledger,
    *,
    name: str,
    captions: dict[str, dict[str, str]] | None = None,
) -> Described:
    say(f"benchmark: features of {name} tiles")
    found = source.features(build)
    mine = Ledger(f"benchmark: {name}", ledger.listing)
    for one in (ledger, mine):
        one.listed(len(found) + len(found.rejected))
        for row in found.rows:
            one.use(str(row["name"]))
        for item, reason in found.rejected:
            one.reject(f"{name}: {item}", reason)
    mine.check(config.max_reject_fraction)
    return describe(found, captions or {})


def _split(config: BenchmarkConfig, real: Side, notes: list[str]) -> tuple[Rows, Rows]:
    """Rows to train and to test on: named splits, else drawn by patient."""
    splits = np.array([str(row.get("split") or "") for row in real.tiles.set.rows])
    groups, labels = real.tiles.groups, real.tiles.classes
    if not (splits != "").any():
        strata = {name: groups[labels == name].tolist() for name in sorted(set(labels) - {""})}
        drawn = assign_splits(
            strata, heldout=config.test_share, validation=0.0, min_heldout=1, seed=config.seed
        )
        splits = np.array([drawn.get(group, "") for group in groups])
        notes.append("No splits are named; patients to test on were drawn.")
    train = np.flatnonzero((splits == "train") & (labels != ""))
    test = np.flatnonzero((splits == "heldout") & (labels != ""))
    both = sorted(set(groups[train]) & set(groups[test]))
    if both:
        raise DataError(
            f"benchmark: --real {config.real}",
            came=f"{len(both)} patients in training and test, the first is {both[0]!r}",
            allowed="each patient in one split",
            do="Split by patient.",
        )
    return train, test


def _require_enough(config: BenchmarkConfig, opened: Opened) -> None:
    """Refuse sets on which nothing could be seen, and say how much would be enough.

    Raises:
        DataError: fewer than two classes, or too few tiles or patients.
    """
    tiles, classes = opened.real.tiles, opened.classes
    where = f"benchmark: --real {config.real}"
    if len(classes) < 2:
        raise DataError(
            where,
            came=f"{len(classes)} classes among the training tiles",
            allowed="at least 2, in a column `label` or as folders",
            do="Add labels, and a column `split` (train, heldout) where it is missing.",
        )
    needed = least_per_class(config.visible, len(classes))
    for name in classes:
        of_class = tiles.classes == name
        tested = int(of_class[opened.test].sum())
        patients = len(set(tiles.groups[opened.train][of_class[opened.train]]))
        if tested < needed:
            raise DataError(
                where,
                came=f"{tested} test tiles of class {name!r}",
                allowed=f"at least {needed} of each of {len(classes)} classes, to see a gain of "
                f"{100 * config.visible:g} points",
                do=f"Add {needed - tested} test tiles, or look for larger gains: --set visible=X.",
            )
        if patients < _LEAST_TRAINING:
            raise DataError(
                where,
                came=f"{patients} training patients of class {name!r}",
                allowed=f"at least {_LEAST_TRAINING}",
                do="Add patients of this class, or leave it out.",
            )
    number = len(set(tiles.groups[opened.test]))
    if number < LEAST_PATIENTS:
        raise DataError(
            where,
            came=f"{number} test patients",
            allowed=f"at least {LEAST_PATIENTS}; 20 for an interval that can be trusted",
            do="Add patients to the test split.",
        )
    for side in opened.generated:
        if not (opened.numbers(side) >= 0).any():
            raise DataError(
                f"benchmark: --generated {side.source.path}",
                came=f"no tile of {len(side.tiles)} whose class is known",
                allowed=f"classes of the real tiles: {', '.join(classes)}",
                do="Add a column `label`, or generate with captions of the real tiles.",
            )


def _note(config: BenchmarkConfig, opened: Opened) -> None:
    """What weakens all numbers."""
    notes, tiles = opened.notes, opened.real.tiles
    if not tiles.named_groups:
        notes.append(
            "Not every real tile names its patient: each of those counts as a patient of its own, "
            "and intervals are too narrow."
        )
    number = len(set(tiles.groups[opened.test]))
    if number < 20:
        notes.append(f"Only {number} test patients: intervals are wide and less sure than 95 %.")
    for side in opened.generated:
        other = int((opened.numbers(side) < 0).sum())
        most = min(config.max_synthetic, len(side.tiles) - other)
        if most < config.ratios[-1] * len(opened.train):
            notes.append(
                f"{side.name}: {most} tiles are used at most; with many real tiles larger ratios "
                "therefore come to the same tiles (see the numbers in the tables)."
            )
        if other:
            notes.append(f"{side.name}: {other} tiles of no known class were left out.")
