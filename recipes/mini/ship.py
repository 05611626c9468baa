"""Put trained weights into the package, as float16.

    python recipes/mini/ship.py DENOISER [--codec CODEC] [--tiles TILES]
                                [--evaluation-clip CLIP TILES]

DENOISER is ``OUTPUT/model`` of the denoiser's last leg (a whole pipeline folder). CODEC is a codec
with the same encoder and a better decoder. ``--tiles`` is for a DENOISER that does not say itself
what it was trained on: the training rows of ``metadata.csv`` in TILES. CLIP is that of the
evaluation CLIP, its TILES the real tiles whose held-out part sets the thresholds of the quality
gate for it, as ``gate.py`` takes them.
The card is ``recipes/mini/card.md``; the licence file lies beside the weights.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

from gate import main as write_gate

from crafts.captions.trained_on import TrainedOn, collect, write_trained_on
from crafts.core.artifacts import finish, load_manifest, sha256_file, staging
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.codec import load_codec, weights_file
from crafts.model.encoders import load_dual_encoder, save_dual_encoder

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "src" / "crafts" / "weights"
LICENCE = "crafts-mini-research-only"
GUIDANCE = {"balanced": 3.5, "fast": 3.5}  # balanced: chosen by tune_guidance.py, see LOG.md


def tell_training(tiles: Path) -> TrainedOn:
    """Classes, sets and words of the training rows of ``metadata.csv``."""
    with (tiles / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "train"]
    return collect(
        [{**row, "key": row["file_name"], "captions": json.loads(row["captions"])} for row in rows]
    )


def ship_model(denoiser: Path, codec: Path | None, output: Path, tiles: Path | None = None) -> None:
    """Write the pipeline folder.

    Args:
        denoiser: pipeline folder as trained.
        codec: takes the place of its codec; None keeps it.
        output: replaced as a whole.
        tiles: tells what it was trained on, where its folder does not.

    Raises:
        SystemExit: the codec's encoder is not that of the latents the denoiser learnt.
    """
    bundle, inputs = load_bundle(denoiser), dict(load_manifest(denoiser).inputs)
    if codec is not None:
        other = load_codec(codec)
        if other.fingerprint != bundle.codec.fingerprint:
            raise SystemExit(f"{codec}: another encoder than that of {denoiser}; nothing written")
        bundle = replace(bundle, codec=other)
        inputs["codec"] = sha256_file(weights_file(codec))
    bundle = replace(bundle, licence=LICENCE, extra={"guidance": GUIDANCE})
    if tiles is not None:
        bundle.trained_on = tell_training(tiles)
    card = (HERE / "card.md").read_text(encoding="utf-8")
    save_bundle(bundle, output, card=card, half=True, stage="ship", inputs=inputs)


def ship_encoder(clip: Path, tiles: Path, output: Path) -> None:
    """The evaluation CLIP in half precision, with the thresholds that belong to it.

    Args:
        clip: as trained.
        tiles: real tiles; the held-out ones set the thresholds.
        output: replaced as a whole, once the thresholds are there.
    """
    encoder = load_dual_encoder(clip)
    with staging(output) as folder:
        save_dual_encoder(encoder, folder, half=True)
        manifest = load_manifest(clip)
        finish(
            folder,
            stage="ship",
            config={},
            inputs=manifest.inputs,
            extra={"licence": LICENCE},
        )
        write_gate(tiles, folder)
        write_trained_on(tell_training(tiles), folder)


def main() -> None:
    """Write what the command line names, and list all weights of the package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("denoiser", type=Path)
    parser.add_argument("--codec", type=Path)
    parser.add_argument("--tiles", type=Path)
    parser.add_argument("--evaluation-clip", type=Path, nargs=2, metavar=("CLIP", "TILES"))
    options = parser.parse_args()
    ship_model(options.denoiser, options.codec, WEIGHTS / "mini", options.tiles)
    if options.evaluation_clip:
        ship_encoder(*options.evaluation_clip, WEIGHTS / "evaluation-clip")
    for path in sorted(WEIGHTS.rglob("*.safetensors")):
        print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.relative_to(WEIGHTS)}")


if __name__ == "__main__":
    main()
