"""From the answers of all arms to rows with a verdict each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.downstream.arms import ALONE, BLIND, MIXED, NOISE, REAL, SHUFFLED, TWICE, Arm, Kind
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Exam
from crafts.downstream.results import ArmRow, Outcome, Slice
from crafts.downstream.statistics import LEAST_PATIENTS, Gain, equivalence, holm, paired_gain
from crafts.sets.described import CLASS_FIELD, SLICE_FIELDS

_LEVEL = 0.05
_SHOWN = 6
_LEAST_SLICE = 10  # items


@dataclass
class Scores:
    """How one arm did, one entry a seed."""

    kind: Kind
    score: list[NDArray[np.float64]] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)


Place = tuple[str, str, float]
Name = tuple[str, str]  # arm and folder


class Answered:
    """Answers by exam, method and share, then by arm."""

    def __init__(self) -> None:
        self.arms: dict[Place, dict[Name, Scores]] = defaultdict(dict)

    def add(self, place: Place, arm: Arm, answers: Answers) -> None:
        """Keep what one arm of one seed said."""
        scores = self.arms[place].setdefault((arm.name, arm.folder), Scores(arm.kind))
        scores.score.append(answers.score)
        counts = {"real": float(arm.real), "synthetic": float(arm.synthetic)}
        scores.measures.append({**counts, **answers.measures})

    def gain(
        self,
        config: BenchmarkConfig,
        place: Place,
        exam: Exam,
        *,
        arm: Name,
        over: Name = (REAL, ""),
    ) -> Gain | None:
        """The weighted gain of an arm over another, by the same items and seeds; None without."""
        first, second = self.arms[place].get(arm), self.arms[place].get(over)
        if first is None or second is None or len(first.score) != len(second.score):
            return None
        change = (np.array(first.score) - np.array(second.score)) * exam.weights
        return paired_gain(change, list(exam.groups), resamples=config.resamples, seed=config.seed)


def compare_arms(
    config: BenchmarkConfig, answered: Answered, exams: Sequence[Exam], *, primary: str
) -> list[ArmRow]:
    """A row for each arm, its gain over ``real`` of the same share corrected for all arms there."""
    by_name = {exam.on: exam for exam in exams}
    found: list[ArmRow] = []
    for place, arms in answered.arms.items():
        exam = by_name[place[0]]
        gains = {
            name: gain
            for name in arms
            if name != (REAL, "")
            and (gain := answered.gain(config, place, exam, arm=name)) is not None
        }
        adjusted = dict(zip(gains, holm([one.p for one in gains.values()]), strict=True))
        for name, scores in arms.items():
            values: dict[str, Any] = _means(scores)
            values[primary] = float(np.mean([(exam.weights * one).mean() for one in scores.score]))
            if name in gains:
                values |= _judged(gains[name], adjusted[name])
            on, method, fraction = place
            own = {"on": on, "method": method, "fraction": fraction, "kind": scores.kind}
            found.append(ArmRow(arm=name[0], folder=name[1], **own, **values))
    return found


def _means(scores: Scores) -> dict[str, Any]:
    names = scores.measures[0]
    means = {name: float(np.mean([one[name] for one in scores.measures])) for name in names}
    return {**means, "real": round(means["real"]), "synthetic": round(means["synthetic"])}


def _judged(gain: Gain, adjusted: float) -> dict[str, Any]:
    outcome: Outcome = "no difference seen"
    if adjusted < _LEVEL:
        outcome = "helped" if gain.mean > 0 else "harmed"
    return {
        "gain": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "p": gain.p,
        "adjusted": adjusted,
        "visible": gain.visible,
        "outcome": outcome,
    }


def compare_slices(
    config: BenchmarkConfig, answered: Answered, exam: Exam, place: Place
) -> list[Slice]:
    """Gain of the largest ratio of each folder, on parts of the test items."""
    arms = answered.arms[place]
    tiles, found = exam.side.tiles, []
    for (name, folder), arm in arms.items():
        if name != largest(config):
            continue
        change = np.array(arm.score) - np.array(arms[REAL, ""].score)
        right = np.array(arms[REAL, ""].score).mean(0)
        for one in (CLASS_FIELD, *SLICE_FIELDS):
            values = tiles.fields[one][exam.rows]
            for value in sorted(set(values) - {""}):
                mask = values == value
                groups = exam.groups[mask]
                if mask.sum() < _LEAST_SLICE or (mask.all() and one != CLASS_FIELD):
                    continue
                part = Slice(
                    field=one,
                    value=value,
                    folder=folder,
                    fraction=place[2],
                    tiles=int(mask.sum()),
                    patients=len(set(groups)),
                    accuracy=float(right[mask].mean()),
                    gain=float(change[:, mask].mean()),
                )
                if part.patients >= LEAST_PATIENTS:
                    gain = paired_gain(change[:, mask], list(groups), resamples=config.resamples)
                    part = part.model_copy(update={"low": gain.low, "high": gain.high})
                found.append(part)
    return found


def largest(config: BenchmarkConfig) -> str:
    """Name of the arm with the most generated tiles beside the real ones."""
    return f"real + generated, {config.ratios[-1]:g} x"


def find_changed(
    config: BenchmarkConfig, answered: Answered, exam: Exam, place: Place
) -> dict[str, list[str]]:
    """Test tiles that the generated ones fixed and broke in most seeds, of the first folder."""
    arms = answered.arms[place]
    arm = next((one for (name, _), one in arms.items() if name == largest(config)), None)
    if arm is None:
        return {}
    change = np.array(arm.score).mean(0) - np.array(arms[REAL, ""].score).mean(0)
    names = [str(exam.side.tiles.set.rows[row]["name"]) for row in exam.rows]
    order = np.argsort(-change, kind="stable")
    better = [names[k] for k in order if change[k] >= 0.5]
    worse = [names[k] for k in order[::-1] if change[k] <= -0.5]
    return {
        "fixed": list(dict.fromkeys(better))[:_SHOWN],
        "broke": list(dict.fromkeys(worse))[:_SHOWN],
    }


def further_tests(
    config: BenchmarkConfig, answered: Answered, exams: Sequence[Exam]
) -> tuple[list[str], list[str]]:
    """Sentences on tests beside the gains, and on controls among them that failed.

    Generated tiles alone against real ones: two one-sided tests by a margin that is a field of the
    configuration, and so stated before any number is seen. Shuffled images against questions alone.
    """
    found, failed = [], []
    for exam in exams:
        for place in [one for one in answered.arms if one[0] == exam.on]:
            for name in [one for one in answered.arms[place] if one[0] == ALONE]:
                gain = answered.gain(config, place, exam, arm=name)
                if gain is not None:
                    test = equivalence(gain, config.margin)
                    found.append(_say_equivalence(place, name[1], test, config.margin))
            blind = answered.gain(config, place, exam, arm=(MIXED, ""), over=(BLIND, ""))
            if blind is not None:
                figures = [f"{100 * one:+.1f}" for one in (blind.mean, blind.low, blind.high)]
                mean, low, high = (one.replace("-", "−") for one in figures)
                found.append(
                    f"Images shuffled less question only, {_say_place(place)}: "
                    f"{mean} points ({low} to {high}); 0 is expected."
                )
                failed += [found[-1]] if blind.low > 0 else []
    return found, failed


def _say_place(place: Place) -> str:
    return f"{place[0]} tiles, {place[1]}, {100 * place[2]:g} % of the patients"


def _say_equivalence(
    place: Place, folder: str, test: tuple[float, float, float], margin: float
) -> str:
    low, high, p = (round(100 * one, 1) for one in test)
    verdict = "as good as real tiles" if p / 100 < _LEVEL else "not shown to be as good"
    ends = f"{low:+g} to {high:+g}".replace("-", "−")
    return (
        f"{folder} alone, {_say_place(place)}: "
        f"{verdict} within {100 * margin:g} points (90 % interval {ends}, "
        f"p = {test[2]:.3f})."
    )


def check_controls(rows: Sequence[ArmRow]) -> list[str]:
    """Sentences on controls that did what they cannot do in a sound comparison."""
    found = []
    for row in rows:
        if row.outcome != "helped" or row.on != "test":
            continue
        where = f"at {100 * row.fraction:g} % of the patients ({row.method})"
        if row.arm == TWICE:
            found.append(
                f"Real tiles given twice helped {where}: the classifier is ill-suited there."
            )
        if row.arm == NOISE:
            found.append(f"Noise without any class in it helped {where}.")
        if row.arm.endswith(SHUFFLED):
            found.append(
                f"{row.folder}: tiles with shuffled labels helped {where}; "
                "then a gain of the rightly labelled ones does not come from what they show."
            )
    return found
