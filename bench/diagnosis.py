"""Does the diagnosis name the right cause, and keep silent about real tiles?

    python bench/diagnosis.py TILES OUTPUT [--per-class 48] [--sets 160]

TILES holds ``metadata.csv`` and the images. Thresholds are set on the classes of
``CALIBRATION`` and the strengths 1, 3 and 5 of each damage, and tested on all other classes and the
strengths 2 and 4. A set is one half of the patients of three to five classes, damaged or not,
beside the other half. Writes ``diagnosis.md`` into OUTPUT. About
five minutes on one quiet core for the features, which OUTPUT keeps and ``sensitivity.py`` shares,
and five for the sets.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from damaged_tiles import VIEWS, Bank, load_bank
from numpy.typing import NDArray
from sklearn.neighbors import NearestCentroid

from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import say, seed_from
from crafts.evaluation.diagnosis.causes import diagnose
from crafts.evaluation.diagnosis.evidence import Evidence, compute_evidence
from crafts.evaluation.diagnosis.sides import Observed
from crafts.evaluation.diagnosis.thresholds import THRESHOLDS
from crafts.imaging.stains import stain_vectors
from crafts.sets.splits import halve
from crafts.testing.damage import duplicate, shuffle_prompts

CALIBRATION = ("oral_oscc", "prostate_gleason_NC", "ebhi_polyp")
SET_LEVELS, TEST_LEVELS = (0, 2, 4), (1, 3)
PIXELS = ("blur", "washed eosin", "washed eosin and blur", "stain shift", "compression")
SHARES = {  # of the tiles, at each strength
    "duplicates": (0.1, 0.2, 0.35, 0.5, 0.8),
    "collapse": (0.5, 0.65, 0.8, 0.9, 1.0),
    "wrong class": (0.5, 0.65, 0.8, 0.9, 1.0),
    "poor alignment": (0.4, 0.55, 0.7, 0.85, 1.0),
}
KINDS = (*PIXELS, *SHARES)
TEST_SEED = 200_000  # no draw of the test is one that was looked at while the rules were written
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """One set of tiles with what was done to it.

    Attributes:
        cause: what was planted; "" for clean tiles.
        level: strength, 0 to 4; -1 for clean tiles.
        evidence: what was measured.
    """

    cause: str
    level: int
    evidence: Evidence


def make_trial(bank: Bank, pool: Sequence[str], cause: str, level: int, seed: int) -> Trial:
    """Draw classes and halves of patients, damage one half, measure it beside the other."""
    rng = np.random.default_rng(seed_from("trial", cause, level, seed))
    names = rng.permutation(pool)[: rng.integers(3, 6)]
    rows = np.flatnonzero(np.isin(bank.labels, names))
    first, second = halve(bank.groups[rows], bank.labels[rows], int(rng.integers(2**31)))
    real, made = rows[first], rows[second]
    evidence = compute_evidence(
        observe(bank, "clean", real),
        damaged(bank, real, made, cause, level, rng),
        stains=stain_vectors(bank.tiles[real]),
        seed=seed,
    )
    return Trial(cause, level, evidence)


def observe(bank: Bank, variant: str, rows: Rows) -> Observed:
    """Some tiles of a variant, with their own labels, patients and captions."""
    features, looks = bank.variants[variant]
    return Observed(
        features[rows], looks[rows], bank.labels[rows], bank.groups[rows], bank.texts[rows]
    )


def damaged(
    bank: Bank, real: Rows, rows: Rows, cause: str, level: int, rng: np.random.Generator
) -> Observed:
    """The generated side: labels and captions are those asked for, patients are not known."""
    share = SHARES[cause][level] if cause in SHARES else 0.0
    if cause == "wrong class":
        rows, shown = wrong_class(bank, real, rows, share, rng)
    elif cause == "duplicates":
        shown = rows.copy()
        for name in np.unique(bank.labels[rows]):
            mine = np.flatnonzero(bank.labels[rows] == name)
            shown[mine] = rows[mine][duplicate(len(mine), share, seed=int(rng.integers(2**31)))]
    elif cause == "poor alignment":
        shown = rows[shuffle_prompts(len(rows), share, seed=int(rng.integers(2**31)))]
    else:
        shown = rows
    features, looks = bank.variants[f"{cause} {level}" if cause in PIXELS else "clean"]
    features, looks = features[shown], looks[shown]
    if cause == "collapse":
        features, looks = collapse(bank, rows, share, rng)
    return Observed(features, looks, bank.labels[rows], None, bank.texts[rows])


def wrong_class(
    bank: Bank, real: Rows, rows: Rows, share: float, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Places that were asked for, and tiles shown: one class shows tiles of another.

    They are missing from that class's own places, so that none lies twice. Only classes that the
    encoder tells apart are taken: what it cannot see in real tiles, no measure on it can see.
    """
    names = told_apart(bank, real, rows)
    asked, other = rng.permutation(names)[:2]
    mine, its = (rng.permutation(rows[bank.labels[rows] == name]) for name in (asked, other))
    lent = its[: min(len(its) // 2, len(mine))]
    places, wrong = mine[: len(lent)], round(share * len(lent))
    kept = np.concatenate([rows[~np.isin(bank.labels[rows], (asked, other))], its[len(lent) :]])
    return np.concatenate([kept, places]), np.concatenate([kept, lent[:wrong], places[wrong:]])


def told_apart(bank: Bank, real: Rows, rows: Rows) -> list[str]:
    """Classes of which the nearest mean of the other half's classes finds 70 %; two at least."""
    features, _ = bank.variants["clean"]
    scale = np.linalg.norm(features, axis=1, keepdims=True)
    judge = NearestCentroid().fit((features / scale)[real], bank.labels[real])
    right = judge.predict((features / scale)[rows]) == bank.labels[rows]
    names = sorted(
        np.unique(bank.labels[rows]), key=lambda n: -right[bank.labels[rows] == n].mean()
    )
    good = [str(name) for name in names if right[bank.labels[rows] == name].mean() >= 0.7]
    return good if len(good) > 1 else [str(name) for name in names[:2]]


def collapse(bank: Bank, rows: Rows, share: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """A share of the places shows pictures of one or two fields of their class."""
    features, looks = (part[rows].copy() for part in bank.variants["clean"])
    for name in np.unique(bank.labels[rows]):
        places = np.flatnonzero(bank.labels[rows] == name)
        fields = np.flatnonzero(np.isin(bank.fields, rows[places]))[:2]
        views = (fields[:, None] * VIEWS + np.arange(VIEWS)).ravel()
        hit = rng.permutation(places)[: min(round(share * len(places)), len(views))]
        picked = rng.permutation(views)[: len(hit)]
        features[hit], looks[hit] = (part[picked] for part in bank.variants["views"])
    return features, looks


SYMPTOMS = {  # number -> the cause that sets its threshold
    "sharpness": "blur",
    "eosin": "washed eosin",
    "hue": "stain shift",
    "hematoxylin": "stain shift",
    "blockiness": "compression",
    "duplicates": "duplicates",
    "variety": "collapse",
    "agreement": "wrong class",
    "following": "poor alignment",
}


def symptom(trial: Trial, name: str) -> float:
    """The number of a set that a threshold is held against; larger is worse."""
    if name == "agreement":
        classes = trial.evidence.classes.values()
        return max((numbers[name].value for numbers in classes if name in numbers), default=0.0)
    value = trial.evidence.overall[name].value
    if name in ("hue", "hematoxylin"):
        return abs(value)
    return -value if name in ("sharpness", "eosin", "variety", "following") else value


def propose(trials: Sequence[Trial]) -> dict[str, tuple[float, float, float]]:
    """For each number: 99th percentile of clean sets, 10th of damaged ones, and their middle."""
    found = {}
    for name, cause in SYMPTOMS.items():
        clean = np.quantile([symptom(t, name) for t in trials if not t.cause], 0.99)
        hurt = np.quantile([symptom(t, name) for t in trials if t.cause == cause], 0.10)
        found[name] = (float(clean), float(hurt), float(clean + hurt) / 2)
    return found


def run_trials(
    bank: Bank, pool: Sequence[str], levels: Sequence[int], sets: int, first: int
) -> list[Trial]:
    """Clean sets, and as many damaged ones as ``sets`` allows for every damage and strength."""
    trials = [make_trial(bank, pool, "", -1, first + k) for k in range(sets)]
    for cause in KINDS:
        say(f"sets: {cause}")
        for level in levels:
            trials += [make_trial(bank, pool, cause, level, first + k) for k in range(sets // 8)]
    return trials


def named(trial: Trial) -> str:
    """The first cause that the diagnosis names; "" for none."""
    found = diagnose(trial.evidence)
    return found[0].cause if found else ""


def tabulate(trials: Sequence[Trial]) -> list[str]:
    """Rows of Markdown: planted cause and strength, and what was named."""
    rows = []
    for cause in ("", *KINDS):
        for level in sorted({t.level for t in trials if t.cause == cause}):
            names = [named(t) for t in trials if (t.cause, t.level) == (cause, level)]
            wrong = Counter(name or "nothing" for name in names if name != cause)
            listed = ", ".join(f"{name} {number}" for name, number in wrong.most_common())
            share = 1 - sum(wrong.values()) / len(names)
            strength = level + 1 if cause else "–"
            rows.append([cause or "nothing", strength, len(names), f"{share:.0%}", listed or "–"])
    return table(["planted", "strength", "sets", "named rightly", "named otherwise"], rows)


def summarise(trials: Sequence[Trial]) -> str:
    """Share of right causes among damaged sets, and of alarms among clean ones."""
    hurt, clean = ([t for t in trials if bool(t.cause) == kind] for kind in (True, False))
    right = sum(named(t) == t.cause for t in hurt)
    alarms = sum(named(t) != "" for t in clean)
    return (
        f"right cause in {right} of {len(hurt)} damaged sets ({right / len(hurt):.1%}), "
        f"alarms on {alarms} of {len(clean)} clean sets ({alarms / len(clean):.1%})"
    )


_THRESHOLDS = (
    "From the calibration sets alone. Larger is worse; signs turn where low is worse. Taken "
    "is the middle between clean and damaged sets or, where that lies among the clean ones (hue, "
    "hematoxylin: a shift moves one or the other), their percentile, rounded."
)


def alarms_by_noise(trials: Sequence[Trial]) -> str:
    """Share of clean sets with an alarm, for some limits of the noise."""
    clean = [trial for trial in trials if not trial.cause]
    shares = {
        noise: sum(bool(diagnose(t.evidence, replace(THRESHOLDS, noise=noise))) for t in clean)
        for noise in (2.0, 2.25, 2.5, 2.75, 3.0, 3.5)
    }
    listed = ", ".join(f"{noise:g}: {number / len(clean):.1%}" for noise, number in shares.items())
    return (
        f"Alarms on clean calibration sets by the limit on noise: {listed}. Taken is "
        f"{THRESHOLDS.noise:g}, the smallest with alarms on at most 2.5 %."
    )


def markdown(calibration: Sequence[Trial], test: Sequence[Trial], pools: Sequence[str]) -> str:
    """The result, and where the thresholds come from."""
    lines = ["# Does the diagnosis name the right cause?", "", *pools, ""]
    lines += [f"**Test: {summarise(test)}.**", "", f"Calibration: {summarise(calibration)}.", ""]
    lines += ["## Test: other classes, strengths 2 and 4", "", *tabulate(test), ""]
    lines += ["## Calibration: strengths 1, 3 and 5", "", *tabulate(calibration), ""]
    lines += ["## Thresholds", "", _THRESHOLDS, ""]
    titles = ["number", "clean sets, 99th percentile", "damaged sets, 10th", "in between", "taken"]
    rows = [
        [name, *(f"{value:.3g}" for value in (*values, abs(getattr(THRESHOLDS, name))))]
        for name, values in propose(calibration).items()
    ]
    lines += table(titles, rows)
    lines += ["", alarms_by_noise(calibration)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Encode, draw sets, diagnose, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--per-class", type=int, default=48)
    parser.add_argument("--sets", type=int, default=160, help="clean sets in each part")
    options = parser.parse_args()
    bank = load_bank(options.tiles, options.output, options.per_class)
    names = [str(name) for name in np.unique(bank.labels)]
    known = [name for name in names if name.startswith(CALIBRATION)]
    other = [name for name in names if name not in known]
    calibration = run_trials(bank, known, SET_LEVELS, options.sets, 0)
    test = run_trials(bank, other, TEST_LEVELS, options.sets, TEST_SEED)
    pools = [f"- thresholds set on: {', '.join(known)}", f"- tested on: {', '.join(other)}"]
    text = markdown(calibration, test, pools)
    write_bytes(options.output / "diagnosis.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
