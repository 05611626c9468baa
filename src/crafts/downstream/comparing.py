"""From the answers of all arms to rows with a verdict each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.downstream.arms import NOISE, REAL, SHUFFLED, TWICE, Kind, Training
from crafts.downstream.classification import Answers
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.opening import Opened, Side
from crafts.downstream.results import METHODS, ArmRow, Method, Outcome, Slice
from crafts.downstream.statistics import (
    LEAST_PATIENTS,
    Gain,
    balanced_weights,
    calibration_error,
    holm,
    paired_gain,
)
from crafts.sets.described import CLASS_FIELD, SLICE_FIELDS
from crafts.sets.splits import Rows

_LEVEL = 0.05
_SHOWN = 6
_LEAST_SLICE = 10  # tiles


@dataclass
class Arm:
    """The answers of one arm, one entry a seed."""

    kind: Kind
    correct: list[NDArray[np.bool_]] = field(default_factory=list)
    confidence: list[NDArray[np.float64]] = field(default_factory=list)
    real: list[int] = field(default_factory=list)
    synthetic: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Exam:
    """Tiles that all arms are asked about.

    Attributes:
        on: test or external.
        side: their set.
        rows: of it.
        labels: [N], numbers of their classes.
    """

    on: str
    side: Side
    rows: Rows
    labels: NDArray[np.int64]

    @property
    def groups(self) -> NDArray[np.str_]:
        """Patient of each tile [N]."""
        return self.side.tiles.groups[self.rows]


Place = tuple[str, Method, float]
Name = tuple[str, str]  # arm and folder


class Answered:
    """Answers by exam, method and share, then by arm."""

    def __init__(self) -> None:
        self.arms: dict[Place, dict[Name, Arm]] = defaultdict(dict)

    def add(self, place: Place, training: Training, exam: Exam, answers: Answers) -> None:
        """Keep what one arm of one seed said."""
        name = (training.arm, training.folder)
        arm = self.arms[place].setdefault(name, Arm(training.kind))
        arm.correct.append(answers.answer == exam.labels)
        arm.confidence.append(answers.confidence)
        arm.real.append(training.real)
        arm.synthetic.append(training.synthetic)


def open_exams(opened: Opened) -> list[Exam]:
    """The test tiles, and the external ones whose class is known."""
    labels = opened.numbers(opened.real)
    known = opened.test[labels[opened.test] >= 0]
    exams = [Exam("test", opened.real, known, labels[known])]
    if opened.external is not None:
        own = opened.numbers(opened.external)
        rows = np.flatnonzero(own >= 0)
        groups = opened.external.tiles.groups[rows]
        if len(set(groups)) >= LEAST_PATIENTS:
            exams.append(Exam("external", opened.external, rows, own[rows]))
        else:
            opened.notes.append("external: fewer than 3 patients of known classes; not scored.")
    return exams


def compare_arms(
    config: BenchmarkConfig, answered: Answered, exams: Sequence[Exam]
) -> list[ArmRow]:
    """A row for each arm, its gain over ``real`` of the same share corrected for all arms there."""
    by_name = {exam.on: exam for exam in exams}
    found: list[ArmRow] = []
    for (on, method, fraction), arms in answered.arms.items():
        exam, baseline = by_name[on], arms[REAL, ""]
        others = {name: arm for name, arm in arms.items() if arm is not baseline}
        gains = {
            name: _gain(config, exam, baseline, arm)
            for name, arm in others.items()
            if len(arm.correct) == len(baseline.correct)
        }
        adjusted = dict(zip(gains, holm([one.p for one in gains.values()]), strict=True))
        for (arm_name, folder), arm in arms.items():
            values: dict[str, Any] = _measures(exam, arm)
            if (gain := gains.get((arm_name, folder))) is not None:
                values |= _judged(gain, adjusted[arm_name, folder])
            found.append(
                ArmRow(
                    on=on,
                    method=method,
                    fraction=fraction,
                    arm=arm_name,
                    kind=arm.kind,
                    folder=folder,
                    **values,
                )
            )
    return found


def _measures(exam: Exam, arm: Arm) -> dict[str, float]:
    weights = balanced_weights(exam.labels)
    pairs = zip(arm.confidence, arm.correct, strict=True)
    return {
        "real": round(float(np.mean(arm.real))),
        "synthetic": round(float(np.mean(arm.synthetic))),
        "accuracy": float(np.mean([(weights * right).mean() for right in arm.correct])),
        "ece": float(np.mean([calibration_error(sure, right) for sure, right in pairs])),
    }


def _gain(config: BenchmarkConfig, exam: Exam, baseline: Arm, arm: Arm) -> Gain:
    differences = np.array(arm.correct, float) - np.array(baseline.correct, float)
    weights = balanced_weights(exam.labels)
    return paired_gain(
        differences * weights, list(exam.groups), resamples=config.resamples, seed=config.seed
    )


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
    config: BenchmarkConfig, answered: Answered, exam: Exam, fraction: float
) -> list[Slice]:
    """Gain of the largest ratio of each folder, on parts of the test tiles, by linear probe."""
    arms = answered.arms["test", "probe", fraction]
    tiles, found = exam.side.tiles, []
    for (name, folder), arm in arms.items():
        if name != largest(config):
            continue
        change = np.array(arm.correct, float) - np.array(arms[REAL, ""].correct, float)
        right = np.array(arms[REAL, ""].correct, float).mean(0)
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
                    fraction=fraction,
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
    config: BenchmarkConfig, answered: Answered, exam: Exam, fraction: float
) -> dict[str, list[str]]:
    """Test tiles that the generated ones fixed and broke in most seeds, of the first folder."""
    arms = answered.arms["test", "probe", fraction]
    arm = next((one for (name, _), one in arms.items() if name == largest(config)), None)
    if arm is None:
        return {}
    change = np.array(arm.correct, float).mean(0) - np.array(arms[REAL, ""].correct, float).mean(0)
    names = [str(exam.side.tiles.set.rows[row]["name"]) for row in exam.rows]
    order = np.argsort(-change, kind="stable")
    return {
        "fixed": [names[k] for k in order[:_SHOWN] if change[k] >= 0.5],
        "broke": [names[k] for k in order[::-1][:_SHOWN] if change[k] <= -0.5],
    }


def check_controls(rows: Sequence[ArmRow]) -> list[str]:
    """Sentences on controls that did what they cannot do in a sound comparison."""
    found = []
    for row in rows:
        if row.outcome != "helped" or row.on != "test":
            continue
        where = f"at {100 * row.fraction:g} % of the patients ({METHODS[row.method].lower()})"
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
