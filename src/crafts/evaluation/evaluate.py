"""Stage: generated tiles beside real ones in, numbers with their floors and a page out.

``metrics.json`` and ``features/map.json`` are described in :mod:`crafts.evaluation.results`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import Manifest, finish, staging, write_bytes
from crafts.core.errors import ConfigError
from crafts.core.protocols import BuildExtractor
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.evaluation.compare import (
    LEAST,
    Compared,
    Repetitions,
    compare,
    compare_scopes,
    generations_of,
    missing_classes,
)
from crafts.evaluation.config import EvaluateConfig
from crafts.evaluation.diagnosis.looks import (
    find_causes,
    find_stains,
    look,
    stain_clusters,
    stain_report,
    structure_report,
)
from crafts.evaluation.filtering import calibrate_on, filter_tiles
from crafts.evaluation.following import alignment_rows
from crafts.evaluation.opening import (
    Opened,
    open_sets,
    open_sources,
    statistics_facts,
)
from crafts.evaluation.page.gallery import build_gallery
from crafts.evaluation.page.marks import find_marks
from crafts.evaluation.page.masks import mask_notes
from crafts.evaluation.reference import NOT_COMPARED, compare_with_statistics
from crafts.evaluation.results import ComparedSet, Gallery, GateYield, Results, Separated
from crafts.measures.faithfulness import Faithfulness, judge_masks
from crafts.measures.separation import separation_by_class
from crafts.measures.statistics import UNKNOWN, compute_statistics, save_statistics
from crafts.sets.described import Described, Sets, prompt_source
from crafts.sets.draws import Sides, find_generations, share_out
from crafts.sets.files import write_features
from crafts.sets.masked import Masked, find_masked
from crafts.sets.source import SetName, Source, set_fingerprint
from crafts.sets.splits import Rows, halve

if TYPE_CHECKING:
    from crafts.model.vision.image_encoders import ImageEncoder

_KNOWN_CLASSES = 0.9
"""Share of generated tiles whose class must be known for the class mix to be matched."""

_LEAST_GENERATED = 50
"""Generated tiles in a repetition below which the k-th images of prompts are not kept apart."""


def run(
    config: EvaluateConfig,
    inputs: Mapping[str, Path] | None,
    output: Path,
    *,
    encoder: ImageEncoder | None = None,
) -> Manifest:
    """Compare generated tiles with held-out and training tiles, always beside real against real.

    Args:
        config: see :class:`EvaluateConfig`.
        inputs: ``generated``, ``real``, ``train``: replace those of the configuration.
        output: gets ``metrics.json``, ``features/``, ``report.html``, ``rejects.jsonl``, with
            ``filter`` also ``kept/``, and last ``manifest.json``.
        encoder: one that is open already, instead of ``config.encoder``.

    Raises:
        ConfigError: no such folder or split, or sets that are swapped.
        DataError: unusable images, patients in both real sets, or too few images to compare.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    sources = open_sources(config)
    masked = _find_masks(config, sources)
    found = encoder or _open_encoder(config)
    read = [path for path in (config.generated, config.real, config.train) if path]
    with staging(output, "evaluate", sources=read) as folder:
        ledger = Ledger("evaluate", rejects_beside(output))
        build = _builder(config, found)
        opened = open_sets(config, sources, build, ledger, encoder=found.facts)
        ledger.write(folder / "rejects.jsonl")
        results, gallery = _measure(config, opened)
        if config.filter:
            results = results.model_copy(update={"gate": _filter(config, opened, folder)})
        if (judged := _judge_masks(config, masked)) is not None:
            results = results.model_copy(update={"faithfulness": judged})
        if config.save_statistics:
            _save_statistics(config, opened, folder)
        _write(folder, opened, results, gallery)
        values = config.model_dump(mode="json")
        for name in ("generated", "real", "train", "cache", "masks", "real_masks"):
            if values[name]:  # as absolute paths, which the manifest writes relative to itself
                values[name] = str(Path(values[name]).resolve())
        used: dict[str, str] = {facts.name: facts.fingerprint for facts in results.sets}
        if results.statistics:
            used["statistics"] = results.statistics["sha256"]
        return finish(
            folder,
            stage="evaluate",
            config=values,
            inputs=used,
            counts={**ledger.counts(), "compared": results.n},
            extra={"encoder": results.encoder},
        )


def _open_encoder(config: EvaluateConfig) -> ImageEncoder:
    from crafts.model.vision.image_encoders import open_encoder

    return open_encoder(config.encoder, device=config.device)


