"""Fit the statistics of nuclei that `crafts generate --control nuclei=sample:TISSUE` follows.

    python recipes/mini/fit_layouts.py PAIRS [--output FOLDER]

PAIRS is what ``collect_masks.py`` wrote; only its training patients are measured, and only masks
that know nuclei or their classes: in a bare foreground, clusters would pass for giant nuclei. A
tissue is an organ at one magnification (that of most of its tiles goes without saying) with at
least ten tiles.
Writes ``weights/layouts``: ``layouts.json``, card and manifest; no mask can be had back from them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from crafts.controls.layouts import (
    LayoutStatistics,
    fit_layouts,
    save_statistics,
)
from crafts.controls.nuclei import UNKNOWN, NucleiMask
from crafts.core.artifacts import finish, staging
from crafts.measures.faithfulness import iter_pairs, list_pairs
from crafts.model.files.places import SHIPPED

LICENCE = "crafts-mini-research-only"
LEAST_TILES = 10
POWERS = ("", "low", "medium", "high")
CARD = f"""---
license: other
license_name: {LICENCE}
license_link: ../LICENSE.md
---

# Layouts of nuclei

Numbers, sizes, shapes, classes and places of nuclei, for `--control nuclei=sample:TISSUE` and
`crafts.controls.synthesis.invent.sample_layout`. Fitted by `recipes/mini/fit_layouts.py` to masks
of training patients of Lizard and MoNuSeg (NC). Lengths are pixels of tiles of 256 px. Classes
are known in the colon only. Research use only.

| tissue | magnification | tiles | nuclei | per Mpx | classes |
|---|---|---|---|---|---|
"""


def main(pairs: Path, output: Path) -> None:
    """Measure, fit, write."""
    masks: dict[tuple[str, str], list[NucleiMask]] = defaultdict(list)
    items = [item for item in list_pairs(pairs, "train") if item.fields.get("organ")]
    for item, pair in zip(items, iter_pairs(items), strict=True):
        if not isinstance(pair, str) and tells_nuclei(pair.mask):
            masks[str(item.fields["organ"]), str(item.fields.get("power", ""))].append(pair.mask)
    ranks = sorted(masks, key=lambda key: (len(masks[key]), POWERS.index(key[1])))
    usual = dict(ranks)  # organ -> power; the last one stays
    fitted: dict[str, LayoutStatistics] = {}
    card = CARD
    for (organ, power), own in sorted(masks.items()):
        if len(own) >= LEAST_TILES:
            name = organ if usual[organ] == power else f"{organ}-{power}"
            one = fitted[name] = fit_layouts(own, name)
            cells = (
                name,
                power,
                len(own),
                one.num_nuclei,
                round(one.density()),
                ", ".join(one.classes),
            )
            card += "| " + " | ".join(map(str, cells)) + " |\n"
    with staging(output) as folder:
        save_statistics(folder / "layouts.json", fitted)
        (folder / "README.md").write_text(card, encoding="utf-8")
        finish(folder, stage="ship", config={}, extra={"licence": LICENCE})
    print(card, (output / "layouts.json").stat().st_size, "bytes")


def tells_nuclei(mask: NucleiMask) -> bool:
    """Whether nuclei of a mask are apart, or nearly so because their classes are known."""
    known = (mask.classes > 0) & (mask.classes != UNKNOWN)
    return bool(known.any() or (mask.instances is not None and mask.classes.any()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--output", type=Path, default=SHIPPED / "layouts")
    given = parser.parse_args()
    main(given.pairs, given.output)
