"""What ``crafts benchmark`` writes as ``metrics.json``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from crafts.core.config import Config
from crafts.core.results import Number, ResultFile
from crafts.report.tables import Head
from crafts.sets.source import SetFacts

Outcome = Literal["baseline", "helped", "harmed", "no difference seen"]


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
        mrr: mean reciprocal rank of the first right one, both ways of a retrieval.
        text_1 to text_median: image to caption, recall at 1, 5, 10 and median rank; ``image_``:
            caption to image.
        closed: share of yes-or-no questions answered rightly; open_f1: words shared with the
            answers of the others.
        ece: expected calibration error.
        gain, low, high: over the arm ``real`` of the same share; the 95 % interval.
        p, adjusted: of no difference; the second after Holm over the arms of this share.
        visible: smallest gain that four studies in five like this one would show.
        outcome: in words.
    """

    on: str
    method: str
    fraction: float
    arm: str
    kind: Literal["real", "control", "synthetic"]
    folder: str = ""
    real: Annotated[int | None, Head("Real tiles")] = None
    synthetic: Annotated[int | None, Head("Generated")] = None
    accuracy: Annotated[Number, Head("Balanced accuracy", "higher is better", percent=True)] = None
    mrr: Annotated[Number, Head("MRR", "reciprocal rank, both ways", percent=True)] = None
    closed: Annotated[Number, Head("Closed", "balanced accuracy", percent=True)] = None
    open_f1: Annotated[Number, Head("Open", "F1 of words", percent=True)] = None
    text_1: Annotated[Number, Head("R@1", "image to caption", percent=True)] = None
    text_5: Annotated[Number, Head("R@5", "image to caption", percent=True)] = None
    text_10: Annotated[Number, Head("R@10", "image to caption", percent=True)] = None
    text_median: Annotated[Number, Head("MedR", "image to caption")] = None
    image_1: Annotated[Number, Head("R@1", "caption to image", percent=True)] = None
    image_5: Annotated[Number, Head("R@5", "caption to image", percent=True)] = None
    image_10: Annotated[Number, Head("R@10", "caption to image", percent=True)] = None
    image_median: Annotated[Number, Head("MedR", "caption to image")] = None
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


class PlanPoint(Config):
    """A number of generated tiles of the rare class.

    Attributes:
        made: generated tiles of it.
        recall: of its test tiles.
        accuracy: balanced, of all classes.
        gain, low, high: of the balanced accuracy over the number before; 95 % interval.
        enough: the rule stops here.
    """

    made: int
    recall: Annotated[Number, Head("Recall", "of the rare class", percent=True)] = None
    accuracy: Annotated[Number, Head("Balanced accuracy", "all classes", percent=True)] = None
    gain: Annotated[
        Number, Head("Gain over the row above", "points; 95 %", True, ("low", "high"), "{} to {}")
    ] = None
    low: Number = None
    high: Number = None
    enough: bool = False


class FolderPoint(Config):
    """A folder of generated tiles, by its distance and by what it was worth."""

    folder: str
    distance: Annotated[Number, Head("Kernel distance", "to real test tiles")] = None
    gain: Annotated[Number, Head("Gain", "points", percent=True)] = None


class Results(ResultFile):
    """All that was found.

    Attributes:
        task: classification, retrieval, ssl or vqa.
        methods: name -> title; primary: field of the rows whose gain is judged.
        encoder: facts of the judge.
        classes: name -> training and test tiles.
        sets: the folders.
        rows: arms; ``slices``: parts of the test tiles; ``notes``: what must be known first.
        controls: sentences on controls that did not behave; empty is good.
        tests: sentences on generated tiles alone against real ones, by a margin stated beforehand,
            and on shuffled images against questions alone.
        plan: numbers of generated tiles of one rare class, where one was named.
        folders, relation: distance and gain of each folder, and their rank correlation.
        shown: "fixed" and "broke": names of test tiles.
    """

    task: str
    methods: dict[str, str]
    primary: str
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
    tests: list[str] = []
    rare: str = ""
    plan: list[PlanPoint] = []
    folders: list[FolderPoint] = []
    relation: str = ""
    shown: dict[str, list[str]] = {}
