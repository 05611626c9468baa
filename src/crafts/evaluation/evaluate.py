"""Stage: generated tiles beside real ones in, numbers with their floors and a page out.

``metrics.json`` and ``features/map.json`` are described in :mod:`crafts.evaluation.results`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crafts.core.artifacts import Manifest, finish, staging, write_bytes
from crafts.core.config import Config
from crafts.core.errors import ConfigError, DataError
from crafts.core.protocols import BuildExtractor, ExtractFeatures
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.data.collection import AUTO
from crafts.evaluation.comparing.comparison import (
    LEAST,
    Plan,
    Sets,
    compare,
    compare_scopes,
    generations_of,
    missing_classes,
    nearest_in,
)
from crafts.evaluation.comparing.draws import Rows, Sides, find_generations, halve, share_out
from crafts.evaluation.comparing.following import alignment_rows
from crafts.evaluation.comparing.gallery import build_gallery
from crafts.evaluation.comparing.marks import find_marks
from crafts.evaluation.comparing.slices import (
    Described,
    caption_fields,
    describe,
    prompt_source,
    shared_groups,
)
from crafts.evaluation.comparing.sources import (
    Source,
    open_source,
    set_fingerprint,
)
from crafts.evaluation.diagnosing.pixels import find_causes, look, stain_report
from crafts.evaluation.gating.filtering import calibrate_on, filter_tiles
from crafts.evaluation.gating.gate import GateTails
from crafts.evaluation.results import Gallery, GateYield, Measured, Results, SetFacts, SetName
from crafts.evaluation.separation import separation
from crafts.evaluation.storage.feature_files import write_features

if TYPE_CHECKING:
    from crafts.model.image_encoders import ImageEncoder

_KNOWN_CLASSES = 0.9
"""Share of generated tiles whose class must be known for the class mix to be matched."""

_LEAST_GENERATED = 50
"""Generated tiles in a repetition below which the k-th images of prompts are not kept apart."""


class EvaluateConfig(Config):
    """What ``crafts evaluate`` takes."""

    generated: Path = Field(description="folder of generated tiles, or of several generations")
    real: Path = Field(description="held-out real tiles: a folder, or shards")
    train: Path | None = Field(None, description="tiles that the model was trained on")
    encoder: str = Field("mini", min_length=1, description="mini, a folder, or a hub id")
    filter: bool = Field(False, description="also keep what the quality gate passes, in kept/")
    real_split: str = Field(AUTO, description="auto: heldout, where rows name splits; '' for all")
    train_split: str = Field(AUTO, description="auto: train, where rows name splits; '' for all")
    repetitions: int = Field(5, ge=5, le=100, description="draws of sets, for means and spreads")
    max_images: int = Field(5000, ge=20, description="images on each side of a comparison at most")
    map_images: int = Field(2000, ge=20, le=20_000, description="tiles on the t-SNE map at most")
    pixel_images: int = Field(
        1000, ge=20, description="tiles of a set opened for stains and thresholds at most"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw")
    batch_size: int = Field(32, ge=1, le=4096, description="images encoded at once")
    device: str = Field("auto", description="auto, cpu, cuda")
    cache: Path | None = Field(None, description="folder where features are kept between runs")
    tails: GateTails = GateTails()
    max_reject_fraction: float = Field(
        0.5, ge=0, le=1, description="share of unusable images of a set that ends the run"
    )


@dataclass(frozen=True)
class Opened:
    """The sets with the folders they came from.

    Attributes:
        sets: features and what is known of every row.
        sources: folders by the name of their set.
        cosine: of each generated tile with its nearest training tile; empty without training.
    """

    sets: Sets
    sources: Mapping[SetName, Source]
    cosine: NDArray[np.float32]


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
    sources = _open(config)
    with staging(output) as folder:
        ledger = Ledger("evaluate")
        opened = _extract(config, sources, _builder(config, encoder), ledger)
        ledger.write(folder / "rejects.jsonl")
        results, gallery = _measure(config, opened)
        if config.filter:
            results = results.model_copy(update={"gate": _filter(config, opened, folder)})
        _write(folder, opened, results, gallery)
        values = config.model_dump(mode="json")
        for name in ("generated", "real", "train", "cache"):
            if values[name]:  # as absolute paths, which the manifest writes relative to itself
                values[name] = str(Path(values[name]).resolve())
        return finish(
            folder,
            stage="evaluate",
            config=values,
            inputs={facts.name: facts.fingerprint for facts in results.sets},
            counts={**ledger.counts(), "compared": results.n},
            extra={"encoder": results.encoder},
        )


def _open(config: EvaluateConfig) -> dict[SetName, Source]:
    """The folders; looked at before any work, so that mistakes show at once."""
    sources: dict[SetName, Source] = {
        "generated": open_source("generated", config.generated, split="", wanted=""),
        "heldout": open_source("heldout", config.real, split=config.real_split, wanted="heldout"),
    }
    if config.train is not None:
        sources["train"] = open_source(
            "train", config.train, split=config.train_split, wanted="train"
        )
    paths = {name: (one.path.resolve(), one.split) for name, one in sources.items()}
    if len(set(paths.values())) < len(paths):
        raise ConfigError(
            "evaluate",
            came="the same images for two of --generated, --real and --train",
            allowed="different folders, or one folder whose rows name their split",
            do="Correct the paths, or add a column `split` (train, heldout).",
        )
    return sources


def _builder(config: EvaluateConfig, encoder: ImageEncoder | None) -> BuildExtractor:
    from crafts.evaluation.features import build_extractor
    from crafts.model.image_encoders import open_encoder

    found = encoder or open_encoder(config.encoder, device=config.device)

    def build(split: str | None) -> ExtractFeatures:
        return build_extractor(found, cache=config.cache, batch_size=config.batch_size, split=split)

    return build


def _extract(
    config: EvaluateConfig,
    sources: Mapping[SetName, Source],
    build: BuildExtractor,
    ledger: Ledger,
) -> Opened:
    found = {}
    for name, source in sources.items():
        say(f"evaluate: features of {name} tiles")
        found[name] = source.features(build)
        mine = Ledger(f"evaluate: {name}")
        for one in (ledger, mine):
            one.listed(len(found[name]) + len(found[name].rejected))
            for row in found[name].rows:
                one.use(str(row["name"]))
            for item, reason in found[name].rejected:
                one.reject(f"{name}: {item}", reason)
        mine.check(config.max_reject_fraction)
    real = [found[name] for name in ("heldout", "train") if name in found]
    heldout = describe(found["heldout"], {})
    train = describe(found["train"], {}) if "train" in found else None
    if train is not None:
        _refuse_shared(heldout, train)
    generated = describe(found["generated"], caption_fields(real))
    nearest, cosine = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    if train is not None:
        nearest, cosine = nearest_in(generated.set.features, train.set.features)
    return Opened(Sets(generated, heldout, train, nearest), sources, cosine)


def _refuse_shared(heldout: Described, train: Described) -> None:
    """Held-out groups that were trained on are no held-out groups.

    Raises:
        DataError: names the first.
    """
    shared = shared_groups(heldout, train)
    if shared:
        what = "patients" if heldout.named_groups and train.named_groups else "images"
        raise DataError(
            "evaluate: --real and --train",
            came=f"{len(shared)} {what} in both, the first is {shared[0]!r}",
            allowed="sets without a common patient or image",
            do="Split by patient; name the splits in a column `split`.",
        )


def _measure(config: EvaluateConfig, opened: Opened) -> tuple[Results, Gallery]:
    sets = opened.sets
    generations = find_generations(sets.generated.set.rows)
    plan = _plan(config, sets, generations)
    overall = compare(sets, plan)
    rows, left = compare_scopes(sets, plan)
    say("evaluate: stains and diagnosis")
    looked = {
        name: look(opened.sources[name], one, most=config.pixel_images, seed=config.seed)
        for name, one in _named(sets)
    }
    say("evaluate: alignment and the map")
    gallery, shown = build_gallery(sets, opened.cosine, most=config.map_images, seed=config.seed)
    width = sets.generated.set.features.shape[1]
    results = Results(
        lead="kernel_distance" if overall.n < 2 * width else "frechet_distance",
        n=overall.n,
        width=width,
        seed=config.seed,
        repetitions=plan.repetitions,
        repetition=plan.kind,
        matching="class" if plan.matched else "none",
        left_out={**missing_classes(sets, plan, overall.numbers), **left},
        encoder=dict(sets.generated.set.encoder),
        sets=[_facts(name, one, opened.sources[name]) for name, one in _named(sets)],
        prompts=prompt_source(
            sets.generated.set, sets.heldout.set, sets.train.set if sets.train else None
        ),
        rows=overall.rows + rows,
        alignment=alignment_rows(sets, seed=config.seed),
        separation=_separation(sets, shown, config.seed),
        generations=generations_of(plan, overall),
        stains=stain_report(sets, looked),
        diagnosis=find_causes(sets, looked, opened.sources["heldout"], seed=config.seed),
    )
    marks = find_marks(results, sets, num_generations=len(generations))
    return results.model_copy(update={"marks": marks}), gallery


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


def _plan(config: EvaluateConfig, sets: Sets, generations: list[tuple[str, Rows]]) -> Plan:
    named = "generation" in sets.generated.set.rows[0]  # folders: somebody meant them as such
    shares = share_out(generations, config.repetitions, least=LEAST if named else _LEAST_GENERATED)
    every = np.arange(len(sets.generated))
    made = [rows for _, rows in shares] or [every] * config.repetitions
    held = sets.heldout
    halves = [halve(held.groups, held.classes, config.seed + k) for k in range(config.repetitions)]
    known = float((sets.generated.classes != "").mean())
    sides = Sides(made, halves, None if sets.train is None else np.arange(len(sets.train)))
    return Plan(
        sides=sides,
        matched=known >= _KNOWN_CLASSES,
        kind="generations" if shares else "halvings",
        most=config.max_images,
        seed=config.seed,
        names=[name for name, _ in shares],
        say=lambda line: say(f"evaluate: {line}"),
    )


def _separation(
    sets: Sets, shown: Mapping[str, tuple[Rows, Any]], seed: int
) -> dict[str, dict[str, Measured]]:
    """Silhouettes of the tiles on the map whose class is known."""
    found: dict[str, dict[str, Measured]] = {}
    spaces: tuple[Literal["embedding", "tsne"], ...] = ("embedding", "tsne")
    for name, side in (("generated", sets.generated), ("heldout", sets.heldout)):
        rows = shown[name][0]
        rows = rows[side.classes[rows] != ""]
        classes = side.classes[rows]
        if not 2 <= len(np.unique(classes)) < len(rows):
            why = "fewer than two classes are known"
            found[name] = {space: Measured(why=why) for space in spaces}
            continue
        features = side.set.features[rows]
        found[name] = {
            space: Measured(
                value=separation(features, classes.tolist(), on=space, seed=seed % 2**32)
            )
            for space in spaces
        }
    return found


def _facts(name: SetName, side: Described, source: Source) -> SetFacts:
    used, rejected = len(side), len(side.set.rejected)
    return SetFacts(
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


def _named(sets: Sets) -> list[tuple[SetName, Described]]:
    return list(sets.named().items())  # type: ignore[arg-type]


def _write(folder: Path, opened: Opened, results: Results, gallery: Gallery) -> None:
    from crafts.evaluation.reporting.report import write_report

    for name, side in _named(opened.sets):
        for suffix in ("npz", "h5"):
            write_features(side.set, folder / "features" / f"{name}.{suffix}", name=name)
    write_bytes(folder / "features" / "map.json", gallery.to_json().encode())
    write_bytes(folder / "metrics.json", results.to_json().encode())

    def open_tile(name: SetName, tile: str) -> NDArray[np.uint8] | None:
        found = opened.sources[name].load(tile) if name in opened.sources else None
        return None if found is None else found.pixels

    say("evaluate: report.html")
    write_report(results, folder / "report.html", gallery=gallery, open_tile=open_tile)
