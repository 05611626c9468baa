"""Guard the shipped weights: 64 fresh tiles against committed features and thresholds.

    python bench/model_check.py [MODEL]                   exit 3 when the tiles are worse
    python bench/model_check.py MODEL --make TILES        write the reference anew

The reference (``src/crafts/weights/check/``) holds features of real held-out tiles, 64 prompts,
and the thresholds: what the weights measured with other seeds when it was made, and a margin.
A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crafts.core.cpu import settle

if __name__ == "__main__":
    settle()  # before torch is loaded: spinning threads cost minutes on a busy machine

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from crafts.core.artifacts import finish, staging, verify, write_bytes
from crafts.core.errors import CraftsError, IntegrityError
from crafts.evaluation import kernel_distance
from crafts.generation.generate import generate_images
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.files.places import SHIPPED
from crafts.model.vision.structure_judge import WEIGHTS
from crafts.workflows.scorecards.classes import caption_of, read_rows, read_tiles, spread_rows
from crafts.workflows.scorecards.judges import Judges

CHECK = SHIPPED / "check"
NUM, REFERENCE_PER_CLASS = 64, 24
DISTANCE_MARGIN, STRUCTURE_MARGIN = 1.5, 0.2


def fresh_tiles(bundle: Bundle, prompts: Sequence[str], seed: int) -> NDArray[np.uint8]:
    """One tile a prompt, each with noise of its own, uint8 [N, H, W, 3]."""
    tiles = []
    for index, prompt in enumerate(prompts):
        tiles += generate_images(bundle, [prompt], seed=seed + index)
        print(f"\r{index + 1}/{len(prompts)} tiles", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return np.stack([np.asarray(tile) for tile in tiles])


def measure(
    judges: Judges, tiles: NDArray[np.uint8], classes: Sequence[str], reference: NDArray[np.float32]
) -> dict[str, float]:
    """Kernel distance (× 1000) to the reference; mean chance-corrected structure over tasks."""
    distance, _ = kernel_distance(reference, judges.image_features(tiles), num_subsets=50)
    tasks = judges.structure(tiles, classes)
    return {
        "kernel_distance": 1000 * distance,
        "structure": float(np.mean([task["corrected"] for task in tasks.values()])),
    }


def check(judges: Judges, bundle: Bundle, folder: Path) -> dict[str, float]:
    """Measure fresh tiles and hold them against the thresholds.

    Raises:
        IntegrityError: a file of the reference is damaged, the reference was made with another
            encoder, or the tiles miss a threshold.
    """
    verify(folder)
    facts = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    if facts["encoder"] != judges.encoder.fingerprint:
        raise IntegrityError(
            str(folder),
            came="features of another evaluation encoder",
            allowed="those of the shipped one",
            do="Make the reference again with --make.",
        )
    reference = load_file(folder / "features.safetensors")["features"].astype(np.float32)
    tiles = fresh_tiles(bundle, facts["prompts"], facts["seed"])
    found = measure(judges, tiles, facts["classes"], reference)
    refuse(found, facts["thresholds"], str(folder))
    return found


def refuse(found: dict[str, float], thresholds: dict[str, float], where: str) -> None:
    """Hold measured numbers against thresholds.

    Raises:
        IntegrityError: names the first number that misses its threshold.
    """
    for name, high in (("kernel_distance", True), ("structure", False)):
        if not np.isfinite(found[name]) or (found[name] > thresholds[name]) == high:
            raise IntegrityError(
                f"{where}: {name}",
                came=f"{found[name]:.3f}",
                allowed=f"at {'most' if high else 'least'} {thresholds[name]:.3f}",
                do="These weights make worse tiles than those that were committed: find out why.",
            )


def make(judges: Judges, bundle: Bundle, source: Path, folder: Path) -> dict[str, float]:
    """Write prompts, features and thresholds; the tiles measured here come from another seed."""
    held = spread_rows(read_rows(source, "heldout"), REFERENCE_PER_CLASS)
    reference = judges.image_features(read_tiles(source, held))
    asked = spread_rows(
        read_rows(source, "heldout"), -(-NUM // len({row["class"] for row in held}))
    )
    asked = [asked[k] for k in np.unique(np.linspace(0, len(asked) - 1, NUM).astype(int))]
    prompts, classes = [caption_of(row) for row in asked], [row["class"] for row in asked]
    found = measure(judges, fresh_tiles(bundle, prompts, NUM), classes, reference)
    thresholds = {
        "kernel_distance": max(found["kernel_distance"], 1.0) * DISTANCE_MARGIN,
        "structure": found["structure"] - STRUCTURE_MARGIN,
    }
    facts: dict[str, Any] = {
        "encoder": judges.encoder.fingerprint,
        "seed": 0,
        "measured": found,
        "thresholds": thresholds,
        "prompts": prompts,
        "classes": classes,
    }
    with staging(folder) as temporary:
        save_file({"features": reference.astype(np.float16)}, temporary / "features.safetensors")
        write_bytes(
            temporary / "check.json", json.dumps(facts, indent=1, ensure_ascii=False).encode()
        )
        finish(temporary, stage="model-check", config={}, inputs={"model": bundle.fingerprint})
    return found


def main() -> int:
    """Check, or make the reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--make", type=Path, metavar="TILES")
    parser.add_argument("--reference", type=Path, default=CHECK)
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--classifier", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    try:
        bundle = load_bundle(options.model)
        judges = Judges.load(options.encoder, options.classifier)
        if options.make:
            found = make(judges, bundle, options.make, options.reference)
        else:
            found = check(judges, bundle, options.reference)
    except CraftsError as error:
        print(f"model-check: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"model-check: kernel distance × 1000 {found['kernel_distance']:.1f}, "
        f"structure {found['structure']:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
