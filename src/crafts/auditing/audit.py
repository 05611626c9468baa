"""Stage: generated tiles against those a model was trained on: copies, membership, extraction."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.auditing.config import AuditConfig
from crafts.auditing.features import (
    Features,
    ImageSet,
    open_set,
    read_features,
)
from crafts.auditing.findings import Findings, Searched, conclude
from crafts.auditing.matching.copies import Found, Limits, calibrate, find_copies
from crafts.auditing.matching.library import Library
from crafts.auditing.membership import Target
from crafts.auditing.page.report import write_report
from crafts.auditing.results import Results, Threshold, TileVerdict
from crafts.core.artifacts import Manifest, finish, staging, write_bytes
from crafts.core.errors import DataError
from crafts.core.marks import save_synthetic
from crafts.core.protocols import BuildExtractor
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.core.tables import csv_writer
from crafts.sets.source import SetName
from crafts.sets.splits import refuse_same_images, refuse_shared_groups


def run(
    config: AuditConfig,
    inputs: Mapping[str, Path] | None,
    output: Path,
    *,
    build: BuildExtractor,
    target: Target | None = None,
) -> Manifest:
    """Look for training tiles in generated tiles, and attack the model that made them.

    Args:
        config: see :class:`AuditConfig`.
        inputs: ``generated``, ``train``, ``heldout``: replace those of the configuration.
        output: gets ``audit.json``, ``copies.csv`` (one row a generated tile), ``report.html``,
            ``rejects.jsonl`` and last ``manifest.json``.
        build: split -> extractor of features.
        target: the model to be attacked; none: no denoising losses and no extraction.

    Raises:
        ConfigError: no such folder or split, or sets that are the same.
        DataError: unusable images, or patients in both real sets; or, after everything was
            written, a share of copies above ``config.fail_above``.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    sets = _open(config)
    read = [path for path in (config.generated, config.train, config.heldout) if path]
    with staging(output, "audit", sources=read) as folder:
        searched = _search(config, sets)
        features = {name: read_features(one, build) for name, one in sets.items()}
        ledger = Ledger("audit", rejects_beside(output))
        rejected = _account(config, ledger, sets, searched=searched, features=features)
        ledger.write(folder / "rejects.jsonl")
        usable = {
            name: one.keep(set(one.numbers.tolist()) - set(rejected[name]))
            for name, one in features.items()
        }
        findings = conclude(config, sets, searched=searched, usable=usable, target=target)
        _write(folder, sets, findings)
        results = findings.results
        manifest = finish(
            folder,
            stage="audit",
            config=_settings(config),
            inputs={"model": target.fingerprint} if target else {},
            counts={**ledger.counts(), "copies": results.copies.copies.count},
            extra={"encoder": results.encoder, "passed": results.passed},
        )
    _refuse(results, output)
    return manifest


def _open(config: AuditConfig) -> dict[SetName, ImageSet]:
    """The folders; looked at before any work, so that mistakes show at once."""
    opened = partial(open_set, columns=config.columns.as_columns())
    sets: dict[SetName, ImageSet] = {
        "generated": opened("generated", config.generated, split="", wanted=""),
        "train": opened("train", config.train, split=config.train_split, wanted="train"),
    }
    if config.heldout is not None:
        sets["heldout"] = opened(
            "heldout", config.heldout, split=config.heldout_split, wanted="heldout"
        )
    flags = {"generated": "--generated", "train": "--train", "heldout": "--heldout"}
    refuse_same_images("audit", {flags[name]: (one.path, one.split) for name, one in sets.items()})
    if "heldout" in sets:
        heldout, train = sets["heldout"].images, sets["train"].images
        refuse_shared_groups("audit: --heldout and --train", heldout, train)
    for one in sets.values():
        rows = f"split {one.split}" if one.split else "all rows"
        say(f"audit: {one.name}: {len(one.images)} tiles ({rows} of {one.path})")
    return sets