def _builder(config: EvaluateConfig, encoder: ImageEncoder) -> BuildExtractor:
    from crafts.sets.features import by_split

    columns = config.columns.as_columns()
    return by_split(encoder, columns, cache=config.cache, batch_size=config.batch_size)


def _save_statistics(config: EvaluateConfig, opened: Opened, folder: Path) -> None:
    heldout = opened.sets.heldout.set
    found = compute_statistics(
        heldout,
        split=opened.sources["heldout"].split or UNKNOWN,
        prompts="captions of these tiles" if heldout.texts is not None else UNKNOWN,
        num_kept=config.kept_features,
        seed=config.seed,
    )
    save_statistics(found, folder / "statistics.npz")


def _measure(config: EvaluateConfig, opened: Opened) -> tuple[Results, Gallery]:
    plan, statistics = _plan(config, opened), opened.statistics
    if statistics is None:
        overall = compare(opened.sets, plan)
    else:
        overall = compare_with_statistics(opened.sets, statistics, plan)
    say("evaluate: stains and glands")
    looked = {
        name: look(opened.sources[name], one, most=config.pixel_images, seed=config.seed)
        for name, one in opened.named()
    }
    stains = find_stains(opened.sets, looked, opened.sources.get("heldout"), seed=config.seed)
    clusters, sets = stain_clusters(opened.sets, looked, stains)
    rows, left = compare_scopes(sets, plan) if statistics is None else ([], dict(NOT_COMPARED))
    say("evaluate: diagnosis")
    diagnosed, causes = find_causes(sets, looked, stains=stains, seed=config.seed)
    say("evaluate: alignment and the map")
    gallery, shown = build_gallery(sets, opened.cosine, most=config.map_images, seed=config.seed)
    results = Results(
        **_settings(config, opened, plan, overall),
        left_out={**missing_classes(sets, plan, overall.numbers), **left},
        rows=overall.rows + rows,
        generations=generations_of(plan, overall),
        alignment=alignment_rows(sets, seed=config.seed),
        separation=_separation(sets, shown, config.seed),
        stains=stain_report(sets, looked, stains),
        structure=structure_report(sets, looked),
        stain_clusters=clusters,
        diagnosed=diagnosed,
        diagnosis=causes,
    )
    number = len(find_generations(sets.generated.set.rows))
    marks = find_marks(results, sets, num_generations=number)
    return results.model_copy(update={"marks": marks}), gallery


def _find_masks(
    config: EvaluateConfig, sources: Mapping[SetName, Source]
) -> tuple[Masked, Masked] | None:
    """Generated and held-out tiles with masks, looked at before any work; None for none."""
    generated, heldout = sources["generated"], sources.get("heldout")
    if config.real_masks is not None and heldout is None:
        raise ConfigError(
            "evaluate: --real-masks",
            came=f"statistics ({config.real}) for --real",
            allowed="a folder of held-out tiles, whose masks the table names",
            do="Give the folder, or leave the option out.",
        )
    columns = config.columns.as_columns()
    made = find_masked(generated.parts, table=config.masks, columns=columns)
    real = Masked()
    if heldout is not None:
        real = find_masked(
            heldout.parts, split=heldout.split, table=config.real_masks, columns=columns
        )
    asked = made.items or made.rejected or config.real_masks
    return (made, real) if asked else None


def _judge_masks(
    config: EvaluateConfig, found: tuple[Masked, Masked] | None
) -> Faithfulness | None:
    """Whether generated tiles obey their masks; None where they have none."""
    from crafts.model.segmenter import has_shipped, open_segmenter

    if found is None:
        return None
    if config.segmenter == "mini" and not has_shipped():
        judged = Faithfulness(why="masks are not judged, no segmenter is installed")
    else:
        say("evaluate: masks")
        segmenter, (made, real) = open_segmenter(config.segmenter), found
        judged = judge_masks(made, segmenter, real=real, most=config.pixel_images, seed=config.seed)
    for line in mask_notes(judged):
        say(f"evaluate: masks: {line}")
    return judged


