"""Score a segmenter on pairs that it has not seen, and put it into the package as float16.

    python recipes/mini/ship_segmenter.py MODEL PAIRS [--split validation] [--overlay FILE]

MODEL is ``OUTPUT/model`` of ``segmenter.yaml``; PAIRS is what ``collect_masks.py`` wrote. Prints
the scores of each set. On the held-out split it writes ``weights/segmenter`` with ``heldout.json``,
but not when the mean Dice of the sets is below 0.7. The card is ``recipes/mini/segmenter.md``.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from crafts.controls.nuclei import find_edges, separate
from crafts.core.artifacts import finish, load_manifest, staging
from crafts.measures.faithfulness import Pair, iter_pairs, list_pairs
from crafts.measures.nuclei import compare_masks
from crafts.model.segmenter import Segmenter, load_segmenter, save_segmenter

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "src" / "crafts" / "weights" / "segmenter"
LICENCE = "crafts-mini-research-only"
LEAST_DICE = 0.7
GREEN = np.array([0, 255, 0], np.uint8)


def main(model: Path, pairs: Path, split: str, overlay: Path | None) -> None:
    """Score, show, and write the weights."""
    segmenter = load_segmenter(model)
    scores, shown = score(segmenter, pairs, split)
    mean = float(np.mean([found["dice"] for found in scores.values()]))
    print(f"mean Dice of {len(scores)} sets: {mean:.3f}")
    if overlay:
        Image.fromarray(np.concatenate(shown, axis=1)).save(overlay)
    if split != "heldout":
        return
    if mean < LEAST_DICE:
        raise SystemExit(f"mean Dice {mean:.3f} is below {LEAST_DICE}; nothing written")
    with staging(WEIGHTS) as folder:
        save_segmenter(segmenter.network, folder, half=True)
        text = json.dumps({"mean_dice": mean, "sets": scores}, indent=1)
        (folder / "heldout.json").write_text(text + "\n")
        (folder / "README.md").write_text((HERE / "segmenter.md").read_text(encoding="utf-8"))
        inputs = load_manifest(model).inputs
        finish(folder, stage="ship", config={}, inputs=inputs, extra={"licence": LICENCE})
    print(f"{(WEIGHTS / 'model.safetensors').stat().st_size / 1e6:.2f} MB in {WEIGHTS}")


def score(
    segmenter: Segmenter, pairs: Path, split: str
) -> tuple[dict[str, dict[str, object]], list[np.ndarray]]:
    """Scores of each set, and two tiles of each: image, true nuclei, nuclei found."""
    by_set = defaultdict(list)
    for item in list_pairs(pairs, split):
        by_set[item.fields["set"]].append(item)
    scores, shown = {}, []
    for name, items in sorted(by_set.items()):
        opened = [pair for pair in iter_pairs(items) if isinstance(pair, Pair)]
        found = [segmenter(pair.image) for pair in opened]
        masks = [pair.mask for pair in opened]
        result = compare_masks(masks, found, classes=segmenter.network.config.classes)
        patients = len({item.fields["patient"] for item in items})
        scores[name] = {"patients": patients, **result.model_dump()}
        print(name, json.dumps(scores[name]), flush=True)
        for place in sorted({len(opened) // 5, len(opened) // 2}):
            image, columns = opened[place].image, [opened[place].image]
            for mask in (separate(opened[place].mask), found[place]):
                assert mask.instances is not None
                edges = find_edges(mask.instances)
                columns.append(np.where(edges[..., None], GREEN, image))
            shown.append(np.concatenate(columns, axis=0))
    return scores, shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="heldout", choices=("validation", "heldout"))
    parser.add_argument("--overlay", type=Path, help="picture of two tiles of each set")
    given = parser.parse_args()
    main(given.model, given.pairs, given.split, given.overlay)
