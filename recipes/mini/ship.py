"""Put trained weights into the package, as float16.

    python recipes/mini/ship.py DENOISER_MODEL EVALUATION_CLIP_MODEL TILES

DENOISER_MODEL is ``OUTPUT/model`` of the denoiser's last leg (a whole pipeline folder),
EVALUATION_CLIP_MODEL that of the evaluation CLIP. TILES are the real tiles whose held-out part sets
the thresholds of the quality gate for that CLIP, as ``gate.py`` takes them. The card is
``recipes/mini/card.md``; the licence file lies beside the weights.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from gate import main as write_gate

from crafts.core.artifacts import finish, load_manifest, staging
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.encoders import load_dual_encoder, save_dual_encoder

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "src" / "crafts" / "weights"
LICENCE = "crafts-mini-research-only"
GUIDANCE = {"balanced": 2.5, "fast": 2.5}  # chosen on validation groups; LOG.md has the comparison


def main(denoiser: Path, clip: Path, tiles: Path) -> None:
    """Write ``weights/mini`` and ``weights/evaluation-clip`` with its ``gate.json``."""
    bundle = load_bundle(denoiser)
    made = load_manifest(denoiser)
    bundle = replace(bundle, licence=LICENCE, extra={"guidance": GUIDANCE})
    card = (HERE / "card.md").read_text(encoding="utf-8")
    save_bundle(
        bundle,
        WEIGHTS / "mini",
        card=card,
        half=True,
        stage="ship",
        inputs=made.inputs,
    )
    ship_encoder(clip, tiles, WEIGHTS / "evaluation-clip")
    for path in sorted(WEIGHTS.rglob("*.safetensors")):
        print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.relative_to(WEIGHTS)}")


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


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
