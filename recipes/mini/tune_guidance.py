"""Choose the guidance scale of a model on validation patients.

    python recipes/mini/tune_guidance.py MODEL TILES OUTPUT [--scales 1,1.5,2,2.5,3,4]
                                         [--per-class 8] [--preset balanced]

Prompts are captions of validation patients, the noise of a tile is the same at every scale. For
each scale: kernel distance to the real validation tiles, prompt alignment, and structure, by the
judges of ``score.py``. OUTPUT gets the tiles, ``guidance.json`` and ``guidance.png`` (a row a
scale). The held-out patients are not touched. About 1 s an image on one core: with 11 classes and
6 scales 10 minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from classifier import classify, judge, read_rows, read_tiles
from comparisons import class_of_request, class_requests, spread_rows, write_manifest
from montage import montage
from score import Judges

from crafts.core.artifacts import write_bytes
from crafts.core.errors import CraftsError
from crafts.core.marks import save_synthetic
from crafts.evaluation import kernel_distance, prompt_alignment
from crafts.evaluation.features import read_image
from crafts.generation.generate import run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle


def compare(
    bundle: Bundle,
    judges: Judges,
    tiles: Path,
    output: Path,
    *,
    scales: Sequence[float],
    per_class: int,
    preset: str,
) -> list[dict[str, Any]]:
    """One row a scale; the tiles go to ``OUTPUT/<scale>/`` and are not made twice."""
    validation = read_rows(tiles, "validation")
    asked = spread_rows(validation, per_class)
    requests = class_requests(asked, {}, per_class)
    write_manifest(requests, output / "requests.csv")
    reference = judges.image_features(read_tiles(tiles, spread_rows(validation, 4 * per_class)))
    classes, prompts = [class_of_request(r) for r in requests], [r.prompt for r in requests]
    texts, table, rows = judges.text_features(prompts), [], []
    for scale in scales:
        config = GenerateConfig.model_validate(
            {"manifest": output / "requests.csv", "preset": preset, "guidance_scale": scale}
            | {"same_noise": True}
        )
        folder = output / f"{scale:g}"
        run(config, None, folder, bundle=bundle)
        made = np.stack([read_image(folder / "images" / f"{r.id}-0.png") for r in requests])
        features = judges.image_features(made)
        distance, spread = kernel_distance(reference, features)
        structure = judge(classify(judges.classifier, made), classes)
        table.append(
            {
                "guidance_scale": scale,
                "kernel_distance": [1000 * distance, 1000 * spread],
                "prompt_alignment": prompt_alignment(features, texts),
                "structure": {task: found["corrected"] for task, found in structure.items()},
            }
        )
        rows.append((f"guidance {scale:g}", made[:: max(1, per_class)][:11]))
    save_synthetic(montage(rows), output / "guidance.png", "generated tiles by guidance scale")
    return table


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    tasks = list(table[0]["structure"])
    titles = ["guidance", "kernel distance × 1000", "prompt alignment %", *tasks]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in table:
        distance, spread = row["kernel_distance"]
        cells = [f"{row['guidance_scale']:g}", f"{distance:.0f} ± {spread:.0f}"]
        cells += [f"{row['prompt_alignment']:.1f}"]
        cells += [f"{row['structure'].get(task, float('nan')):.2f}" for task in tasks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scales", default="1,1.5,2,2.5,3,4")
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--preset", default="balanced")
    Judges.add_options(parser)
    options = parser.parse_args()
    try:
        bundle = load_bundle(options.model)
        judges = Judges.load(options)
        table = compare(
            bundle,
            judges,
            options.tiles,
            options.output,
            scales=[float(scale) for scale in options.scales.split(",")],
            per_class=options.per_class,
            preset=options.preset,
        )
    except CraftsError as error:
        sys.exit(str(error))
    facts = {"model": bundle.fingerprint, "preset": options.preset, "table": table}
    write_bytes(options.output / "guidance.json", json.dumps(facts, indent=1).encode())
    print(markdown(table))


if __name__ == "__main__":
    main()
