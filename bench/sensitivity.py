"""Which measure sees which damage? Real tiles, damaged at five strengths, beside whole ones.

    python bench/sensitivity.py TILES OUTPUT [--per-class 48] [--halvings 4]

TILES holds ``metadata.csv`` and the images. The patients of every class are split in two halves:
one half is damaged, the other is the reference; without damage that is the floor. Distances,
precision, recall, density, coverage and the Vendi score are taken class by class, half against
half, and averaged over the classes; the Fréchet distance, alignment and separation over all classes
together. Writes ``sensitivity.md`` into OUTPUT. About five minutes on
one quiet core for the features, which OUTPUT keeps and ``diagnosis.py`` shares, and half a minute
for the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damaged_tiles import BLUR, LEVELS, QUALITY, SHIFT, TURNS, WASH, Bank, load_bank
from diagnosis import SHARES, collapse
from numpy.typing import NDArray

from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import say, seed_from
from crafts.evaluation.diagnosis.sides import Observed
from crafts.imaging.stains import stain_amounts
from crafts.measures.alignment import prompt_alignment
from crafts.measures.distances import cmmd, kernel_distance, normalised_frechet_distance
from crafts.measures.neighbors import prdc
from crafts.measures.rows import unit_rows
from crafts.measures.separation import separation
from crafts.measures.variety import vendi_score
from crafts.sets.splits import halve
from crafts.testing.damage import duplicate, shuffle_prompts, swap_class

STRENGTHS = {
    "blur": [f"{sigma:g} px" for sigma in BLUR],
    "washed eosin": [f"{share:.0%}" for share in WASH],
    "redder": [f"{length:.0%}" for length in SHIFT],
    "stain shift": [f"{length:.0%}, turn {t:g}" for length, t in zip(SHIFT, TURNS, strict=True)],
    "compression": [f"quality {quality}" for quality in QUALITY],
    "washed eosin and blur": [f"{a:.0%}, {b:g} px" for a, b in zip(WASH, BLUR, strict=True)],
    **{name: [f"{share:.0%}" for share in shares] for name, shares in SHARES.items()},
}
SHOULD_SEE = {  # damage -> measures that are expected to move with it
    "blur": ("sharpness", "kernel", "cmmd"),
    "washed eosin": ("eosin", "kernel", "cmmd"),
    "redder": ("hue", "kernel", "cmmd"),
    "stain shift": ("kernel", "cmmd"),
    "compression": ("blockiness",),
    "washed eosin and blur": ("sharpness", "eosin"),
    "duplicates": ("repeated", "coverage"),
    "collapse": ("vendi", "recall", "coverage"),
    "wrong class": ("kernel", "cmmd", "precision", "alignment"),
    "poor alignment": ("alignment",),
}
Rows = NDArray[np.int64]
Values = dict[str, float]


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        damage: "" for the floor.
        level: strength, 0 to 4; -1 for the floor.
        mean: measure -> mean over halvings.
        spread: measure -> standard deviation over halvings.
    """

    damage: str
    level: int
    mean: Values
    spread: Values


def damaged(bank: Bank, rows: Rows, damage: str, level: int, seed: int) -> Observed:
    """The damaged half; labels and captions stay where they are."""
    rng = np.random.default_rng(seed)
    features, looks = bank.variants[
        f"{damage} {level}" if f"{damage} {level}" in bank.variants else "clean"
    ]
    labels, shown = bank.labels[rows], rows.copy()
    share = SHARES[damage][level] if damage in SHARES else 0.0
    if damage == "poor alignment":
        shown = rows[shuffle_prompts(len(rows), share, seed=seed)]
    for name in np.unique(labels):
        places = np.flatnonzero(labels == name)
        if damage == "duplicates":
            shown[places] = rows[places][duplicate(len(places), share, seed=seed)]
        if damage == "wrong class":
            other = following_class(labels, str(name))
            shown[places] = rows[swap_class(labels, name, other, share, seed=seed)[places]]
    features, looks = features[shown], looks[shown]
    if damage == "collapse":
        features, looks = collapse(bank, rows, share, rng)
    return Observed(features, looks, labels, None, bank.texts[rows])


def following_class(labels: NDArray[np.str_], name: str) -> str:
    """The next class in alphabetical order, after the last the first."""
    names = sorted(set(labels.tolist()))
    return str(names[(names.index(name) + 1) % len(names)])


def measure(bank: Bank, real: Rows, tiles: Observed, seed: int) -> Values:
    """All measures of a damaged half beside the whole one."""
    assert tiles.labels is not None and tiles.texts is not None and tiles.appearance is not None
    reference, looks = (part[real] for part in bank.variants["clean"])
    names = np.unique(tiles.labels)
    parts = []
    for name in names:
        one, two = bank.labels[real] == name, tiles.labels == name
        stains = bank.stains[str(name)]
        parts.append(
            of_class(reference[one], tiles.features[two], seed)
            | of_looks(looks[one].mean(0), tiles.appearance[two].mean(0), stains)
        )
    found = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
    return found | {
        "frechet": normalised_frechet_distance(reference, tiles.features),
        "alignment": prompt_alignment(tiles.features, tiles.texts),
        "separation": separation(tiles.features, tiles.labels.tolist()),
    }


def of_class(real: NDArray[np.float32], made: NDArray[np.float32], seed: int) -> Values:
    """Measures of sets, from unit features at equal numbers; the kernel sees them times √D."""
    size = min(len(real), len(made))
    rng = np.random.default_rng(seed)
    first, second = (
        unit_rows(rows[rng.permutation(len(rows))[:size]].astype(np.float64), "tiles")
        for rows in (real, made)
    )
    scale = np.sqrt(real.shape[1])
    kernel, _ = kernel_distance(scale * first, scale * second, num_subsets=1, subset_size=size)
    cosine = second @ second.T
    np.fill_diagonal(cosine, -1)
    near = prdc(first, second, k=5)
    return {
        "kernel": 1000 * kernel,
        "cmmd": cmmd(first, second),
        **near,
        "vendi": vendi_score(second) / vendi_score(first),
        "repeated": float((cosine.max(axis=1) > 1 - 1e-6).mean()),
    }


