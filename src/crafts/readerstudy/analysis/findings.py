"""All that a report says, as one value that is also written as JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.readerstudy.analysis import pooled
from crafts.readerstudy.analysis.per_reader import (
    ReaderRow,
    build_row,
    course,
    mean_over_readers,
)
from crafts.readerstudy.analysis.pooled import F1, MRMC, Figure
from crafts.readerstudy.config import AnalyzeConfig
from crafts.readerstudy.protocol import KeyRow, Registration, Study
from crafts.readerstudy.readings import Matrix, Reading, build_matrix
from crafts.readerstudy.statistics.equivalence import Equivalence, two_one_sided
from crafts.readerstudy.statistics.estimates import Estimate
from crafts.readerstudy.statistics.proportions import wilson
from crafts.readerstudy.statistics.ustatistics import over_readers

LEAST_ITEMS = 5
"""Items of each class below which a subgroup is not shown."""


@dataclass(frozen=True)
class Facts:
    """What is known of a study beside its readings.

    Attributes:
        simulated: the readers were.
        traces: area of a classifier on traces of compression, as measured when it was prepared.
    """

    simulated: bool
    traces: Mapping[str, float] | None


@dataclass(frozen=True)
class Findings:
    """The results of a study.

    Attributes:
        plan: what was registered.
        facts: what is known beside the readings.
        complete: readers who answered every item; early: the plan was not filled.
        items: real and synthetic items that count.
        primary: the registered figure, and whether it is shown to be within the margin.
        checks: the same by other methods.
        without_flagged: the same without flagged readers; None where nobody or everybody is.
        realness, ratings, agreement: figures by theme.
        rating: whether ratings of both classes are shown to be alike; None without ratings.
        f1: and what it is worth.
        repeats: share of hidden repeats with the same answer.
        fakes: share of plainly bad fakes that were caught.
        course: changes over the session.
        groups: theme -> figures of subgroups.
        diagnosis: share of diagnoses that are the item's label, by class; empty without.
        artefacts: clicks an item, real and synthetic; None without the task.
        readers: one row each.
    """

    plan: Registration
    facts: Facts
    complete: int
    early: bool
    items: tuple[int, int]
    primary: Equivalence
    checks: list[Figure]
    without_flagged: Figure | None
    realness: list[Figure]
    ratings: list[Figure]
    rating: Equivalence | None
    agreement: list[Figure]
    f1: F1
    repeats: Figure
    fakes: Figure
    course: dict[str, Estimate]
    groups: dict[str, list[Figure]]
    diagnosis: list[Figure]
    artefacts: tuple[float, float] | None
    readers: list[ReaderRow]


def conclude(
    config: AnalyzeConfig,
    study: Study,
    *,
    readings: Sequence[Reading],
    readers: Sequence[Mapping[str, str]],
    facts: Facts,
) -> Findings:
    """Compute everything.

    Args:
        config: levels and draws.
        study: plan, protocol and key.
        readings: of all readers.
        readers: rows with ``experience``.
        facts: what else is known of the study.
    """
    plan, key, level = study.plan, study.key, config.level
    test = [one for one in readings if one.block == "test"]
    matrix = build_matrix(test, key)
    draws = pooled.Draws(level, config.resamples, config.seed)
    experience = {row["reader"]: row.get("experience", "") for row in readers}
    rows = [
        build_row(reader, test, study=study, matrix=matrix, level=level)
        for reader in matrix.readers
    ]
    estimate = _primary(matrix, plan, level)
    ratings = pooled.rating_figures(matrix, level)
    complete = sum(row.answered == row.asked for row in rows)
    return Findings(
        plan=plan,
        facts=facts,
        complete=complete,
        early=complete < plan.readers,
        items=(int((~matrix.synthetic).sum()), int(matrix.synthetic.sum())),
        primary=two_one_sided(estimate, null=plan.null, margin=plan.margin, alpha=plan.alpha),
        checks=pooled.checks(matrix, plan.endpoint, draws),
        without_flagged=_without_flagged(matrix, rows, plan, level),
        realness=pooled.realness_figures(matrix, level),
        ratings=ratings,
        rating=_rating(ratings[2].estimate, plan) if ratings else None,
        agreement=pooled.agreement_figures(matrix, draws),
        f1=pooled.pooled_f1(matrix),
        repeats=_repeats(rows, level),
        fakes=_fakes(test, key, level),
        course=course(test, key, level=level),
        groups=_groups(matrix, key, experience, plan, level=level),
        diagnosis=_diagnosis(test, study, level),
        artefacts=_artefacts(test, key) if "artefact" in plan.tasks else None,
        readers=rows,
    )


def to_json(value: Any) -> Any:
    """Plain values of results; what is not a number becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(asdict(value))
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _primary(matrix: Matrix, plan: Registration, level: float) -> Estimate:
    return over_readers(pooled.endpoint_kernel(matrix, plan.endpoint), level=level).clipped(0, 1)


