"""What ``crafts benchmark`` writes as ``metrics.json``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from crafts.core.config import Config
from crafts.core.results import Number, ResultFile
from crafts.report.tables import Head
from crafts.sets.source import SetFacts

Method = Literal["probe", "knn"]
Outcome = Literal["baseline", "helped", "harmed", "no difference seen"]
METHODS: dict[Method, str] = {"probe": "Linear probe", "knn": "Nearest neighbours"}


class ArmRow(Config):
    """One arm at one share of the training patients.

    Attributes:
        on: test or external.
        method: classifier.
        fraction: share of the training patients.
        arm: name of the arm.
        kind: real, control or synthetic.
        folder: of the generated tiles; "" for none.
        real, synthetic: tiles trained on, mean over the seeds.
        accuracy: balanced, mean over the seeds.
        ece: expected calibration error.
        gain, low, high: over the arm ``real`` of the same share; the 95 % interval.
        p, adjusted: of no difference; the second after Holm over the arms of this share.
        visible: smallest gain that four studies in five like this one would show.
        outcome: in words.
    """

    on: str
    method: Method
    fraction: float
    arm: str
    kind: Literal["real", "control", "synthetic"]
    folder: str = ""
    real: Annotated[Number, Head("Real tiles")] = None
    synthetic: Annotated[Number, Head("Generated")] = None
    accuracy: Annotated[Number, Head("Balanced accuracy", "higher is better", percent=True)] = None
    ece: Annotated[Number, Head("ECE", "lower is better", percent=True)] = None
    gain: Annotated[
        Number,
        Head("Gain over real", "points; 95 % interval", True, ("low", "high"), "{} to {}"),
    ] = None
    low: Number = None
    high: Number = None
    p: Number = None
    adjusted: Annotated[Number, Head("p", "after Holm")] = None
    visible: Annotated[Number, Head("Smallest visible", "gain", percent=True)] = None
    outcome: Annotated[
        Outcome,
        Head("Verdict", words=tuple((one, one) for one in get_args(Outcome))),
    ] = "baseline"


class Slice(Config):
    """The gain of the largest ratio at one share, on the tiles of one site, class and so on."""

    field: str
    value: str
    folder: str
    fraction: float
    tiles: Annotated[int, Head("Test tiles")]
    patients: Annotated[int, Head("Patients")]
    accuracy: Annotated[Number, Head("Real alone", "accuracy", percent=True)] = None
    gain: Annotated[
        Number, Head("Gain", "points; 95 % interval", True, ("low", "high"), "{} to {}")
    ] = None
    low: Number = None
    high: Number = None


class Results(ResultFile):
    """All that was found.

    Attributes:
        task: classification.
        encoder: facts of the judge.
        classes: name -> training and test tiles.
        sets: the folders.
        rows: arms; ``slices``: parts of the test tiles; ``notes``: what must be known first.
        controls: sentences on controls that did not behave; empty is good.
        shown: "fixed" and "broke": names of test tiles.
    """

    task: str
    seed: int
    seeds: int
    encoder: dict[str, Any]
    classes: dict[str, dict[str, int]]
    sets: list[SetFacts]
    generated: list[str]
    patients: dict[str, int]
    rows: list[ArmRow]
    slices: list[Slice] = []
    notes: list[str] = []
    controls: list[str] = []
    shown: dict[str, list[str]] = {}
