"""``results.json``, ``table.md`` and ``montage.png`` of an experiment, and its last lines."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from crafts.core import artifacts
from crafts.core.marks import save_synthetic
from crafts.experiments.arms.training import StepCost
from crafts.experiments.catalogue import Experiment
from crafts.experiments.corpus.tiles import Tiles
from crafts.experiments.judging.effects import factor_effects, say_effect
from crafts.experiments.judging.measures import MEASURES, Measures
from crafts.experiments.judging.paired import (
    Difference,
    compare_arms,
    count_after_holm,
    find,
    say_finding,
)
from crafts.experiments.settings import FAST, PAINTED, ExperimentConfig
from crafts.sets.features import read_image

_COLUMNS, _NAMES, _TITLES = 8, 130, 36
_AGAINST = " against "  # between two arms, where the second is not the baseline
_TRIAL = (
    "**A trial of the machinery.** Steps, prompts or tiles are too few, or the tissue is painted: "
    "nothing below says anything about the question, verdicts included."
)


@dataclass(frozen=True)
class Outcomes:
    """What the runs gave.

    Attributes:
        tiles: of the experiment.
        runs: arm -> one mapping a seed, with ``measures`` and ``training``.
        references: real tiles, shuffled prompts, shared checkpoint.
        files: arm -> its images with the first seed.
        prompts: arm -> its prompts.
        costs: of a step by the number of text tokens.
    """

    tiles: Tiles
    runs: Mapping[str, list[dict[str, Any]]]
    references: Mapping[str, Measures]
    files: Mapping[str, list[Path]]
    prompts: Mapping[str, list[str]]
    costs: Sequence[StepCost]

    def values(self) -> dict[str, dict[str, list[float | None]]]:
        """Arm -> measure -> one value a seed."""
        return {
            arm: {name: [one["measures"][name] for one in seeds] for name in MEASURES}
            for arm, seeds in self.runs.items()
        }


def write_results(
    config: ExperimentConfig, experiment: Experiment, *, found: Outcomes, output: Path
) -> list[str]:
    """Write table, picture and numbers.

    Args:
        config: of the experiment.
        experiment: its question and arms.
        found: what every arm came to.
        output: gets ``results.json``, ``table.md`` and ``montage.png``.

    Returns:
        The verdicts, one plain sentence each.
    """
    differences = compare_all(experiment, found.values())
    effects = factor_effects(experiment, found.values())
    verdicts = compose_verdicts(config, experiment, differences, effects=effects)
    values = {
        "question": experiment.question,
        "config": config.model_dump(mode="json"),
        "baseline": experiment.baseline.name,
        "judged_by": list(experiment.judged_by),
        "left_out": list(found.tiles.left_out) if experiment.only_left_out else [],
        "runs": found.runs,
        "references": found.references,
        "differences": {
            arm: {name: asdict(one) | {"finding": find(name, one)} for name, one in rows.items()}
            for arm, rows in differences.items()
        },
        "effects": {
            name: {factor: asdict(one) for factor, one in factors.items()}
            for name, factors in effects.items()
        },
        "costs": [asdict(cost) for cost in found.costs],
        "verdicts": verdicts,
    }
    text = json.dumps(values, indent=1, ensure_ascii=False)
    artifacts.write_bytes(output / "results.json", text.encode())
    table = compose_table(
        config, experiment, found=found, differences=differences, verdicts=verdicts
    )
    artifacts.write_bytes(output / "table.md", table.encode())
    shows = "real tiles above generated ones of each arm"
    save_synthetic(draw_montage(experiment, found), output / "montage.png", shows)
    return verdicts


def compare_all(
    experiment: Experiment, values: Mapping[str, Mapping[str, Sequence[float | None]]]
) -> dict[str, dict[str, Difference]]:
    """Every arm less the baseline by its name, then the further comparisons as "A against B"."""
    found = compare_arms(values, experiment.baseline.name)
    for arm, other in experiment.also:
        both = {name: values[name] for name in (other, arm)}
        found[f"{arm}{_AGAINST}{other}"] = compare_arms(both, other)[arm]
    return found


def compose_verdicts(
    config: ExperimentConfig,
    experiment: Experiment,
    differences: Mapping[str, Mapping[str, Difference]],
    *,
    effects: Mapping[str, Mapping[str, Difference]],
) -> list[str]:
    """A sentence for each arm, or else factor, and judging measure; what chance would give."""
    lines, judged = [], []
    runs = len(config.seeds) * sum(bool(arm.levels) for arm in experiment.arms)
    for name, factors in effects.items():
        for factor, one in factors.items():
            base = experiment.baseline.name
            lines.append(say_effect(factor, base, name, effect=one, runs=runs))
            judged.append(one)
    arms: Mapping[str, Mapping[str, Difference]] = {} if effects else differences
    for pair, rows in arms.items():
        arm, _, other = pair.partition(_AGAINST)
        for name in experiment.judged_by:
            if name in rows:
                base = other or experiment.baseline.name
                lines.append(say_finding(arm, base, name, rows[name]))
                judged.append(rows[name])
    lines.append(
        f"{len(judged)} comparisons over {len(config.seeds)} seeds: by chance alone about "
        f"{0.05 * len(judged):.1f} of such intervals would exclude zero. "
        f"Excluding zero here: {sum(one.excludes_zero for one in judged)}; after Holm's correction "
        f"for all comparisons (5 %): {count_after_holm(judged)}."
    )
    return lines


def compose_table(
    config: ExperimentConfig,
    experiment: Experiment,
    *,
    found: Outcomes,
    differences: Mapping[str, Mapping[str, Difference]],
    verdicts: Sequence[str],
) -> str:
    """The whole story as Markdown.

    Args:
        config: of the experiment.
        experiment: its question and arms.
        found: what every arm came to.
        differences: arm -> measure -> its difference from the baseline.
        verdicts: of :func:`compose_verdicts`.
    """
    tiles = found.tiles
    parts = [
        f"# Experiment: {config.name}",
        experiment.question,
        *([_TRIAL] if is_trial(config) else []),
        f"{len(config.seeds)} seeds an arm, {_trained(config, experiment)}{tiles.size} px, "
        f"{len(tiles.training)} training tiles, {len(tiles.prompts)} prompts "
        f"of held-out patients in {len({row['label'] for row in tiles.rows(tiles.prompts)})} "
        f"classes (of {len(tiles.classes)}). All arms begin with one checkpoint. Arms that train "
        "on the same rows see the same crops, noise and timesteps for a seed; images of all arms "
        f"begin with the same noise. Judge: {config.judge}. CRAFTS losses, where an arm has them, "
        f"aim at {_strength(config, experiment)} of the gradient norm of the denoising loss.",
        *([f"Left out: {', '.join(tiles.left_out)}."] if experiment.only_left_out else []),
        "## Arms",
        _arms(experiment),
        "## Verdict",
        "\n".join(f"- {line}" for line in verdicts),
        "## Measures: mean and standard deviation over seeds",
        _measures_table(experiment, found),
        _legend(experiment, tiles),
        "## Differences, paired by seed",
        f"To the baseline, {experiment.baseline.name}, where no other arm is named.",
        _differences_table(differences),
        _differences_note(differences),
        *_training_part(found),
        *_costs_part(found.costs),
    ]
    return "\n\n".join(parts) + "\n"


def draw_montage(experiment: Experiment, found: Outcomes) -> Image.Image:
    """Real tiles and the images of each arm with the first seed, a column a prompt."""
    tiles, size = found.tiles, found.tiles.size
    count = min(_COLUMNS, len(tiles.prompts))
    rows = [("real tile", [Image.fromarray(one) for one in tiles.images(tiles.prompts[:count])])]
    for arm in experiment.arms:
        opened = [Image.fromarray(read_image(path)) for path in found.files[arm.name][:count]]
        note = "\n(the baseline)" if arm == experiment.baseline else ""
        rows.append((arm.name + note, opened))
    step = size + 4
    sheet = Image.new("RGB", (_NAMES + count * step, _TITLES + len(rows) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, row in enumerate(tiles.rows(tiles.prompts[:count])):
        title = "\n".join(textwrap.wrap(str(row["label"]), 18)[:2])
        pen.text((_NAMES + column * step, 2), title, fill="black", font=font, spacing=2)
    for line, (name, images) in enumerate(rows):
        top = _TITLES + line * step
        pen.text((4, top + size // 2 - 8), name, fill="black", font=font)
        for column, image in enumerate(images):
            sheet.paste(image.resize((size, size)), (_NAMES + column * step, top))
    return sheet


def is_trial(config: ExperimentConfig) -> bool:
    """Whether an experiment is too small, or its tissue too simple, to say anything."""
    small = config.num_steps <= FAST["num_steps"] or config.num_prompts <= FAST["num_prompts"]
    return small or config.data == PAINTED


def _trained(config: ExperimentConfig, experiment: Experiment) -> str:
    steps = f"{config.num_steps} steps of {config.batch_size} crops of "
    return steps if experiment.trains else "no training, tiles of "


def _strength(config: ExperimentConfig, experiment: Experiment) -> str:
    screened = any(arm.levels for arm in experiment.arms)
    return "the last number of their line" if screened else f"{config.strength:g}"


def _arms(experiment: Experiment) -> str:
    base = experiment.baseline
    return "\n".join(
        f"- **{arm.name}**{' (the baseline)' if arm == base else ''}: {arm.says}"
        for arm in experiment.arms
    )


def _legend(experiment: Experiment, tiles: Tiles) -> str:
    """What measures and the columns behind the arms are; bold measures carry the verdict."""
    lines = [f"- {one.title}: {one.says}" for one in MEASURES.values()]
    lines += [
        f"- chance: {100 / len(tiles.classes):.1f} % of class agreement in colour and in grey, "
        f"about {100 / len(tiles.prompts):.1f} % of caption retrieval",
        "- real tiles: those of the prompts, what no arm can be asked to surpass; their kernel "
        "distance is that of real to real, the floor",
        f"- shuffled prompts: images of {experiment.baseline.name}, first seed, judged by prompts "
        "of other classes",
        "- shared checkpoint: what the arms begin with, first seed",
    ]
    return "The verdict rests on the bold measures; the others are shown beside.\n\n" + "\n".join(
        lines
    )


def _differences_note(differences: Mapping[str, Mapping[str, Difference]]) -> str:
    shown = [one for rows in differences.values() for one in rows.values()]
    return (
        "Outcomes: the 95 % interval excludes zero; empty: no effect seen. Of these "
        f"{len(shown)} intervals chance alone would move about {0.05 * len(shown):.0f} off zero: "
        "one of a measure that the verdict does not rest on is a hint and no more. Detectable: "
        "the true effect that so many seeds with this spread would find four times in five. The "
        "spread is itself known from these seeds only. Every seed's numbers are in results.json."
    )


def _measures_table(experiment: Experiment, found: Outcomes) -> str:
    values, arms = found.values(), [arm.name for arm in experiment.arms]
    lines = [_row(("measure", "better", *arms, *found.references))]
    lines.append(_row(["---"] * (2 + len(arms) + len(found.references))))
    for name, known in MEASURES.items():
        better = {True: "more", False: "less", None: ""}[known.higher]
        cells = [_spread(values[arm][name], known.digits) for arm in arms]
        cells += [_number(rows.get(name), known.digits) for rows in found.references.values()]
        judged = "**" if name in experiment.judged_by else ""
        lines.append(_row((f"{judged}{known.title}{judged}", better, *cells)))
    return "\n".join(lines)


def _differences_table(differences: Mapping[str, Mapping[str, Difference]]) -> str:
    lines = [_row(("arm", "measure", "difference", "95 % interval", "detectable", "found"))]
    lines.append(_row(["---"] * 6))
    for arm, rows in differences.items():
        for name, one in rows.items():
            known = MEASURES[name]
            digits = known.digits
            span = f"{one.low:+.{digits}f} to {one.high:+.{digits}f}"
            verdict = find(name, one)
            lines.append(
                _row(
                    (arm, known.title, f"{one.mean:+.{digits}f}", span,
                     f"{one.detectable:.{digits}f}", "" if verdict.startswith("no") else verdict)
                )
            )  # fmt: skip
    return "\n".join(lines)


def _training_part(found: Outcomes) -> list[str]:
    """What training recorded in the last leg: strength of the losses, tokens of the prompts."""
    names = sorted({name for seeds in found.runs.values() for name in seeds[0]["training"]})
    lines = [_row(("arm", *(name.replace("_", " ") for name in names)))]
    lines.append(_row(["---"] * (1 + len(names))))
    for arm, seeds in found.runs.items():
        cells = [_spread([one["training"].get(name) for one in seeds], 3) for name in names]
        lines.append(_row((arm, *cells)))
    note = (
        "Of an arm's last stretch of training. Ratio: the gradient norm of a loss as a share of "
        "the denoising loss's. Effective pairs: of a batch's, those that weigh. Weight spread: of "
        "W in L_catg. Likeness: of estimated latents of samples with different prompts. Prompt "
        "tokens: of the judged prompts."
    )
    return ["## Recorded in training", "\n".join(lines), note]


def _costs_part(costs: Sequence[StepCost]) -> list[str]:
    if not costs:
        return []
    lines = [_row(("text tokens", "kept activations, MB", "time of a step, ms"))]
    lines.append(_row(["---"] * 3))
    lines += [
        _row((str(one.tokens), f"{one.saved_bytes / 1e6:.1f}", f"{1000 * one.seconds:.0f}"))
        for one in costs
    ]
    note = "Every caption of the batch fills the budget; forward and backward pass of the denoiser."
    return ["## Cost of a step", "\n".join(lines), note]


def _spread(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "–"
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.{digits}f}{deviation}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
