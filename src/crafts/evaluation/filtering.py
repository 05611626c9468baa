"""``evaluate --filter``: generated tiles through the quality gate, and those that pass copied."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.artifacts import write_bytes
from crafts.core.marks import save_synthetic
from crafts.core.runtime import say
from crafts.core.tables import csv_row_writer
from crafts.evaluation.config import GateTails
from crafts.evaluation.gate import (
    GATE,
    Candidates,
    GateReference,
    calibrate,
    count_reasons,
    judge,
)
from crafts.evaluation.results import GateYield
from crafts.measures.appearance import measure_artefacts
from crafts.measures.neighbors import nearest
from crafts.measures.rows import unit_rows
from crafts.sets.described import Described, Sets
from crafts.sets.source import SetName, Source, sample_tiles

KEPT = "kept"
UNREADABLE = "unreadable"
UNKNOWN = "unknown words"
SIZE = 256
"""Side in pixels at which artefacts are measured."""

_BLOCK = 256


def filter_tiles(
    sets: Sets,
    sources: Mapping[SetName, Source],
    cosine: NDArray[np.float32],
    folder: Path,
    *,
    reference: GateReference,
) -> GateYield:
    """Judge every generated tile and copy those that pass.

    Args:
        sets: the sets.
        sources: their folders.
        cosine: of each generated tile with its nearest training tile; empty without training.
        folder: gets ``kept/`` (images, ``metadata.csv``), ``gate.json`` and ``refused.csv``.
        reference: thresholds.
    """
    write_bytes(folder / GATE, (reference.model_dump_json(indent=1) + "\n").encode())
    generated = sets.generated
    reasons: list[str] = []
    for start in range(0, len(generated), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(generated)))
        reasons += _judge_block(reference, generated, sources["generated"], rows, cosine)
        say(f"evaluate: gate: {len(reasons)} of {len(generated)} tiles")
    kept = [row for row, reason in enumerate(reasons) if not reason]
    _copy(generated, sources["generated"], kept, folder / KEPT)
    _write_refused(generated, reasons, folder / "refused.csv")
    return _yield(generated, reasons, reference)


def calibrate_on(
    side: Described,
    source: Source,
    *,
    bank: NDArray[np.float32] | None = None,
    most: int,
    seed: int = 0,
    tails: GateTails | None = None,
) -> GateReference:
    """Thresholds of the gate from a folder of real tiles.

    Args:
        side: held-out tiles.
        source: their folder.
        bank: features of training tiles [M, D], for the threshold of copies.
        most: tiles opened at most.
        seed: of their choice.
        tails: share of real tiles that each threshold refuses.

    Raises:
        DataError: fewer than 20 tiles.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(side))[:most])
    measured, opened = [], []
    for row in rows.tolist():
        tile = source.load(str(side.set.rows[row]["name"]))
        if tile is not None:
            opened.append(row)
            measured.append(measure_artefacts(tile.pixels, SIZE))
    images, texts = unit_rows(side.set.features[opened]), side.set.texts
    real = Candidates(
        images=images,
        texts=None if texts is None else unit_rows(texts[opened]),
        classes=side.classes[opened],
        artefacts=measured,
        copies=None if bank is None else nearest(images, unit_rows(bank)).cosine,
    )
    fingerprint = str(side.set.encoder.get("fingerprint", ""))
    return calibrate(real, side.groups[opened], encoder=fingerprint, size=SIZE, tails=tails)


def _judge_block(
    reference: GateReference,
    side: Described,
    source: Source,
    rows: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> list[str]:
    tiles = sample_tiles(source, [str(side.set.rows[row]["name"]) for row in rows])
    opened = rows[[index for index, _ in tiles]]
    texts = side.set.texts
    candidates = Candidates(
        unit_rows(side.set.features[opened]),
        None if texts is None else unit_rows(texts[opened]),
        side.classes[opened],
        [measure_artefacts(pixels, reference.size) for _, pixels in tiles],
        cosine[opened] if len(cosine) else None,
    )
    found = dict(zip(opened.tolist(), judge(reference, candidates), strict=True))
    # what the encoder says of a word that the model never saw is chance
    found |= {row: UNKNOWN for row in found if side.set.rows[row].get("unknown_words")}
    return [found.get(row, UNREADABLE) for row in rows.tolist()]


def _copy(side: Described, source: Source, kept: Sequence[int], folder: Path) -> None:
    """Files as they are, so that what they say of themselves stays; from shards as PNG."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for row in kept:
        facts = dict(side.set.rows[row])
        name = str(facts.pop("name"))
        plain = name.removeprefix("images/").replace("/images/", "-").replace("/", "-")
        file = source.file(name)
        target = folder / "images" / (plain if file else f"{plain}.png")
        if file:
            shutil.copyfile(file, target)
        else:
            tile = source.load(name)
            if tile is not None:
                shows = str(facts.get("text", ""))
                save_synthetic(Image.fromarray(tile.pixels), target, shows)
        label = str(side.classes[row])
        rows.append({"file_name": f"images/{target.name}", "label": label, **facts})
    _write_table(rows, ["file_name", "text", "label"], folder / "metadata.csv")


def _write_refused(side: Described, reasons: Sequence[str], path: Path) -> None:
    rows = [
        {"name": side.set.rows[row]["name"], "reason": reason, "label": str(side.classes[row])}
        for row, reason in enumerate(reasons)
        if reason
    ]
    _write_table(rows, ["name", "reason", "label"], path)


def _write_table(rows: Sequence[Mapping[str, Any]], first: Sequence[str], path: Path) -> None:
    names = [*first, *sorted({name for row in rows for name in row} - set(first))]
    text = io.StringIO(newline="")
    writer = csv_row_writer(text, names)
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    write_bytes(path, text.getvalue().encode("utf-8"))


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def _yield(side: Described, reasons: Sequence[str], reference: GateReference) -> GateYield:
    """Kept and refused; images that no encoder could read count as refused too."""
    unread = len(side.set.rejected)
    counts = count_reasons(reasons)
    if unread:
        counts[UNREADABLE] = counts.get(UNREADABLE, 0) + unread
    passed = np.array([not reason for reason in reasons], dtype=bool)
    classes = {
        name: {
            "listed": int((side.classes == name).sum()),
            "kept": int(passed[side.classes == name].sum()),
        }
        for name in np.unique(side.classes).tolist()
    }
    return GateYield(
        listed=len(reasons) + unread,
        kept=int(passed.sum()),
        refused=int((~passed).sum()) + unread,
        classes=classes,
        reasons=counts,
        real_pass=reference.real_pass,
    )
