"""Scorecard of fields: can a network that knows photographs only tell the generated classes apart?

The judge of ``scorecards model`` is ours. This one is a linear probe on the features of an encoder
that others trained on other pictures, fitted to grey training tiles of eight classes: benign and
malignant of four organs. Beside it stands the finder of glands, which is no network at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.experiments.judging.judges import GreyClassifier, to_grey
from crafts.measures.glands import GLAND, measure_glands
from crafts.measures.structure import chance_corrected
from crafts.model.bundle import load_bundle
from crafts.model.vision.image_encoders import ImageEncoder, open_encoder
from crafts.workflows.scorecards.classes import Row, read_rows, read_tiles, spread_rows
from crafts.workflows.scorecards.codec import reconstruct
from crafts.workflows.scorecards.model import (
    GENERATED,
    REAL,
    Group,
    Tiles,
    class_rows,
    controls_of,
    shuffled,
)
from crafts.workflows.scorecards.requests import make_images

CODEC = "real, through the codec"
CLASSES = (
    "colon normal", "colon adenocarcinoma", "lung normal", "lung adenocarcinoma",
    "prostate benign", "prostate cancer", "breast benign", "breast carcinoma",
)  # fmt: skip
GLANDULAR = (CLASSES[0], CLASSES[1], CLASSES[4], CLASSES[5])
_FITTED = 150  # training tiles of a class, at most
_BATCH = 32


def score_fields(
    model: str,
    tiles: Path,
    output: Path,
    per_class: int = 20,
    preset: str = "balanced",
    encoder: str = "efficientnet-lite1",
) -> str:
    """Generate from captions of held-out groups and judge grey structure and glands.

    Args:
        model: as ``crafts generate`` takes it.
        tiles: ``metadata.csv`` and images, as ``recipes/mini`` collects them.
        output: gets ``generated/``, ``fields.json`` and ``fields.md``.
        per_class: images of each class, made and real.
        preset: of the sampler.
        encoder: of images; one that took no part in the model's training.

    Returns:
        The table for people.
    """
    bundle, network = load_bundle(model), open_encoder(encoder, device="cpu")
    train, held = (
        spread_rows(read_rows(tiles, split, by_label), most, CLASSES)
        for split, most in (("train", _FITTED), ("heldout", per_class))
    )
    asked = list(class_rows(held, per_class, classes=CLASSES))
    options = {"preset": preset, "batch_size": 4}
    made, _ = make_images(asked, output / "generated", model, options)
    drawn = Group(
        GENERATED, np.stack([made[row["id"]] for row in asked]), [row["shows"] for row in asked]
    )
    real = Group(REAL, read_tiles(tiles, held), [row["class"] for row in held])
    learnt = Group("real, training", read_tiles(tiles, train), [row["class"] for row in train])
    groups = [drawn, shuffled(drawn), real]
    groups += [replace(real, name=CODEC, tiles=reconstruct(bundle.codec, real.tiles))]
    groups += controls_of(real, learnt.tiles, learnt.classes)
    judge = GreyClassifier(_grey_features(network, learnt.tiles), learnt.classes)
    found = {
        "model": bundle.fingerprint,
        "encoder": network.fingerprint,
        "preset": preset,
        "groups": {one.name: _judge(one, judge, network) for one in groups},
    }
    write_bytes(output / "fields.json", json.dumps(found, indent=1).encode())
    text = _compose(found)
    write_bytes(output / "fields.md", text.encode())
    return text


def by_label(row: Row) -> str | None:
    """The class of a row of ``metadata.csv``: its label, where it is one of :data:`CLASSES`."""
    return row["label"] if row["label"] in CLASSES else None


def _grey_features(network: ImageEncoder, tiles: Tiles) -> Any:
    """Features [N, D] of grey tiles of one mean and contrast."""
    grey = [
        one for k in range(0, len(tiles), _BATCH) for one in to_grey(list(tiles[k : k + _BATCH]))
    ]
    parts = [network.images(grey[k : k + _BATCH]) for k in range(0, len(grey), _BATCH)]
    return np.concatenate([part.double().numpy() for part in parts])


def _judge(group: Group, judge: GreyClassifier, network: ImageEncoder) -> dict[str, Any]:
    """Accuracy corrected for chance, and the share of tiles with glands in each glandular class."""
    accuracy = judge.accuracy(_grey_features(network, group.tiles), group.classes) / 100
    glands = measure_glands(group.tiles).scores >= GLAND
    names = np.asarray(group.classes)
    return {
        "tiles": len(group.tiles),
        "accuracy": accuracy,
        "corrected": chance_corrected(accuracy, len(set(group.classes))),
        "glands": {
            name: float(glands[names == name].mean()) for name in GLANDULAR if (names == name).any()
        },
    }


def _compose(found: dict[str, Any]) -> str:
    """The table for people."""
    groups = found["groups"]
    rows: Sequence[Sequence[object]] = [
        [name, one["tiles"], f"{one['corrected']:.2f}"]
        + [f"{one['glands'][name]:.2f}" if name in one["glands"] else "–" for name in GLANDULAR]
        for name, one in groups.items()
    ]
    lines = [
        *table(["", "tiles", "structure", *(f"glands, {name}" for name in GLANDULAR)], rows),
        "",
        "Structure: chance-corrected balanced accuracy among eight classes, on grey tiles.",
        f"Generated over real held-out: {_share(groups, REAL)}; over real through the codec: "
        f"{_share(groups, CODEC)}.",
        "Glands: share of tiles in which the finder sees one.",
    ]
    return "\n".join(lines) + "\n"


def _share(groups: dict[str, Any], ceiling: str) -> str:
    made, best = groups[GENERATED]["corrected"], groups[ceiling]["corrected"]
    return f"{made / best:.2f}" if best > 0 else "no ceiling"
