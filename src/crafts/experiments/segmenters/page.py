"""``segmenters.md``, ``segmenters.json`` and ``montage.png``: what the arms reached, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crafts.conditions.maps import mask_map, render_map
from crafts.controls.masks import load_mask
from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.core.marks import save_synthetic
from crafts.experiments.judging.paired import Difference, paired_difference
from crafts.experiments.segmenters.pairs import FEW, INVENTED, MASKS, REAL, Source
from crafts.imaging.montage import montage
from crafts.sets.features import read_image
from crafts.sets.masked import MaskedTile

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
    "for all, none was chosen on validation tiles.",
)
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """What a segmenter is trained on: kinds of pairs, and the arm that it is compared with."""

    name: str
    kinds: tuple[str, ...]
    baseline: str | None = "real"


ARMS = (
    Arm("real", (REAL,), None),
    Arm("synthetic, real masks", (MASKS,)),
    Arm("synthetic, invented masks", (INVENTED,)),
    Arm("real + synthetic", (REAL, MASKS, INVENTED)),
    Arm("few real", (FEW,)),
    Arm("few real + synthetic", (FEW, INVENTED), "few real"),
)


@dataclass(frozen=True)
class Test:
    """A held-out real tile with its true mask."""

    pair: MaskedTile
    set: str


@dataclass(frozen=True)
class Found:
    """What the runs gave.

    Attributes:
        config: what was asked for.
        arms: in the order of the tables.
        runs: arm -> the scores of each seed.
        shipped: scores of the shipped segmenter on the same tiles.
        obedience: kind of synthetic pairs -> how far they obey their masks.
        tests: held-out tiles.
        sources: real training tiles.
    """

    config: Mapping[str, Any]
    arms: Sequence[Arm]
    runs: Mapping[str, Sequence[Run]]
    shipped: Run
    obedience: Mapping[str, Any]
    tests: Sequence[Test]
    sources: Sequence[Source]


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
        """Better or worse only where seeds and patients say so; else no difference seen."""
        both = (self.seeds, self.patients)
        if not all(one.excludes_zero for one in both) or self.seeds.mean * self.patients.mean < 0:
            return "no difference seen"
        return "better" if self.seeds.mean > 0 else "worse"


def write_results(found: Found, output: Path) -> str:
    """Write table, picture and numbers.

    Returns:
        The verdicts, one plain sentence each.
    """
    comparisons = compare(found)
    verdicts = [
        say_comparison(arm, comparisons[arm.name]) for arm in found.arms if arm.name in comparisons
    ]
    values = {
        "config": found.config,
        "arms": [asdict(arm) for arm in found.arms],
        "runs": found.runs,
        "shipped": found.shipped,
        "obedience": found.obedience,
        "differences": {
            name: asdict(one) | {"finding": one.finding} for name, one in comparisons.items()
        },
        "verdicts": verdicts,
    }
    write_bytes(output / "segmenters.json", (json.dumps(values, indent=1) + "\n").encode())
    _draw(found.sources, output)
    write_bytes(output / "segmenters.md", _compose(found, comparisons, verdicts).encode())
    return "\n".join(verdicts)


def compare(found: Found) -> dict[str, Comparison]:
    """Arm -> its differences to its baseline, for those that have one."""
    compared = {}
    for arm in found.arms:
        if arm.baseline is None:
            continue
        sides = [found.runs[arm.baseline], found.runs[arm.name]]
        seeds = [[mean_of(run, "dice") or 0.0 for run in side] for side in sides]
        patients = [
            [
                float(np.mean([run["patients"][name] for run in side]))
                for name in sides[0][0]["patients"]
            ]
            for side in sides
        ]
        compared[arm.name] = Comparison(paired_difference(*seeds), paired_difference(*patients))
    return compared


def mean_of(run: Run, measure: str) -> float | None:
    """Mean over the sets that have a measure."""
    values = [scores[measure] for scores in run["sets"].values() if scores[measure] is not None]
    return float(np.mean(values)) if values else None


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


def _compose(found: Found, comparisons: Mapping[str, Comparison], verdicts: Sequence[str]) -> str:
    """The page."""
    config, tests = found.config, found.tests
    patients = len({test.pair.patient for test in tests})
    sets = sorted({test.set for test in tests})
    runs = {**found.runs, "shipped segmenter, trained for longer": [found.shipped]}
    rows = [
        [name, *(_spread([mean_of(run, measure) for run in seeds]) for measure in MEASURES)]
        + [_spread([run["sets"][one]["dice"] for run in seeds]) for one in sets]
        for name, seeds in runs.items()
    ]
    counts = [sum(test.set == one for test in tests) for one in sets]
    titles = [f"{one} ({count})" for one, count in zip(sets, counts, strict=True)]
    lines = [
        "# Segmenters trained on synthetic pairs",
        "",
        f"A segmenter of nuclei, trained for {config['steps']} steps of {config['batch']} crops of "
        f"{config['crop']} px on real pairs, on synthetic pairs, or on both; tested on "
        f"{len(tests)} real tiles of {patients} held-out patients.",
        *(["", "**A trial of the machinery: no number here says anything.**"] * config["fast"]),
        "",
        *table(["trained on", *MEASURES.values(), *titles], rows),
        "",
        "Mean over sets, ± standard deviation over seeds; F1, AJI and PQ where true masks know "
        "single nuclei. Then the Dice of each set, with its held-out tiles.",
        "",
        "![Masks, real tiles and what was generated](montage.png)",
        "",
        "## Verdict",
        "",
        *(f"- {line}" for line in [*verdicts, *_obedience(found), *_checks(comparisons)]),
        "",
        "## What this could not have seen",
        "",
        *(f"- {line}" for line in LIMITS),
    ]
    return "\n".join(lines) + "\n"


def _obedience(found: Found) -> list[str]:
    titles = {MASKS: "real masks", INVENTED: "invented masks"}
    return [
        f"Synthetic pairs of {titles[kind]}: the shipped segmenter finds their nuclei with a Dice "
        f"of {one['obeyed']['dice']:.2f} ({one['obeyed']['n']} pairs; masks of other tiles "
        f"{one['floor']['dice']:.2f}, real held-out tiles {one['ceiling']['dice']:.2f}). Where "
        "images do not obey, labels are wrong."
        for kind, one in found.obedience.items()
        if one["floor"] and one["ceiling"]
    ]


def _checks(comparisons: Mapping[str, Comparison]) -> list[str]:
    """What chance alone would do; and, known beforehand, that fewer tiles are worse: is it seen?"""
    lines = [
        f"Of {len(comparisons)} such intervals over seeds chance alone would move "
        f"{0.05 * len(comparisons):.1f} off zero; a verdict also asks the patients."
    ]
    if "few real" in comparisons:
        seen = comparisons["few real"].finding == "worse"
        more = "" if seen else ": where it sees no difference, little is said"
        lines.append(
            f"The design {'sees' if seen else 'does not even see'} what is known beforehand, that "
            f"few tiles are worse than all{more}."
        )
    return lines


def _span(one: Difference) -> str:
    return f"{one.low:+.3f} to {one.high:+.3f}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{np.mean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ± {np.std(known, ddof=1):.3f}"


def _draw(sources: Sequence[Source], output: Path) -> None:
    """Mask, real tile, tile from the mask, invented mask, tile from that; evenly over all."""

    def path(source: Source, kind: str) -> Path:
        return output / "generated" / "images" / f"{source.key(kind)}-0.png"

    whole = [s for s in sources if all(path(s, kind).is_file() for kind in (MASKS, INVENTED))]
    shown = whole[:: max(1, len(whole) // SHOWN)][:SHOWN]
    rows = []
    for kind, title in ((MASKS, "mask"), (INVENTED, "invented mask")):
        masks = [load_mask(output / "masks" / f"{s.key(kind)}.png") for s in shown]
        rows.append((title, [render_map(mask_map(mask)) for mask in masks]))
        if kind == MASKS:
            rows.append(("real", [read_image(Path(s.item.path)) for s in shown]))
        rows.append((f"synthetic,\n{title}", [read_image(path(s, kind)) for s in shown]))
    shows = "masks, real tiles and generated ones"
    save_synthetic(montage(rows), output / "montage.png", shows)
