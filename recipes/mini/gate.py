"""Thresholds of the quality gate behind ``crafts generate --keep``, from held-out real tiles.

    python recipes/mini/gate.py TILES

TILES holds ``metadata.csv`` with captions, labels, patients and splits, and the images. Writes
``gate.json`` beside the evaluation CLIP in the package and lists it in that folder's manifest.
Thresholds belong to one encoder: ``ship.py`` runs this whenever it ships another. About two minutes
on two cores for 1,300 tiles.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crafts.core.artifacts import finish, load_manifest, write_bytes
from crafts.evaluation.gating.filtering import calibrate_on
from crafts.evaluation.gating.gate import GATE
from crafts.model.vision.image_encoders import SHIPPED, open_encoder
from crafts.sets.described import describe
from crafts.sets.features import build_extractor
from crafts.sets.source import open_source
from crafts.sets.splits import AUTO

MOST = 100_000


def main(tiles: Path, folder: Path = SHIPPED) -> None:
    """Compute the thresholds and write them beside an encoder.

    Args:
        tiles: real tiles; the held-out ones count.
        folder: of the encoder, a finished artifact.
    """
    encoder = open_encoder(folder)
    source = open_source("heldout", tiles, split=AUTO, wanted="heldout")
    found = source.features(lambda split: build_extractor(encoder, split=split))
    reference = calibrate_on(describe(found, {}), source, most=MOST)
    write_bytes(folder / GATE, (reference.model_dump_json(indent=1) + "\n").encode())
    made = load_manifest(folder)
    finish(folder, stage=made.stage, config=made.config, inputs=made.inputs, extra=made.extra)
    print(
        f"{reference.tiles} tiles of {reference.groups} patients; real tiles of other patients "
        f"that pass: {100 * (reference.real_pass or 0):.1f} %"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
