"""``segmenters.md``, ``segmenters.json`` and ``montage.png``: what the arms reached, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from montage import montage
from numpy.typing import NDArray
from PIL import Image
from synthetic_pairs import INVENTED, MASKS, Source

from crafts.controls.masks import load_mask
from crafts.core.artifacts import write_bytes
from crafts.core.marks import save_synthetic
from crafts.experiments.judging.paired import Difference, paired_difference
from crafts.measures.nuclei import count_nuclei
from crafts.sampling.control import mask_map, render_map

MEASURES = {"dice": "Dice", "f1": "F1", "aji": "AJI", "panoptic_quality": "PQ"}
SHOWN = 8

LIMITS = (
    "The ControlNet was trained on the real training pairs of these sets, all of them, and the "
    "model that it steers on most of their tiles. So every synthetic pair carries something of "
    "real pairs that its arm is not counted to have; for `few real + synthetic` that is most. It "
    "shows what a shipped ControlNet does for somebody with few pairs of the same kind, not what "
    "one that was trained on those few would do.",
    "Numbers of nuclei and texts of the invented pairs are those of real training tiles, and their "
    "layouts were fitted to all of the chosen masks. Places and outlines are invented.",
    "There is one ControlNet and one draw of synthetic pairs. The spread holds first weights, "
    "order, crops and, in the arms with few, which tiles; not another ControlNet.",
    "Held-out tiles come from the sets that were trained on: nothing is said of another scanner, "
    "stain or organ.",
    "All arms take as many steps, so few tiles are seen more often each. Thresholds are the same "
    "for all (0.5 and 0.4), none was chosen on validation tiles.",
)

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """What a segmenter is trained on.

    Attributes:
        name: as tables have it.
        kinds: of pairs.
        baseline: arm that it is compared with.
    """

    name: str
    kinds: tuple[str, ...]
    baseline: str | None


@dataclass(frozen=True)
class Found:
    """What the runs gave.

    Attributes:
        plan: what was asked for.
        arms: in the order of the tables.
        runs: arm -> the scores of each seed.
        references: scores of other segmenters on the same tiles.
        obedience: kind of synthetic pairs -> how far they obey their masks.
        sources: real training tiles.
        drawn: arm -> tiles, and share of its crops from real tiles.
        tests: held-out tile -> set and patient.
    """

    plan: Mapping[str, Any]
    arms: Sequence[Arm]
    runs: Mapping[str, Sequence[Run]]
    references: Mapping[str, Run]
    obedience: Mapping[str, Any]
    sources: Sequence[Source]
    drawn: Mapping[str, Mapping[str, Any]]
    tests: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Comparison:
    """An arm less its baseline.

    Attributes:
        seeds: mean Dice of the sets, seed by seed.
        patients: mean Dice of the tiles of a patient over the seeds, patient by patient.
    """

    seeds: Difference
    patients: Difference

    @property
    def finding(self) -> str:
        """ "better" or "worse" only where seeds and patients say so; else "no difference seen"."""
        both = (self.seeds, self.patients)
        if all(one.excludes_zero and one.mean > 0 for one in both):
            return "better"
        if all(one.excludes_zero and one.mean < 0 for one in both):
            return "worse"
        return "no difference seen"


def write_results(found: Found, output: Path) -> list[str]:
    """Write table, picture and numbers.

    Returns:
        The verdicts, one plain sentence each.
    """
    comparisons = compare(found)
    verdicts = [
        say_comparison(arm, comparisons[arm.name]) for arm in found.arms if arm.name in comparisons
    ]
    values = {
        "plan": found.plan,
        "arms": [asdict(arm) | dict(found.drawn[arm.name]) for arm in found.arms],
        "runs": found.runs,
        "references": found.references,
        "obedience": found.obedience,
        "differences": {
            name: asdict(one) | {"finding": one.finding} for name, one in comparisons.items()
        },
        "verdicts": verdicts,
    }
    write_bytes(output / "segmenters.json", (json.dumps(values, indent=1) + "\n").encode())
    save_synthetic(
        draw_montage(found.sources, output),
        output / "montage.png",
        "masks, real tiles and generated ones",
    )
    text = write_page(found, comparisons, verdicts)
    write_bytes(output / "segmenters.md", text.encode())
    return verdicts


def mean_of(run: Run, measure: str) -> float | None:
    """Mean over the sets that have a measure."""
    values = [scores[measure] for scores in run["sets"].values() if scores[measure] is not None]
    return float(np.mean(values)) if values else None


def compare(found: Found) -> dict[str, Comparison]:
    """Arm -> its differences to its baseline, for those that have one."""
    compared = {}
    for arm in found.arms:
        if arm.baseline is None:
            continue
        runs, base = found.runs[arm.name], found.runs[arm.baseline]
        seeds = [[mean_of(run, "dice") or 0.0 for run in side] for side in (base, runs)]
        names = sorted(base[0]["patients"])
        patients = [
            [float(np.mean([run["patients"][name] for run in side])) for name in names]
            for side in (base, runs)
        ]
        compared[arm.name] = Comparison(paired_difference(*seeds), paired_difference(*patients))
    return compared


def say_comparison(arm: Arm, one: Comparison) -> str:
    """One plain sentence on an arm."""
    seeds, patients = one.seeds, one.patients
    text = (
        f"{arm.name}: {one.finding}, Dice {seeds.mean:+.3f} against {arm.baseline} (95 % interval "
        f"{_span(seeds)} over {seeds.num_seeds} seeds; {patients.mean:+.3f}, {_span(patients)} "
        f"over {patients.num_seeds} patients)"
    )
    if one.finding == "no difference seen":
        return f"{text}; less than {seeds.detectable:.3f} would not have been seen."
    return f"{text}."


def write_page(found: Found, comparisons: Mapping[str, Comparison], verdicts: list[str]) -> str:
    """The page ``segmenters.md``."""
    plan = found.plan
    patients = len({patient for _, patient in found.tests.values()})
    lines = [
        "# Segmenters trained on synthetic pairs",
        "",
        f"A segmenter of nuclei, trained for {plan['steps']} steps of {plan['batch']} crops of "
        f"{plan['crop']} px on real pairs, on synthetic pairs, or on both; tested on "
        f"{len(found.tests)} real tiles of {patients} held-out patients.",
        "Made by `recipes/mini/compare_segmenters.py`.",
        *(["", "**A trial of the machinery: no number here says anything.**"] * plan["fast"]),
        "",
        *_arms_table(found, comparisons),
        "",
        "Mean over sets, ± standard deviation over seeds; F1, AJI and PQ where true masks know "
        "single nuclei. Differences of Dice with 95 % t intervals, paired.",
        "",
        "![Masks, real tiles and what was generated](montage.png)",
        "",
        "## Verdict",
        "",
        *(f"- {line}" for line in verdicts),
        *_obedience_lines(found),
        *_check_lines(comparisons, plan["few"]),
        f"- Of {len(comparisons)} such intervals over seeds chance alone would move "
        f"{0.05 * len(comparisons):.1f} off zero; a verdict also asks the patients.",
        "",
        "## Dice of each set",
        "",
        *_sets_table(found),
        "",
        *_limits(found),
    ]
    return "\n".join(lines) + "\n"


def _arms_table(found: Found, comparisons: Mapping[str, Comparison]) -> list[str]:
    lines = [
        "| trained on | tiles | real crops | Dice | F1 | AJI | PQ | against | over seeds "
        "| over patients |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in found.arms:
        drawn, one = found.drawn[arm.name], comparisons.get(arm.name)
        numbers = " | ".join(
            _spread([mean_of(r, m) for r in found.runs[arm.name]]) for m in MEASURES
        )
        versus = [arm.baseline, _both(one.seeds), _both(one.patients)] if one else ["", "", ""]
        lines.append(
            f"| {arm.name} | {drawn['tiles']} | {100 * drawn['real']:.0f} % | {numbers} | "
            f"{' | '.join(map(str, versus))} |"
        )
    for name, run in found.references.items():
        numbers = " | ".join(_spread([mean_of(run, measure)]) for measure in MEASURES)
        lines.append(f"| {name} segmenter, trained for longer | | | {numbers} | | | |")
    return lines


def _sets_table(found: Found) -> list[str]:
    names = sorted({name for name, _ in found.tests.values()})
    of = {name: [test for test in found.tests.values() if test[0] == name] for name in names}
    lines = [
        "| trained on | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        "| held-out tiles / patients | "
        + " | ".join(f"{len(of[n])} / {len({p for _, p in of[n]})}" for n in names)
        + " |",
    ]
    sides = {arm.name: found.runs[arm.name] for arm in found.arms}
    sides |= {f"{name} segmenter": [run] for name, run in found.references.items()}
    for label, runs in sides.items():
        cells = [_spread([run["sets"][name]["dice"] for run in runs]) for name in names]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _obedience_lines(found: Found) -> list[str]:
    titles = {MASKS: "real masks", INVENTED: "invented masks"}
    lines = []
    for kind, one in found.obedience.items():
        if not one["floor"] or not one["ceiling"]:
            continue
        lines.append(
            f"- Synthetic pairs of {titles[kind]}: the shipped segmenter finds their nuclei with a "
            f"Dice of {one['obeyed']['dice']:.2f} ({one['obeyed']['n']} pairs; masks of other "
            f"tiles {one['floor']['dice']:.2f}, real held-out tiles {one['ceiling']['dice']:.2f}; "
            f"on that scale {one['normalised']:.2f}). Where images do not obey, labels are wrong."
        )
    return lines


def _check_lines(comparisons: Mapping[str, Comparison], few: float) -> list[str]:
    """What is known beforehand, that fewer tiles are worse: does the design see it?"""
    if "few real" not in comparisons:
        return []
    than_all = f"{100 * few:.0f} % of the tiles are worse than all"
    if comparisons["few real"].finding == "worse":
        return [f"- The design sees what is known beforehand: {than_all}."]
    return [
        f"- The design does not even see that {than_all} of them: where it sees no difference, "
        "little is said."
    ]


def _limits(found: Found) -> list[str]:
    names = sorted({name for name, _ in found.tests.values()})
    scarce = [name for name in names if _patients(found, name) < 3]
    seeds = len(next(iter(found.runs.values())))
    shipped = mean_of(found.references["shipped"], "dice") or 0.0
    best = max(
        float(np.mean([mean_of(run, "dice") or 0.0 for run in runs]))
        for runs in found.runs.values()
    )
    return [
        "## What this could not have seen",
        "",
        *(f"- {line}" for line in LIMITS),
        *([f"- Fewer than three held-out patients: {', '.join(scarce)}."] if scarce else []),
        f"- {found.plan['steps']} steps: the best arm reaches a Dice of {best:.2f}, the shipped "
        f"segmenter, trained for longer, {shipped:.2f}. More steps may widen differences or close "
        "them.",
        f"- {seeds} seeds: differences below those named in the verdicts may be there unseen.",
    ]


def _patients(found: Found, name: str) -> int:
    return len({patient for of, patient in found.tests.values() if of == name})


def _span(one: Difference) -> str:
    return f"{one.low:+.3f} to {one.high:+.3f}"


def _both(one: Difference) -> str:
    return f"{one.mean:+.3f} ({_span(one)})"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{np.mean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ± {np.std(known, ddof=1):.3f}"


def draw_montage(sources: Sequence[Source], output: Path) -> Image.Image:
    """Mask, real tile, tile from the mask, invented mask, tile from that; of every set some."""
    shown = _choose(sources, output)
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = [
        ("mask", [_map(output / "masks" / MASKS, source) for source in shown]),
        ("real", [_read(source.image) for source in shown]),
        ("synthetic,\nreal mask", [_made(output, source, MASKS) for source in shown]),
        ("invented mask", [_map(output / "masks" / INVENTED, source) for source in shown]),
        ("synthetic,\ninvented mask", [_made(output, source, INVENTED) for source in shown]),
    ]
    return montage([(label, np.stack(tiles)) for label, tiles in rows])


def _choose(sources: Sequence[Source], output: Path) -> list[Source]:
    """Tiles whose pairs are all there, the sets in turn, with an ordinary number of nuclei."""
    by_set: dict[str, list[tuple[int, Source]]] = {}
    for source in sources:
        if all(_path(output, source, kind).is_file() for kind in (MASKS, INVENTED)):
            nuclei = count_nuclei(load_mask(output / "masks" / MASKS / f"{source.number:05d}.png"))
            by_set.setdefault(source.set, []).append((nuclei, source))
    middle = []
    for members in by_set.values():
        members.sort(key=lambda one: (one[0], one[1].number))
        middle.append([members[k][1] for k in {len(members) // 2, 3 * len(members) // 4}])
    turns = [group[turn] for turn in range(2) for group in middle if turn < len(group)]
    return turns[:SHOWN]


def _path(output: Path, source: Source, kind: str) -> Path:
    return output / "generated" / "images" / f"{source.name(kind)}-0.png"


def _made(output: Path, source: Source, kind: str) -> NDArray[np.uint8]:
    return _read(_path(output, source, kind))


def _map(folder: Path, source: Source) -> NDArray[np.uint8]:
    return render_map(mask_map(load_mask(folder / f"{source.number:05d}.png")))


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
