"""Each reader alone: figures, course over the session, and what is odd about the answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crafts.readerstudy.protocol import KeyRow, Registration, Study
from crafts.readerstudy.readings import Matrix, Reading, build_repeats
from crafts.readerstudy.statistics import detection, proportions
from crafts.readerstudy.statistics.agreement import cohen_kappa
from crafts.readerstudy.statistics.estimates import Estimate, t_interval

LEAST_ANSWERS = 10
_HASTY, _FEW_CAUGHT, _SAME = 0.1, 0.5, 0.95


@dataclass(frozen=True)
class ReaderRow:
    """One reader.

    Attributes:
        reader: pseudonym.
        answered, asked: showings of the test block.
        confusion: first answers to the items that count.
        area: under the ROC curve, NaN where a class has no answer.
        sensitivity, specificity, accuracy, d_prime, criterion: with intervals over other items.
        f1: with synthetic, and with real, as the looked-for class.
        repeats: items read twice; same: how often the answer was the same; kappa: beyond chance.
        plain_fakes: caught, shown.
        attention: passed, shown.
        seconds: median time of an answer.
        flags: what is odd, in words; nobody is left out for it.
    """

    reader: str
    answered: int
    asked: int
    confusion: proportions.Confusion
    area: float
    sensitivity: Estimate
    specificity: Estimate
    accuracy: Estimate
    d_prime: Estimate
    criterion: Estimate
    f1: tuple[float, float]
    repeats: int
    same: int
    kappa: float
    plain_fakes: tuple[int, int]
    attention: tuple[int, int]
    seconds: float
    flags: tuple[str, ...]


def build_row(
    reader: str, test: Sequence[Reading], *, study: Study, matrix: Matrix, level: float
) -> ReaderRow:
    """All figures of one reader.

    Args:
        reader: pseudonym.
        test: readings of all readers, of the test block.
        study: plan, protocol and key.
        matrix: first readings of all readers.
        level: of intervals.
    """
    readings = [one for one in test if one.reader == reader]
    key, pairs = study.key, build_repeats(readings, study.key).get(reader, ())
    place = matrix.readers.index(reader)
    found = proportions.count(matrix.answers[place], matrix.synthetic)
    d_prime, criterion = detection.d_prime(found, level=level)
    twice = np.array([[one.realness, two.realness] for one, two in pairs]).reshape(-1, 2)
    twice = twice[~np.isnan(twice).any(axis=1)]
    seconds = np.array([one.seconds for one in readings])
    seconds = seconds[~np.isnan(seconds)]
    return ReaderRow(
        reader=reader,
        answered=len(readings),
        asked=sum(slot.block == "test" for slot in study.protocol.readers[reader]),
        confusion=found,
        area=detection.area(matrix.scores[place], matrix.synthetic),
        sensitivity=proportions.sensitivity(found, level=level),
        specificity=proportions.specificity(found, level=level),
        accuracy=proportions.balanced_accuracy(found, level=level),
        d_prime=d_prime,
        criterion=criterion,
        f1=proportions.f1(found),
        repeats=len(twice),
        same=int((twice[:, 0] == twice[:, 1]).sum()),
        kappa=cohen_kappa(twice[:, 0], twice[:, 1]) if len(twice) else math.nan,
        plain_fakes=_passed(readings, key, "plain-fake"),
        attention=_passed(readings, key, "attention"),
        seconds=float(np.median(seconds)) if len(seconds) else math.nan,
        flags=_flags(readings, found, key, study.plan),
    )


def course(
    readings: Sequence[Reading], key: Mapping[str, KeyRow], *, level: float
) -> dict[str, Estimate]:
    """Changes from the first to the last item: mean over readers of each reader's straight line.

    Returns:
        ``accuracy`` (learning above 0, fatigue below), ``called synthetic`` (a drifting line) and
        ``seconds``; each NaN with fewer than two readers.
    """
    slopes: dict[str, list[float]] = {"accuracy": [], "called synthetic": [], "seconds": []}
    for reader in sorted({one.reader for one in readings}):
        rows = [one for one in readings if one.reader == reader and key[one.picture].is_main]
        known = [one for one in rows if not math.isnan(one.realness)]
        if len(known) < LEAST_ANSWERS:
            continue
        place = np.array([one.position for one in known], dtype=np.float64)
        place = (place - place.min()) / (np.ptp(place) or 1.0)
        answers = np.array([one.realness for one in known])
        truth = np.array([key[one.picture].answer for one in known])
        values = {
            "accuracy": answers == truth,
            "called synthetic": answers,
            "seconds": np.array([one.seconds for one in known]),
        }
        for name, value in values.items():
            slopes[name].append(float(np.polyfit(place, value.astype(np.float64), 1)[0]))
    return {name: mean_over_readers(values, level) for name, values in slopes.items()}


def mean_over_readers(values: Sequence[float], level: float) -> Estimate:
    """The mean of one number a reader, with Student's interval over readers; none with one."""
    if len(values) < 2:
        return Estimate(values[0] if values else math.nan, math.nan, math.nan, level=level)
    variance = float(np.var(values, ddof=1)) / len(values)
    return t_interval(float(np.mean(values)), variance, len(values) - 1, level)


def _passed(readings: Sequence[Reading], key: Mapping[str, KeyRow], kind: str) -> tuple[int, int]:
    asked = [one for one in readings if key[one.picture].kind == kind]
    return sum(one.realness == key[one.picture].answer for one in asked), len(asked)


def _flags(
    readings: Sequence[Reading],
    found: proportions.Confusion,
    key: Mapping[str, KeyRow],
    plan: Registration,
) -> tuple[str, ...]:
    flags = []
    if found.num_real + found.num_synthetic >= LEAST_ANSWERS and found.is_one_class:
        flags.append("one answer for nearly all items: nothing was told apart")
    steps = [(one.realness, one.confidence, one.rating) for one in readings]
    if len(steps) >= LEAST_ANSWERS:
        most = Counter(map(str, steps)).most_common(1)[0][1]
        if most >= _SAME * len(steps):
            flags.append("straight-lining: the very same answer throughout")
    fast = [one.seconds < plan.min_seconds for one in readings if not math.isnan(one.seconds)]
    if fast and np.mean(fast) > _HASTY:
        flags.append(f"{np.mean(fast):.0%} of answers faster than {plan.min_seconds:g} s")
    passed, asked = _passed(readings, key, "attention")
    if passed < asked:
        flags.append(f"attention checks: {passed} of {asked} passed")
    caught, shown = _passed(readings, key, "plain-fake")
    if shown and caught < _FEW_CAUGHT * shown:
        flags.append(f"plainly bad fakes: {caught} of {shown} caught")
    return tuple(flags)