def _settings(
    config: EvaluateConfig, opened: Opened, plan: Repetitions, overall: Compared
) -> dict[str, Any]:
    """The fields of the results that say what was compared."""
    sets = opened.sets
    width = sets.generated.set.features.shape[1]
    return {
        "lead": "kernel_distance" if overall.n < 2 * width else "frechet_distance",
        "n": overall.n,
        "width": width,
        "seed": config.seed,
        "repetitions": plan.repetitions,
        "repetition": plan.kind,
        "matching": "class" if plan.matched else "none",
        "encoder": dict(sets.generated.set.encoder),
        "statistics": statistics_facts(config.real, opened.statistics),
        "sets": [_facts(name, one, opened.sources[name]) for name, one in opened.named()],
        "prompts": prompt_source(
            sets.generated.set, sets.heldout.set, sets.train.set if sets.train else None
        ),
    }


def _filter(config: EvaluateConfig, opened: Opened, folder: Path) -> GateYield:
    sets, train = opened.sets, opened.sets.train
    say("evaluate: thresholds of the gate from held-out tiles")
    reference = calibrate_on(
        sets.heldout,
        opened.sources["heldout"],
        bank=None if train is None else train.set.features,
        most=config.pixel_images,
        seed=config.seed,
        tails=config.tails,
    )
    return filter_tiles(sets, opened.sources, opened.cosine, folder, reference=reference)


def _plan(config: EvaluateConfig, opened: Opened) -> Repetitions:
    sets = opened.sets
    generations = find_generations(sets.generated.set.rows)
    named = "generation" in sets.generated.set.rows[0]  # folders: somebody meant them as such
    shares = share_out(generations, config.repetitions, least=LEAST if named else _LEAST_GENERATED)
    held, every = sets.heldout, np.arange(len(sets.generated))
    number = config.repetitions if opened.statistics is None else 0
    halves = [halve(held.groups, held.classes, config.seed + k) for k in range(number)]
    made = [rows for _, rows in shares] or [every] * max(number, 1)
    known = float((sets.generated.classes != "").mean())
    return Repetitions(
        sides=Sides(made, halves, None if sets.train is None else np.arange(len(sets.train))),
        matched=opened.statistics is None and known >= _KNOWN_CLASSES,
        kind="generations" if shares else "halvings" if halves else "none",
        most=config.max_images,
        seed=config.seed,
        names=[name for name, _ in shares],
        say=lambda line: say(f"evaluate: {line}"),
    )


def _separation(
    sets: Sets, shown: Mapping[str, tuple[Rows, Any]], seed: int
) -> dict[SetName, dict[str, Separated]]:
    """Silhouettes of the tiles on the map whose class is known."""
    found: dict[SetName, dict[str, Separated]] = {}
    spaces: tuple[Literal["embedding", "tsne"], ...] = ("embedding", "tsne")
    for name, side in sets.named().items():
        if name not in shown:
            continue
        rows = shown[name][0]
        rows = rows[side.classes[rows] != ""]
        classes = side.classes[rows]
        if not 2 <= len(np.unique(classes)) < len(rows):
            why = "fewer than two classes are known"
            found[name] = {space: Separated(why=why) for space in spaces}
            continue
        features, labels = side.set.features[rows], classes.tolist()
        found[name] = {}
        for space in spaces:
            one = separation_by_class(features, labels, on=space, seed=seed % 2**32)
            found[name][space] = Separated(
                value=one.overall, per_class=dict(one.per_class), floor=one.floor
            )
    return found


def _facts(name: SetName, side: Described, source: Source) -> ComparedSet:
    used, rejected = len(side), len(side.set.rejected)
    return ComparedSet(
        name=name,
        folder=source.path.resolve().name,
        fingerprint=set_fingerprint(side.set),
        split=source.split,
        listed=used + rejected,
        used=used,
        rejected=rejected,
        groups=len(np.unique(side.groups)) if side.named_groups else 0,
        classes=dict(sorted(Counter(side.classes.tolist()).items())),
        truncated=None if side.set.texts is None else side.set.truncated,
    )


def _write(folder: Path, opened: Opened, results: Results, gallery: Gallery) -> None:
    from crafts.evaluation.page.report import write_report

    for name, side in opened.named():
        for suffix in ("npz", "h5"):
            write_features(side.set, folder / "features" / f"{name}.{suffix}", name=name)
    write_bytes(folder / "features" / "map.json", gallery.to_json().encode())
    write_bytes(folder / "metrics.json", results.to_json().encode())

    def open_tile(name: SetName, tile: str) -> NDArray[np.uint8] | None:
        found = opened.sources[name].load(tile) if name in opened.sources else None
        return None if found is None else found.pixels

    say("evaluate: report.html")
    write_report(results, folder / "report.html", gallery=gallery, open_tile=open_tile)