def _search(config: AuditConfig, sets: Mapping[SetName, ImageSet]) -> Searched:
    train = sets["train"].images
    library = Library(len(train), train.load, num_workers=config.num_workers)
    found: dict[SetName, list[Found]] = {}
    for name in ("heldout", "generated"):
        if name in sets:
            images = sets[name].images
            found[name] = find_copies(
                f"audit: {name}", len(images), open_tile=images.load, library=library
            )
    if config.correlation is not None:
        given = Threshold(value=config.correlation, source="given")
        return Searched(library, found, Limits(given, given))
    return Searched(library, found, calibrate(found.get("heldout", ())))


def _account(
    config: AuditConfig,
    ledger: Ledger,
    sets: Mapping[SetName, ImageSet],
    *,
    searched: Searched,
    features: Mapping[SetName, Features],
) -> dict[SetName, dict[int, str]]:
    """Every image of every set is used or rejected with its reason.

    Raises:
        DataError: a set without usable images, or with too many unusable ones.
    """
    rejected: dict[SetName, dict[int, str]] = {}
    for name, one in sets.items():
        faults = dict(features[name].faults)
        seen = (
            enumerate(item.seen for item in searched.found[name])
            if name != "train"
            else searched.library.facts.items()
        )
        faults |= {number: facts.fault for number, facts in seen if facts.fault}
        mine = Ledger(f"audit: {name}", ledger.listing)
        for each in (ledger, mine):
            each.listed(len(one.images))
            for number in range(len(one.images)):
                item = f"{name}/{one.images.name(number)}"
                if number in faults:
                    each.reject(item, faults[number])
                else:
                    each.use(item)
        mine.check(config.max_reject_fraction)
        rejected[name] = faults
    return rejected


def _write(folder: Path, sets: Mapping[SetName, ImageSet], findings: Findings) -> None:
    """All files but the rejects and the manifest."""
    write_bytes(folder / "audit.json", findings.results.to_json().encode())
    write_bytes(folder / "copies.csv", _table(findings.verdicts).encode())
    for name, pixels in findings.drawn.items():
        (folder / "extracted").mkdir(exist_ok=True)
        save_synthetic(
            Image.fromarray(pixels),
            folder / "extracted" / f"{name}.png",
            "drawn from the model in an audit; a copy of a training tile",
            model=" ".join(str(value) for value in findings.results.model.values()),
        )
    places: dict[str, dict[str, int]] = {}

    def open_tile(which: str, name: str) -> NDArray[np.uint8] | None:
        if which == "extracted":
            return findings.drawn.get(name)
        one = next((one for one in sets.values() if one.name == which), None)
        if one is None:
            return None
        if which not in places:
            places[which] = {one.images.name(k): k for k in range(len(one.images))}
        tile = one.images.load(places[which][name]) if name in places[which] else ""
        return None if isinstance(tile, str) else tile.pixels

    write_report(
        findings.results,
        folder / "report.html",
        verdicts=findings.verdicts,
        heldout=findings.heldout,
        open_tile=open_tile,
    )


def _table(verdicts: Sequence[TileVerdict]) -> str:
    """``copies.csv``: a row a generated tile, numbers with six figures, empty where unknown."""
    buffer = io.StringIO(newline="")
    writer = csv_writer(buffer)
    writer.writerow(TileVerdict.model_fields)
    for verdict in verdicts:
        writer.writerow(_cell(value) for value in verdict.model_dump().values())
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(_cell(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _settings(config: AuditConfig) -> dict[str, object]:
    """The configuration with absolute paths, which the manifest writes relative to itself."""
    values = config.model_dump(mode="json")
    for name in ("generated", "train", "heldout"):
        if values[name]:
            values[name] = str(Path(values[name]).resolve())
    return values


def _refuse(results: Results, output: Path) -> None:
    """Fail a pipeline, once everything is written.

    Raises:
        DataError: the share of copies is above the limit.
    """
    if results.passed:
        return
    found = results.copies.copies
    raise DataError(
        f"audit: {output}",
        came=f"{found.count} copies of training tiles among {found.of} generated tiles"
        f" ({100 * (found.share or 0):.2f} %)",
        allowed=f"at most {100 * (results.fail_above or 0):g} % (--fail-above)",
        do="Look at the pairs in report.html; do not release these tiles.",
    )
