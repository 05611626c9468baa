"""What is released from pairs of tile and mask: the segmenter, and the layouts of nuclei."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crafts.controls.layouts import fit_layouts, save_statistics
from crafts.controls.nuclei import UNKNOWN, NucleiMask, find_edges, separate
from crafts.core.artifacts import finish, load_manifest, staging
from crafts.core.errors import ConfigError
from crafts.core.markdown import table
from crafts.measures.nuclei import compare_masks
from crafts.model.files.places import SHIPPED
from crafts.model.segmenter import Segmenter, load_segmenter, save_segmenter
from crafts.sets.masked import MaskedTile, iter_pairs, list_pairs
from crafts.workflows.releasing.licence import LICENCE, header

LEAST_DICE = 0.7
LEAST_TILES = 10  # of a tissue
POWERS = ("", "low", "medium", "high")
GREEN = np.array([0, 255, 0], np.uint8)
_LAYOUTS = """# Layouts of nuclei

Numbers, sizes, shapes, classes and places of nuclei, for `--control nuclei=sample:TISSUE` and
`crafts.controls.synthesis.invent.sample_layout`. Fitted by `python -m crafts.workflows.releasing
layouts` to masks of training patients of Lizard and MoNuSeg (NC). Lengths are pixels of tiles of
256 px. Classes are known in the colon only. Research use only.

"""


def release_segmenter(
    model: Path,
    pairs: Path,
    card: Path,
    split: str = "heldout",
    overlay: Path | None = None,
    output: Path = SHIPPED / "segmenter",
) -> str:
    """Score a segmenter on pairs that it has not seen; on the held-out split also write it.

    Args:
        model: folder of the trained segmenter.
        pairs: tiles with masks and splits.
        card: its text.
        split: that is scored.
        overlay: a picture of two tiles of each set: image, true nuclei, nuclei found.
        output: replaced as a whole; gets ``heldout.json``, too.

    Raises:
        ConfigError: the mean Dice of the sets is below 0.7; nothing is written.
    """
    segmenter = load_segmenter(model)
    scores, shown = _score(segmenter, pairs, split)
    mean = float(np.mean([found["dice"] for found in scores.values()]))
    if overlay:
        Image.fromarray(np.concatenate(shown, axis=1)).save(overlay)
    scored = json.dumps({"mean_dice": mean, "sets": scores}, indent=1)
    if split != "heldout":
        return scored
    if mean < LEAST_DICE:
        raise ConfigError(
            str(model),
            came=f"a mean Dice of {mean:.3f}",
            allowed=f"at least {LEAST_DICE}",
            do="Train it further; nothing is written.",
        )
    with staging(output) as folder:
        save_segmenter(segmenter.network, folder, half=True)
        (folder / "heldout.json").write_text(scored + "\n")
        (folder / "README.md").write_text(card.read_text(encoding="utf-8"))
        inputs = load_manifest(model).inputs
        finish(folder, stage="ship", config={}, inputs=inputs, extra={"licence": LICENCE})
    return scored


def _score(
    segmenter: Segmenter, pairs: Path, split: str
) -> tuple[dict[str, dict[str, Any]], list[np.ndarray]]:
    by_set = defaultdict(list)
    for item in list_pairs(pairs, split):
        by_set[item.fields["set"]].append(item)
    scores, shown = {}, []
    for name, items in sorted(by_set.items()):
        opened = [pair for pair in iter_pairs(items) if isinstance(pair, MaskedTile)]
        found = [segmenter(pair.image) for pair in opened]
        masks = [pair.mask for pair in opened]
        result = compare_masks(masks, found, classes=segmenter.network.config.classes)
        patients = len({item.fields["patient"] for item in items})
        scores[name] = {"patients": patients, **result.model_dump()}
        for place in sorted({len(opened) // 5, len(opened) // 2}):
            image = opened[place].image
            sides = [separate(opened[place].mask).instances, found[place].instances]
            edges = [find_edges(side) for side in sides if side is not None]
            drawn = [np.where(edge[..., None], GREEN, image) for edge in edges]
            shown.append(np.concatenate([image, *drawn], axis=0))
    return scores, shown


def release_layouts(pairs: Path, output: Path = SHIPPED / "layouts") -> str:
    """Fit the statistics of nuclei that ``generate --control nuclei=sample:TISSUE`` follows.

    Only training patients are measured, and only masks that know nuclei or their classes: in a bare
    foreground, clusters would pass for giant nuclei. A tissue is an organ at one magnification
    (that of most of its tiles goes without saying) with at least ten tiles. No mask can be had back
    from what is written.

    Args:
        pairs: tiles with masks and splits.
        output: gets ``layouts.json``, card and manifest.

    Returns:
        The card.
    """
    masks: dict[tuple[str, str], list[NucleiMask]] = defaultdict(list)
    items = [item for item in list_pairs(pairs, "train") if item.fields.get("organ")]
    for item, pair in zip(items, iter_pairs(items), strict=True):
        if not isinstance(pair, str) and _tells_nuclei(pair.mask):
            masks[str(item.fields["organ"]), str(item.fields.get("power", ""))].append(pair.mask)
    # organ -> the power of most of its tiles: the last one stays
    usual = dict(sorted(masks, key=lambda key: (len(masks[key]), POWERS.index(key[1]))))
    fitted, rows = {}, []
    for (organ, power), own in sorted(masks.items()):
        if len(own) >= LEAST_TILES:
            name = organ if usual[organ] == power else f"{organ}-{power}"
            one = fitted[name] = fit_layouts(own, name)
            classes = ", ".join(one.classes)
            rows.append([name, power, len(own), one.num_nuclei, round(one.density()), classes])
    titles = ("tissue", "magnification", "tiles", "nuclei", "per Mpx", "classes")
    card = header() + _LAYOUTS + "\n".join(table(titles, rows)) + "\n"
    with staging(output) as folder:
        save_statistics(folder / "layouts.json", fitted)
        (folder / "README.md").write_text(card, encoding="utf-8")
        finish(folder, stage="ship", config={}, extra={"licence": LICENCE})
    return card


def _tells_nuclei(mask: NucleiMask) -> bool:
    """Whether nuclei of a mask are apart, or nearly so because their classes are known."""
    known = (mask.classes > 0) & (mask.classes != UNKNOWN)
    return bool(known.any() or (mask.instances is not None and mask.classes.any()))
