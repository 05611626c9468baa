"""From the folders of an evaluation to its sets, with every image accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import sha256_file
from crafts.core.errors import ConfigError, DataError
from crafts.core.protocols import BuildExtractor
from crafts.core.records import FeatureSet, Ledger
from crafts.core.runtime import say
from crafts.evaluation.compare import LEAST
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.measures.statistics import ReferenceStatistics, open_statistics
from crafts.sets.described import Described, Sets, caption_fields, describe, shared_files
from crafts.sets.source import SetName, Source, open_source
from crafts.sets.splits import refuse_same_images, refuse_shared_groups

if TYPE_CHECKING:
    from crafts.evaluation.config import EvaluateConfig

STATISTICS = ".npz"
"""Suffix by which ``--real`` is taken for a file of reference statistics."""


@dataclass(frozen=True)
class Opened:
    """The sets with what they came from.

    Attributes:
        sets: features and what is known of every row; the held-out set has no rows where
            statistics stand in for it.
        sources: folders by the name of their set.
        cosine: of each generated tile with its nearest training tile; empty without training.
        statistics: of held-out tiles, in place of a folder.
    """

    sets: Sets
    sources: Mapping[SetName, Source]
    cosine: NDArray[np.float32]
    statistics: ReferenceStatistics | None = None

    def named(self) -> list[tuple[SetName, Described]]:
        """The sets that came from folders."""
        return [(name, side) for name, side in self.sets.named().items() if name in self.sources]


def open_sources(config: EvaluateConfig) -> dict[SetName, Source]:
    """The folders; looked at before any work, so that mistakes show at once.

    Raises:
        ConfigError: no such folder or split, or sets that are swapped.
        DataError: a layout that is not recognised, too few generated tiles, or patients in both
            real sets.
    """
    opened = partial(open_source, columns=config.columns.as_columns())
    found: dict[SetName, Source] = {
        "generated": opened("generated", config.generated, split="", wanted="")
    }
    if not _is_statistics(config.real):
        found["heldout"] = opened("heldout", config.real, split=config.real_split, wanted="heldout")
    elif config.filter or config.save_statistics:
        raise ConfigError(
            "evaluate: --filter" if config.filter else "evaluate: save_statistics",
            came=f"statistics ({config.real}) for --real",
            allowed="a folder of held-out tiles, which set the thresholds or the statistics",
            do="Give the folder, or leave the option out.",
        )
    if config.train is not None:
        found["train"] = opened("train", config.train, split=config.train_split, wanted="train")
    flags = {"generated": "--generated", "heldout": "--real", "train": "--train"}
    refuse_same_images(
        "evaluate", {flags[name]: (one.path, one.split) for name, one in found.items()}
    )
    if "heldout" in found and "train" in found:
        heldout, train = (found[name].images() for name in ("heldout", "train"))
        refuse_shared_groups("evaluate: --real and --train", heldout, train)
    _refuse_few(found["generated"])
    return found


def open_sets(
    config: EvaluateConfig,
    sources: Mapping[SetName, Source],
    build: BuildExtractor,
    ledger: Ledger,
    *,
    encoder: Mapping[str, Any],
) -> Opened:
    """Features of every image, and what is known of it.

    Args:
        config: of the stage.
        sources: of :func:`open_sources`.
        build: split -> extractor of features.
        ledger: gets every image.
        encoder: facts of the one that extracts.

    Raises:
        ConfigError: statistics of another encoder.
        DataError: unusable images, or files in both real sets.
    """
    statistics = open_statistics(config.real, encoder) if _is_statistics(config.real) else None
    found: dict[str, FeatureSet] = {}
    for name, source in sources.items():
        say(f"evaluate: features of {name} tiles")
        found[name] = source.features(build)
        mine = Ledger(f"evaluate: {name}", ledger.listing)
        for one in (ledger, mine):
            one.listed(len(found[name]) + len(found[name].rejected))
            for row in found[name].rows:
                one.use(str(row["name"]))
            for item, reason in found[name].rejected:
                one.reject(f"{name}: {item}", reason)
        mine.check(config.max_reject_fraction)
    real = [found[name] for name in ("heldout", "train") if name in found]
    heldout = describe(found["heldout"] if statistics is None else _nothing(encoder), {})
    train = describe(found["train"], {}) if "train" in found else None
    generated = describe(found["generated"], caption_fields(real))
    index, cosine = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    if train is not None:
        _refuse_shared_files(heldout, train)
        near = nearest(unit_rows(generated.set.features), unit_rows(train.set.features))
        index, cosine = near.index, near.cosine
    return Opened(Sets(generated, heldout, train, index), sources, cosine, statistics)


def statistics_facts(path: Path, statistics: ReferenceStatistics | None) -> dict[str, Any]:
    """What ``metrics.json`` says of statistics; {} without."""
    if statistics is None:
        return {}
    sample = statistics.sample
    return {
        "file": path.name,
        "sha256": sha256_file(path),
        "num_images": statistics.num_images,
        "encoder": statistics.encoder.get("name"),
        "split": statistics.split,
        "prompts": statistics.prompts,
        "images_sha256": statistics.images_sha256,
        "kept_features": 0 if sample is None else len(sample),
    }


def _is_statistics(path: Path) -> bool:
    return path.suffix == STATISTICS and not path.is_dir()


def _nothing(encoder: Mapping[str, Any]) -> FeatureSet:
    """A set without rows."""
    features = np.empty((0, int(encoder["width"])), dtype=np.float32)
    return FeatureSet(features, rows=(), rejected=(), encoder=encoder)


def _refuse_few(generated: Source) -> None:
    """Refuse before hours of work what no row can be made of.

    Raises:
        DataError: fewer than :data:`LEAST` generated tiles are listed.
    """
    number = sum(len(generated.images(prefix)) for prefix in generated.parts)
    if number < LEAST:
        raise DataError(
            f"evaluate: {generated.path}",
            came=f"{number} generated images",
            allowed=f"at least {LEAST}; below some hundred, numbers say little",
            do="Generate more images.",
        )


def _refuse_shared_files(heldout: Described, train: Described) -> None:
    """Without names of patients, equal files are all that can be looked for.

    Raises:
        DataError: names the first.
    """
    if heldout.named_groups and train.named_groups:
        return
    shared = shared_files(heldout, train)
    if shared:
        raise DataError(
            "evaluate: --real and --train",
            came=f"{len(shared)} images in both, the first has the sha256 {shared[0]!r}",
            allowed="sets without a common patient or image",
            do="Split by patient; name the splits in a column `split`.",
        )
