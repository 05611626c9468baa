"""What a model is asked for when it is scored, and the control tiles beside its answers."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from classifier import CLASSES
from numpy.typing import NDArray

from crafts.captions.prompts import TileFields, compose
from crafts.core.artifacts import write_bytes
from crafts.core.runtime import seed_from
from crafts.measures.structure import blur, colour_statistics_generator, phase_scramble

BLUR = 6.0
"""Pixels; wider than a nucleus at low power, narrower than a gland."""

Tiles = NDArray[np.uint8]
Row = Mapping[str, str]
_SAYS_POWER = re.compile(r"power|magnif|enlarge")


@dataclass(frozen=True)
class Group:
    """Tiles that are judged together.

    Attributes:
        name: of the row in the table.
        tiles: uint8 [N, H, W, 3].
        classes: what each tile shows or was asked to show.
        prompts: the text of each tile.
        apart: which tiles share no patient with the reference of the kernel distance; None = all.
    """

    name: str
    tiles: Tiles
    classes: Sequence[str]
    prompts: Sequence[str]
    apart: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Request:
    """One image to be made."""

    id: str
    prompt: str
    kind: str
    seed: int


def spread_rows(rows: Sequence[Row], per_class: int) -> list[Row]:
    """At most ``per_class`` rows of each class, taken from its patients in turn."""
    chosen: list[Row] = []
    for name in CLASSES:
        by_patient: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row["class"] == name:
                by_patient[row["patient"]].append(row)
        queues = [list(by_patient[patient]) for patient in sorted(by_patient)]
        for queue in queues:  # neighbouring tiles of a patient stand together in the table
            random.Random(len(queue)).shuffle(queue)
        turn: list[Row] = []
        while any(queues) and len(turn) < per_class:
            turn += [queue.pop() for queue in queues if queue]
        chosen += turn[:per_class]
    return chosen


def caption_of(row: Row) -> str:
    """The first caption that names the power, without which some classes cannot be asked for."""
    captions = json.loads(row["captions"]) if row.get("captions") else [row["text"]]
    return next((text for text in captions if _SAYS_POWER.search(text.lower())), row["text"])


def class_requests(
    rows: Sequence[Row], unseen: Mapping[str, Sequence[str]], num: int
) -> list[Request]:
    """``num`` images a class from captions of held-out groups, and as many in unseen wording."""
    requests = []
    for name in CLASSES:
        members = [row for row in rows if row["class"] == name]
        if not members:
            continue
        slug = name.replace(" ", "-")
        for index in range(num):
            row = members[index % len(members)]
            texts = unseen.get(row["label"], ())
            texts = [text for text in texts if _SAYS_POWER.search(text.lower())] or list(texts)
            requests.append(
                Request(
                    f"{slug}-{index:03d}",
                    caption_of(row),
                    "generated",
                    seed_from("score", name, index),
                )
            )
            if texts:
                prompt, seed = texts[index % len(texts)], seed_from("unseen", name, index)
                requests.append(Request(f"unseen-{slug}-{index:03d}", prompt, "unseen", seed))
    return requests


def lymphocyte_requests(num: int) -> list[Request]:
    """Pairs of one noise and one sentence shape, asked for with many and with few lymphocytes."""
    requests = []
    for index in range(num):
        for level in ("many", "few"):
            tile = TileFields(organ="colon", power="high", cells={"lymphocyte": level})
            tries = (
                compose(tile, random.Random(seed_from("lymphocytes", index, k)))
                for k in range(1000)
            )
            prompt = next(text for text in tries if "lymphocyt" in text.lower())
            requests.append(
                Request(f"{level}-{index:03d}", prompt, level, seed_from("lymphocytes", index))
            )
    return requests


def write_manifest(requests: Sequence[Request], path: Path) -> None:
    """A manifest for ``crafts generate``; written only when it changes, so that a run can go on."""
    lines = [["id", "prompt", "seed"], *([r.id, r.prompt, str(r.seed)] for r in requests)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with temporary.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(lines)
    data = temporary.read_bytes()
    temporary.unlink()
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def class_of_request(request: Request) -> str:
    """The class that a request of :func:`class_requests` asks for."""
    return request.id.removeprefix("unseen-").rsplit("-", 1)[0].replace("-", " ")


def shuffled(group: Group) -> Group:
    """The same tiles under the classes and prompts of others, drawn at random."""
    order = np.random.default_rng(0).permutation(len(group.tiles))
    return Group(
        "generated, shuffled prompts (control)",
        group.tiles,
        [group.classes[k] for k in order],
        [group.prompts[k] for k in order],
    )


def image_controls(real: Group, training: Tiles, training_classes: Sequence[str]) -> list[Group]:
    """Colour only, blurred and phase-scrambled tiles with the classes and prompts of real ones."""
    coloured = np.empty_like(real.tiles)
    classes, learnt = np.asarray(real.classes), np.asarray(training_classes)
    for number, name in enumerate(sorted(set(real.classes))):
        mine = np.flatnonzero(classes == name)
        source = training[learnt == name][:64]
        coloured[mine] = colour_statistics_generator(source, len(mine), seed=number)
    soft = np.concatenate(
        [blur(real.tiles[k : k + 16], BLUR) for k in range(0, len(real.tiles), 16)]
    )
    controls = (
        ("colour statistics only (control)", coloured),
        (f"real, blurred {BLUR:g} px (control)", soft),
        ("real, phase-scrambled (control)", phase_scramble(real.tiles)),
    )
    return [Group(name, tiles, real.classes, real.prompts, real.apart) for name, tiles in controls]


def reference_patients(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Which rows [N] belong to the half of the patients that is the reference, class by class."""
    chosen: set[str] = set()
    for name in CLASSES:
        patients = sorted({row["patient"] for row in rows if row["class"] == name})
        chosen |= set(patients[::2])
    return np.array([row["patient"] in chosen for row in rows])
