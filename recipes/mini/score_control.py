"""Measure on held-out tiles whether a ControlNet is obeyed.

    python recipes/mini/score_control.py CONTROL PAIRS OUTPUT [--per-set 20] [--preset balanced]
                                         [--weight 1] [--probes 24] [--fluorescence SETS]

CONTROL is ``OUTPUT/model`` of ``control-nuclei.yaml``; PAIRS is what ``collect_masks.py`` wrote.
Each held-out mask makes a tile with the text of its own tile, beside one of the same text and noise
without the mask; ``--probes`` masks are also moved by 16 px, and emptied. For a ControlNet of
``control-fluorescence.yaml`` give ``--fluorescence`` with what ``collect.py`` reads: the maps are
the hematoxylin of held-out tiles, and real fluorescence of DSB 2018 and DeepLIIF.

OUTPUT gets ``generated/`` (a run of ``crafts generate``, which goes on where it was stopped),
``control.json``, ``control.md`` and ``montage.png``.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from collect import SIZE
from control_tables import fluorescence_table, interval, mean_interval, nuclei_tables, verdict
from empty_pairs import MOST_GLASS, find_window
from montage import montage
from numpy.typing import NDArray

from crafts.controls.inventing.layout_edits import shift
from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import write_bytes
from crafts.core.marks import save_synthetic
from crafts.core.protocols import Nuclei, SegmentNuclei
from crafts.core.runtime import say, seed_from
from crafts.data.importers import Item
from crafts.evaluation.faithfulness import Pair, iter_pairs, list_pairs, measure_faithfulness
from crafts.evaluation.features import read_image
from crafts.evaluation.nuclei import compare_masks, correlation, count_nuclei, dice, find_shift
from crafts.generation.generate import run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import load_bundle
from crafts.model.control import load_control
from crafts.model.segmenter import open_segmenter
from crafts.sampling.control import mask_map, render_map

MOVED = 16  # pixels
NEAR = 4.0  # pixels; what still counts as moved with the mask
WAYS = ((MOVED, 0), (0, MOVED), (-MOVED, 0), (0, -MOVED))  # right, down
PLAIN = "tissue, H&E stain"  # for tiles without text
PICTURED, ABREAST = 4, 3  # tiles of a set, sets side by side
TITLES = {
    "steered": "generated",
    "moved": f"mask moved\nby {MOVED} px",
    "empty": "empty mask",
    "free": "same noise,\nno mask",
}
Images = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Case:
    """A held-out tile with its mask, and what is asked for in its place."""

    key: str
    pair: Pair
    group: str
    prompt: str

    @property
    def patient(self) -> str:
        """Whom the mask comes from; the tile where nobody is known."""
        return self.pair.patient or self.key


def pick_cases(pairs: Path, per_set: int) -> list[Case]:
    """Held-out tiles, evenly spread over each set."""
    by_set: dict[str, list[Item]] = defaultdict(list)
    for item in list_pairs(pairs, "heldout"):
        by_set[str(item.fields["set"])].append(item)
    cases = []
    for name, items in sorted(by_set.items()):
        spread = np.unique(np.linspace(0, len(items) - 1, min(per_set, len(items))).astype(int))
        chosen = [items[place] for place in spread]
        for item, pair in zip(chosen, iter_pairs(chosen), strict=True):
            if isinstance(pair, str):
                say(f"score_control: left out: {pair}")
            else:
                cases.append(Case(item.key, pair, name, item.text or PLAIN))
    return cases


def write_requests(
    cases: Sequence[Case], probes: Sequence[Case], output: Path, weight: float
) -> None:
    """Masks, and the manifest that asks for a tile of each."""
    inputs = output / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        save_mask(inputs / f"{case.key}.png", case.pair.mask)
        rows += [("steered", case, f"{case.key}.png"), ("free", case, "")]
    for case, way in zip(probes, WAYS * len(probes), strict=False):
        save_mask(inputs / f"moved-{case.key}.png", shift(case.pair.mask, way))
        rows.append(("moved", case, f"moved-{case.key}.png"))
        nothing = NucleiMask(np.zeros_like(case.pair.mask.classes), None)
        save_mask(inputs / f"empty-{case.key}.png", nothing)
        rows.append(("empty", case, f"empty-{case.key}.png"))
    found = [
        {
            "id": f"{kind}-{case.key}",
            "prompt": case.prompt,
            "seed": seed_from("control", case.key),
            "nuclei": name and f"inputs/{name}@{weight:g}",
        }
        for kind, case, name in rows
    ]
    write_manifest(found, output / "requests.csv")


def write_manifest(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A manifest of ``crafts generate``."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(output: Path, kind: str, control: Path, model: str, preset: str) -> dict[str, Any]:
    """Make what is not there yet; id -> image, and what made them."""
    bundle = load_bundle(model)
    config = GenerateConfig.model_validate(
        {"manifest": output / "requests.csv", "preset": preset, "controls": {kind: str(control)}}
        | {"same_noise": True}
    )
    manifest = run(config, None, output / "generated", bundle=bundle)
    images = {
        Path(entry["file"]).stem.removesuffix("-0"): read_image(
            output / "generated" / entry["file"]
        )
        for entry in manifest.extra["images"]
    }
    facts = {"model": bundle.fingerprint, "preset": preset, **manifest.counts}
    return {"images": images, "facts": facts}


def remembering(segment: SegmentNuclei) -> SegmentNuclei:
    """A segmenter that finds the nuclei of an image once."""
    known: dict[bytes, Nuclei] = {}

    def find(image: NDArray[np.uint8]) -> Nuclei:
        key = image.tobytes()
        if key not in known:
            known[key] = segment(image)
        return known[key]

    return find


def measure_group(
    cases: Sequence[Case], images: Images, segment: SegmentNuclei, classes: Sequence[str]
) -> dict[str, Any]:
    """Obeyed, floors and ceiling of some tiles, with 95 % intervals over patients."""
    masks = [case.pair.mask for case in cases]
    pairs = [Pair(c.key, images[f"steered-{c.key}"], c.pair.mask, c.patient) for c in cases]
    found = measure_faithfulness(
        pairs, segment, real=[case.pair for case in cases], classes=classes
    ).model_dump()
    free = [segment(images[f"free-{case.key}"]) for case in cases]
    found["without_mask"] = compare_masks(masks, free, classes=classes).model_dump()
    steered, real = ([segment(p.image) for p in part] for part in (pairs, [c.pair for c in cases]))
    full = np.array([mask.classes.any() for mask in masks])
    own, best = (
        np.array([dice(a.classes > 0, b.classes > 0) for a, b in zip(part, masks, strict=True)])
        for part in (steered, real)
    )
    counts = np.array(
        [[count_nuclei(a), count_nuclei(b)] for a, b in zip(masks, steered, strict=True)]
    )
    floor = found["floor"]["dice"] if found["floor"] else np.nan

    def share(rows: NDArray[np.int64]) -> float:
        high = best[full][rows].mean() - floor
        return float((own[full][rows].mean() - floor) / high) if high > 0 else np.nan

    def together(rows: NDArray[np.int64]) -> float:
        value = correlation(counts[rows, 0].astype(float), counts[rows, 1].astype(float))
        return np.nan if value is None else value

    found["normalised_spread"] = interval(
        share, [c.patient for c, has in zip(cases, full, strict=True) if has]
    )
    found["count_correlation_spread"] = interval(together, [c.patient for c in cases])
    return found


def measure_moves(probes: Sequence[Case], images: Images, segment: SegmentNuclei) -> dict[str, Any]:
    """Whether nuclei move with their mask, beside tiles of a mask that stays and of no mask."""

    def misses(kind: str, ways: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        found = []
        for case, way in zip(probes, ways, strict=True):
            nuclei = segment(images[f"{kind}-{case.key}"]).classes > 0
            went = find_shift(case.pair.mask.classes > 0, nuclei)
            found.append(np.hypot(went[0] - way[0], went[1] - way[1]))
        return np.array(found)

    ways = [WAYS[place % len(WAYS)] for place in range(len(probes))]
    still = [(0, 0)] * len(probes)
    kinds = {"moved": ways, "steered": still, "free": still}
    distances = {kind: misses(kind, wanted) for kind, wanted in kinds.items()}
    return {"tiles": len(probes), "pixels": MOVED, "near": NEAR} | {
        kind: {"median_miss": float(np.median(d)), "share_near": float((d <= NEAR).mean())}
        for kind, d in distances.items()
    }


def measure_empty(
    probes: Sequence[Case], cases: Sequence[Case], images: Images, segment: SegmentNuclei
) -> dict[str, Any]:
    """Nuclei found in tiles of an empty mask, beside those of the mask, of none, and real ones.

    ``bare`` are windows of real tissue without a marked nucleus: what the segmenter finds there is
    its error, or nuclei that nobody marked.
    """
    shown = {
        kind: [(images[f"{kind}-{case.key}"], case.patient) for case in probes]
        for kind in ("empty", "free", "steered")
    } | {"real": [(case.pair.image, case.patient) for case in probes]}
    windows = [(find_window(c.pair.image, c.pair.mask.classes > 0), c.patient) for c in cases]
    shown["bare"] = [(w.pixels, patient) for w, patient in windows if w and w.glass < MOST_GLASS]
    found = {}
    for kind, tiles in shown.items():
        masks = [segment(tile) for tile, _ in tiles]
        area = np.array([SIZE**2 / mask.classes.size for mask in masks])
        counts = np.array([count_nuclei(mask) for mask in masks], float) * area
        shares = np.array([(mask.classes > 0).mean() for mask in masks])
        found[kind] = {
            "tiles": len(tiles),
            "nuclei": float(counts.mean()) if tiles else None,
            "nuclei_spread": mean_interval(counts, [patient for _, patient in tiles]),
            "pixels": float(shares.mean()) if tiles else None,
        }
    return found


def score_nuclei(given: argparse.Namespace) -> dict[str, Any]:
    """All figures of a ControlNet for nuclei, and the picture."""
    cases = pick_cases(given.pairs, given.per_set)
    full = [case for case in cases if count_nuclei(case.pair.mask) >= 5]
    spread = np.unique(np.linspace(0, len(full) - 1, min(given.probes, len(full))).astype(int))
    probes = [full[place] for place in spread]
    write_requests(cases, probes, given.output, given.weight)
    made = make(given.output, "nuclei", given.control, given.model, given.preset)
    images, segmenter = made["images"], open_segmenter(given.segmenter)
    segment, classes = remembering(segmenter), segmenter.network.config.classes
    groups = {
        name: [c for c in cases if c.group == name] for name in sorted({c.group for c in cases})
    }
    scores = {
        name: measure_group(part, images, segment, classes)
        for name, part in {**groups, "all": cases}.items()
    }
    save_synthetic(
        montage(pictures(groups, probes, images)),
        given.output / "montage.png",
        "maps, real tiles and generated ones",
    )
    return made["facts"] | {
        "segmenter": segmenter.fingerprint,
        "weight": given.weight,
        "sets": scores,
        "moved": measure_moves(probes, images, segment),
        "empty": measure_empty(probes, cases, images, segment),
    }


def pictures(
    groups: Mapping[str, Sequence[Case]], probes: Sequence[Case], images: Images
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Mask, real tile, generated tile and the one without a mask; three sets side by side."""
    rows, names = [], list(groups)
    for start in range(0, len(names), ABREAST):
        mine = names[start : start + ABREAST]
        parts = [groups[name] for name in mine]
        some = [c for part in parts for c in part[:: max(1, len(part) // PICTURED)][:PICTURED]]
        shown = _rows(some, images, ("steered", "free"))
        rows += [("mask\n" + "\n".join(mine), shown[0][1]), *shown[1:]]
    wide = ABREAST * PICTURED
    probed = probes[:: max(1, len(probes) // wide)][:wide]
    return rows + _rows(probed, images, ("steered", "moved", "empty", "free"))


def _rows(
    cases: Sequence[Case], images: Images, kinds: Sequence[str]
) -> list[tuple[str, NDArray[np.uint8]]]:
    masks = np.stack([render_map(mask_map(case.pair.mask)) for case in cases])
    rows = [("mask", masks), ("real", np.stack([case.pair.image for case in cases]))]
    for kind in kinds:
        rows.append((TITLES[kind], np.stack([images[f"{kind}-{case.key}"] for case in cases])))
    return rows


def main() -> None:
    """Make, measure, write."""
    given = read_options()
    given.output.mkdir(parents=True, exist_ok=True)
    control = load_control(given.control)
    if given.fluorescence:
        from fluorescence_cases import score_fluorescence

        result = score_fluorescence(given)
        text = fluorescence_table(result)
    else:
        result = score_nuclei(given)
        text = nuclei_tables(result)
    result = {"kind": control.kind, "control": control.fingerprint, **result}
    write_bytes(given.output / "control.json", json.dumps(result, indent=1).encode())
    write_bytes(given.output / "control.md", text.encode())
    print(text)
    print("\n".join(verdict(result)))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("control", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fluorescence", type=Path, metavar="SETS", help="what collect.py reads")
    parser.add_argument("--per-set", type=int, default=20)
    parser.add_argument("--probes", type=int, default=24, help="masks that are moved and emptied")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--weight", type=float, default=1.0, help="of the ControlNet")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--segmenter", default="mini")
    return parser.parse_args()


if __name__ == "__main__":
    main()