def _rating(found: Estimate, plan: Registration) -> Equivalence:
    return two_one_sided(found, null=0.0, margin=plan.rating_margin, alpha=plan.alpha)


def _without_flagged(
    matrix: Matrix, rows: Sequence[ReaderRow], plan: Registration, level: float
) -> Figure | None:
    kept = np.array([not row.flags for row in rows], dtype=bool)
    if kept.all() or not kept.any():
        return None
    left = f"Without flagged readers ({int(kept.sum())} of {len(kept)} left)"
    return Figure(left, _primary(matrix.only(readers=kept), plan, level), MRMC, plan.null)


def _repeats(rows: Sequence[ReaderRow], level: float) -> Figure:
    """Readers as clusters: the mean of their shares, or Wilson's with one reader."""
    shares = np.array([row.same / row.repeats for row in rows if row.repeats])
    if len(shares) < 2:
        same, number = sum(row.same for row in rows), sum(row.repeats for row in rows)
        return Figure("Same answer to a hidden repeat", wilson(same, number, level=level), "Wilson")
    found = mean_over_readers(shares.tolist(), level)
    return Figure("Same answer to a hidden repeat", found.clipped(0, 1), "t over readers")


def _fakes(test: Sequence[Reading], key: Mapping[str, KeyRow], level: float) -> Figure:
    names = sorted(name for name, row in key.items() if row.kind == "plain-fake")
    readers = sorted({one.reader for one in test})
    table = np.full((len(readers), max(len(names), 1)), np.nan)
    for one in test:
        if one.picture in names:
            table[readers.index(one.reader), names.index(one.picture)] = one.realness
    found = over_readers(table, level=level).clipped(0, 1)
    return Figure("Plainly bad fakes that were caught", found, MRMC)


def _groups(
    matrix: Matrix,
    key: Mapping[str, KeyRow],
    experience: Mapping[str, str],
    plan: Registration,
    *,
    level: float,
) -> dict[str, list[Figure]]:
    """The primary figure within classes, sites and experience, where there are several."""
    found: dict[str, list[Figure]] = {}
    for theme in ("label", "site"):
        places: dict[str, list[bool]] = defaultdict(list)
        values = [getattr(key[name], theme) for name in matrix.pictures]
        for value in sorted(set(values) - {""}):
            places[value] = [one == value for one in values]
        masks = {value: np.array(mask, dtype=bool) for value, mask in places.items()}
        parts = {value: matrix.only(items=mask) for value, mask in masks.items()}
        found[theme] = _figures(
            {value: part for value, part in parts.items() if _is_enough(part.synthetic)},
            plan,
            level,
        )
    who = np.array([experience.get(name, "") for name in matrix.readers], dtype=object)
    parts = {value: matrix.only(readers=who == value) for value in sorted(set(who) - {""})}
    found["experience"] = _figures(parts, plan, level)
    return {theme: figures for theme, figures in found.items() if len(figures) > 1}


def _is_enough(synthetic: NDArray[np.bool_]) -> bool:
    return bool(min(synthetic.sum(), (~synthetic).sum()) >= LEAST_ITEMS)


def _figures(parts: Mapping[str, Matrix], plan: Registration, level: float) -> list[Figure]:
    return [
        Figure(name, _primary(part, plan, level), MRMC, plan.null) for name, part in parts.items()
    ]


def _diagnosis(test: Sequence[Reading], study: Study, level: float) -> list[Figure]:
    """Share of first diagnoses that are the label of the item, where labels are choices."""
    key, protocol = study.key, study.protocol
    labels = {row.label for row in key.values() if row.is_main}
    if "diagnosis" not in protocol.tasks or not labels & set(protocol.choices):
        return []
    readers = sorted({one.reader for one in test})
    found = []
    for answer, name in ((0, "Real items with their own label"), (1, "Synthetic ones")):
        names = sorted(n for n, row in key.items() if row.is_main and row.answer == answer)
        table = np.full((len(readers), len(names)), np.nan)
        for one in sorted(test, key=lambda one: -one.position):
            if one.picture in names and one.diagnosis:
                hit = one.diagnosis == key[one.picture].label
                table[readers.index(one.reader), names.index(one.picture)] = hit
        found.append(Figure(name, over_readers(table, level=level).clipped(0, 1), MRMC))
    return found


def _artefacts(test: Sequence[Reading], key: Mapping[str, KeyRow]) -> tuple[float, float]:
    clicks: dict[int, list[int]] = {0: [], 1: []}
    for one in test:
        if key[one.picture].is_main:
            clicks[key[one.picture].answer].append(len(one.artefacts))
    means = [float(np.mean(clicks[k])) if clicks[k] else math.nan for k in (0, 1)]
    return means[0], means[1]
