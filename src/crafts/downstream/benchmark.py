"""Stage: real and generated tiles in; whether the generated ones help a classifier out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import Manifest, finish, staging, write_bytes
from crafts.core.protocols import BuildExtractor, Codec
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.downstream.arms import COLOUR, Training, draw_patients, iter_arms
from crafts.downstream.classification import Ask, Scaling, fit_neighbours, fit_probe
from crafts.downstream.comparing import (
    Answered,
    Exam,
    check_controls,
    compare_arms,
    compare_slices,
    find_changed,
    open_exams,
)
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.controls import Controls, make_controls
from crafts.downstream.leaks import FindCopies, refuse_leaks
from crafts.downstream.opening import Opened, open_sets, open_sources, set_facts
from crafts.downstream.results import Method, Results
from crafts.sets.source import set_fingerprint
from crafts.sets.splits import Rows

if TYPE_CHECKING:
    from crafts.model.vision.image_encoders import ImageEncoder


def run(
    config: BenchmarkConfig,
    inputs: Mapping[str, Any] | None,
    output: Path,
    *,
    encoder: ImageEncoder,
    find_copies: FindCopies,
    codec: Codec | None = None,
) -> Manifest:
    """Train the same classifiers on real tiles alone and beside generated ones, and compare.

    Args:
        config: see :class:`BenchmarkConfig`.
        inputs: ``real``, ``generated``, ``external``: replace those of the configuration.
        output: gets ``metrics.json``, ``report.html``, ``rejects.jsonl`` and last
            ``manifest.json``.
        encoder: whose features the classifiers see.
        find_copies: suspects and the tiles they may be copies of -> those that are.
        codec: of the row of real tiles sent through an autoencoder.

    Raises:
        ConfigError: no such folder, swapped sets, or an encoder that is a part of the generator.
        DataError: unusable tiles, too few of them, a test patient that the generator has seen, or
            copies of real tiles.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    sources = open_sources(config)
    read = [path for path in (config.real, *config.generated, config.external) if path]
    with staging(output, "benchmark", sources=read) as folder:
        ledger = Ledger("benchmark", rejects_beside(output))
        opened = open_sets(config, sources, _builder(config, encoder), ledger)
        ledger.write(folder / "rejects.jsonl")
        say("benchmark: looking for patients and tiles that the generator has seen")
        facts = dict(encoder.facts)
        refuse_leaks(config, opened, encoder=facts, find_copies=find_copies)
        controls = make_controls(config, opened, encoder, codec)
        results = _measure(config, opened, controls, facts)
        _write(folder, opened, results)
        used = {"real": set_fingerprint(opened.real.tiles.set)}
        used |= {one.name: set_fingerprint(one.tiles.set) for one in opened.generated}
        return finish(
            folder,
            stage="benchmark",
            config=_settings(config),
            inputs=used,
            counts={**ledger.counts(), "arms": len({(r.arm, r.folder) for r in results.rows})},
            extra={"encoder": facts},
        )


def _builder(config: BenchmarkConfig, encoder: ImageEncoder) -> BuildExtractor:
    from crafts.sets.features import by_split

    columns = config.columns.as_columns()
    return by_split(encoder, columns, cache=config.cache, batch_size=config.batch_size)


@dataclass(frozen=True)
class _Bench:
    """All that the arms share."""

    config: BenchmarkConfig
    opened: Opened
    controls: Controls
    exams: list[Exam]
    answered: Answered = field(default_factory=Answered)