def of_looks(
    real: NDArray[np.float64], made: NDArray[np.float64], stains: NDArray[np.float64]
) -> Values:
    """Measures of pixels from the mean appearance [5] of both sides."""
    before, after = stain_amounts(real[2:], stains), stain_amounts(made[2:], stains)
    return {
        "sharpness": float(made[0] - real[0]),
        "blockiness": float(made[1] - real[1]),
        "eosin": float(after[1] / max(before[1], 0.02)),
        "hue": float(np.linalg.norm(made[2:] - real[2:]) / np.linalg.norm(real[2:])),
    }


def study(bank: Bank, halvings: int) -> list[Line]:
    """The floor, then every damage at every strength."""
    halves = [halve(bank.groups, bank.labels, number) for number in range(halvings)]
    lines = []
    for damage in ("", *STRENGTHS):
        say(f"measure: {damage or 'floor'}")
        for level in LEVELS if damage else (-1,):
            found = []
            for number, (real, made) in enumerate(halves):
                seed = seed_from("sensitivity", damage, number) % 2**32
                found.append(measure(bank, real, damaged(bank, made, damage, level, seed), number))
            values = {key: np.array([one[key] for one in found]) for key in found[0]}
            lines.append(
                Line(
                    damage,
                    level,
                    {key: float(value.mean()) for key, value in values.items()},
                    {key: float(value.std(ddof=1)) for key, value in values.items()},
                )
            )
    return lines


TITLES = {
    "kernel": "kernel distance × 1000",
    "cmmd": "CMMD",
    "frechet": "Fréchet, unit rows",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "vendi": "Vendi ratio",
    "repeated": "repeated",
    "alignment": "alignment %",
    "separation": "separation %",
    "sharpness": "sharpness",
    "blockiness": "blockiness",
    "eosin": "eosin ratio",
    "hue": "colour change",
}


def seen_from(lines: Sequence[Line], damage: str, name: str) -> int | None:
    """First strength from which on a measure lies beyond three floor spreads; None if never."""
    floor, *_ = lines
    away = [
        abs(line.mean[name] - floor.mean[name]) > 3 * floor.spread[name] + 1e-12
        for line in lines
        if line.damage == damage
    ]
    first = len(away) - next((k for k, seen in enumerate(away[::-1]) if not seen), len(away))
    return first if first < len(away) else None


def is_monotonic(lines: Sequence[Line], damage: str, name: str) -> bool:
    """Whether a measure moves one way from the floor through all strengths, and moves at all."""
    values = [line.mean[name] for line in lines if line.damage in ("", damage)]
    steps = np.diff(values)
    return bool((np.all(steps >= 0) or np.all(steps <= 0)) and np.any(steps != 0))


def verdict(lines: Sequence[Line], damage: str, name: str) -> str:
    """One cell: the first strength that is seen, and whether the measure is monotonic."""
    first = seen_from(lines, damage, name)
    if first is None:
        return "–"
    return f"{first + 1}{'' if is_monotonic(lines, damage, name) else ' ~'}"


def markdown(lines: Sequence[Line], facts: str) -> str:
    """Both tables, and which expectations failed."""
    names = list(TITLES)
    text = ["# Which measure sees which damage", "", facts, ""]
    text += ["## First strength that is seen", "", _SEEN, ""]
    text += table(
        ["damage", *(TITLES[name] for name in names)],
        [[d, *(verdict(lines, d, name) for name in names)] for d in STRENGTHS],
    )
    text += ["", "Measures that should see a damage:", ""]
    for damage, wanted in SHOULD_SEE.items():
        found = [
            f"{TITLES[name]} {'' if is_monotonic(lines, damage, name) else 'NOT '}monotonic, "
            f"seen from strength {verdict(lines, damage, name).split()[0]}"
            for name in wanted
        ]
        text.append(f"- {damage}: {'; '.join(found)}.")
    text += ["", "## All values", "", "Mean over halvings; the floor with its spread.", ""]
    rows = []
    for line in lines:
        strength = STRENGTHS[line.damage][line.level] if line.damage else ""
        values = [f"{line.mean[name]:.3g}" for name in names]
        if not line.damage:
            values = [f"{line.mean[name]:.3g} ± {line.spread[name]:.2g}" for name in names]
        rows.append([line.damage or "floor: half against half", strength, *values])
    text += table(["damage", "strength", *(TITLES[name] for name in names)], rows)
    return "\n".join(text) + "\n"


_SEEN = (
    "The smallest strength, 1 to 5, from which on the measure stays more than three spreads of the "
    "floor away from the floor; – is never, ~ marks a measure that does not move one way."
)


def main() -> None:
    """Encode, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--per-class", type=int, default=48)
    parser.add_argument("--halvings", type=int, default=4)
    options = parser.parse_args()
    bank = load_bank(options.tiles, options.output, options.per_class)
    lines = study(bank, options.halvings)
    facts = (
        f"{len(bank.labels)} tiles of {len(np.unique(bank.labels))} classes and "
        f"{len(np.unique(bank.groups))} patients, {options.halvings} halvings of the patients; "
        "evaluation CLIP at 128 px. Made by `python bench/sensitivity.py`."
    )
    text = markdown(lines, facts)
    write_bytes(options.output / "sensitivity.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