def _measure(
    config: BenchmarkConfig, opened: Opened, controls: Controls, facts: dict[str, Any]
) -> Results:
    bench = _Bench(config, opened, controls, open_exams(opened))
    draws, numbers = _draw(config, opened), opened.numbers(opened.real)[opened.train]
    for fraction, lows in draws.items():
        for seed, low in enumerate(lows, config.seed):
            rarest = int(np.bincount(numbers[low], minlength=len(opened.classes)).min())
            k = max(1, min(config.neighbours, rarest))  # more would outvote the rarest class
            for training in iter_arms(config, opened, controls, low, seed=seed):
                _examine(bench, training, fraction, k=k)
        say(f"benchmark: {100 * fraction:g} % of the training patients done")
    rows = compare_arms(config, bench.answered, bench.exams)
    first, exam = min(draws), bench.exams[0]
    labels, groups = opened.real.tiles.classes, opened.real.tiles.groups
    sides = {"train": opened.train, "test": exam.rows}
    return Results(
        task="classification",
        seed=config.seed,
        seeds=config.seeds,
        encoder=facts,
        classes={
            name: {side: int((labels[some] == name).sum()) for side, some in sides.items()}
            for name in opened.classes
        },
        sets=set_facts(opened),
        generated=[one.name for one in opened.generated],
        patients={side: len(set(groups[some])) for side, some in sides.items()},
        rows=rows,
        slices=compare_slices(config, bench.answered, exam, first),
        notes=opened.notes,
        controls=check_controls(rows),
        shown=find_changed(config, bench.answered, exam, first),
    )


def _draw(config: BenchmarkConfig, opened: Opened) -> dict[float, list[Rows]]:
    """Share -> a draw of tiles for each seed; a share that is like the next larger is left out."""
    seeds = range(config.seed, config.seed + config.seeds)
    found = {
        fraction: [draw_patients(opened, fraction, seed=seed) for seed in seeds]
        for fraction in config.fractions
    }
    kept: dict[float, list[Rows]] = {}
    for fraction in sorted(found, reverse=True):
        above = kept[min(kept)] if kept else None
        if above and all(np.array_equal(a, b) for a, b in zip(found[fraction], above, strict=True)):
            opened.notes.append(
                f"{100 * fraction:g} % of the patients are the same as {100 * min(kept):g} %, "
                "as each class needs one; left out."
            )
            continue
        kept[fraction] = found[fraction]
    return dict(sorted(kept.items()))


def _examine(bench: _Bench, training: Training, fraction: float, *, k: int) -> None:
    """Train both classifiers on one arm, and ask them about every exam."""
    opened, colour = bench.opened, training.arm == COLOUR
    every = bench.controls.colour if colour else opened.real.features
    scale = Scaling.of(every[opened.train])
    learnt, total = scale(training.features), training.real or training.synthetic
    fitted: dict[Method, Ask] = {
        "probe": fit_probe(learnt, training.labels, total=total),
        "knn": fit_neighbours(learnt, training.labels, k=k),
    }
    for exam in bench.exams:
        tested = scale(_seen(bench.controls, exam, colour=colour))
        for method, ask in fitted.items():
            bench.answered.add((exam.on, method, fraction), training, exam, ask(tested))


def _seen(controls: Controls, exam: Exam, *, colour: bool) -> NDArray[np.float32]:
    """Features of the tiles of an exam."""
    if not colour:
        return exam.side.features[exam.rows]
    external = controls.external_colour
    found = external if exam.on == "external" and external is not None else controls.colour
    return found[exam.rows]


def _settings(config: BenchmarkConfig) -> dict[str, Any]:
    """The configuration with absolute paths, which the manifest writes relative to itself."""
    values = config.model_dump(mode="json")
    for name in ("real", "external", "trained", "cache"):
        if values[name]:
            values[name] = str(Path(values[name]).resolve())
    values["generated"] = [str(Path(path).resolve()) for path in values["generated"]]
    return values


def _write(folder: Path, opened: Opened, results: Results) -> None:
    from crafts.downstream.report import write_report

    write_bytes(folder / "metrics.json", results.to_json().encode())

    def open_tile(name: str) -> NDArray[np.uint8] | None:
        tile = opened.real.source.load(name)
        return None if tile is None else tile.pixels

    say("benchmark: report.html")
    write_report(results, folder / "report.html", open_tile=open_tile)
