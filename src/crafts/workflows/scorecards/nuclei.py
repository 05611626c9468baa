"""Scorecard of a ControlNet for nuclei: is it obeyed on held-out masks, between floor and ceiling?

Each held-out mask makes a tile with the text of its own tile, beside one of the same text and noise
without the mask; some masks are also moved, and emptied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.conditions.maps import mask_map, render_map
from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.controls.synthesis.edit import shift
from crafts.core.marks import save_synthetic
from crafts.core.protocols import SegmentNuclei
from crafts.core.runtime import say, seed_from
from crafts.data.listing.items import ListedTile
from crafts.imaging.montage import montage
from crafts.measures.faithfulness import measure_faithfulness
from crafts.measures.intervals import LEAST_GROUPS, group_interval
from crafts.measures.nuclei import compare_masks, count_nuclei, find_shift
from crafts.model.bundle import load_bundle
from crafts.model.segmenter import open_segmenter
from crafts.sets.masked import MaskedTile, iter_pairs, list_pairs
from crafts.workflows.scorecards.classes import pick_evenly
from crafts.workflows.scorecards.requests import make_images

SIZE = 256  # pixels of an edge, for numbers of nuclei by area
MOVED, NEAR = 16, 4.0  # pixels; by how much a mask is moved, what still counts as moved with it
WAYS = ((MOVED, 0), (0, MOVED), (-MOVED, 0), (0, -MOVED))  # right, down
PROBES, LEAST_NUCLEI = 24, 5  # masks that are moved and emptied, nuclei of each
PLAIN = "tissue, H&E stain"  # for tiles without text
PICTURED = 12  # tiles side by side
TITLES = {
    "steered": "generated",
    "moved": f"mask moved\nby {MOVED} px",
    "empty": "empty mask",
    "free": "same noise,\nno mask",
}
STRIDE = 16  # pixels between windows
GLASS, MOST_GLASS = 215, 0.5  # the darkest channel of glass is above; share of a window's area
Pixels = NDArray[np.uint8]
Images = Mapping[str, Pixels]


@dataclass(frozen=True)
class Case:
    """A held-out tile with its mask, and what is asked for in its place."""

    key: str
    pair: MaskedTile
    group: str
    prompt: str

    @property
    def patient(self) -> str:
        """Whom the mask comes from; the tile where nobody is known."""
        return self.pair.patient or self.key


class Window(NamedTuple):
    """A part of a tile, and the share of its area that is glass."""

    pixels: Pixels
    glass: float


def score_nuclei(
    control: Path,
    pairs: Path,
    output: Path,
    *,
    per_set: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """All figures of a ControlNet for nuclei, and ``montage.png``.

    Args:
        control: folder of the ControlNet.
        pairs: tiles with masks and splits, as ``crafts pack`` takes them.
        output: gets ``generated/``, which goes on where it was stopped.
        per_set: held-out tiles of a set.
        options: ``model``, ``preset`` and ``weight`` of the ControlNet.
    """
    cases = pick_cases(pairs, per_set)
    full = [case for case in cases if count_nuclei(case.pair.mask) >= LEAST_NUCLEI]
    probed = [full[place] for place in pick_evenly(len(full), PROBES)]
    rows = list(_requests(cases, probed, output, options["weight"]))
    images, facts = make_steered(rows, output, {"nuclei": str(control)}, options)
    segment = open_segmenter("mini")
    classes = segment.network.config.classes
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    shows = "masks, real tiles and what was generated from the masks"
    save_synthetic(_picture(cases, probed, images), output / "montage.png", shows)
    return {
        **facts,
        "segmenter": segment.fingerprint,
        "sets": {
            name: measure_group(part, images, segment, classes) for name, part in groups.items()
        },
        "moved": measure_moves(probed, images, segment),
        "empty": measure_empty(probed, cases, images, segment),
    }


def make_steered(
    rows: Sequence[Mapping[str, Any]],
    output: Path,
    controls: Mapping[str, str],
    options: Mapping[str, Any],
) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """Images by the id of their row, and what made them."""
    values = {"preset": options["preset"], "controls": dict(controls)}
    images, made = make_images(rows, output / "generated", options["model"], values)
    facts = {
        "model": load_bundle(options["model"]).fingerprint,
        "preset": options["preset"],
        **made.counts,
    }
    return images, facts | {"weight": options["weight"]}


def pick_cases(pairs: Path, per_set: int) -> list[Case]:
    """Held-out tiles, evenly spread over each set."""
    by_set: dict[str, list[ListedTile]] = defaultdict(list)
    for item in list_pairs(pairs, "heldout"):
        by_set[str(item.fields["set"])].append(item)
    cases = []
    for name, items in sorted(by_set.items()):
        chosen = [items[place] for place in pick_evenly(len(items), per_set)]
        for item, pair in zip(chosen, iter_pairs(chosen), strict=True):
            if isinstance(pair, str):
                say(f"scorecard: left out: {pair}")
            else:
                cases.append(Case(item.key, pair, name, item.text or PLAIN))
    return cases


def _requests(
    cases: Sequence[Case], probes: Sequence[Case], output: Path, weight: float
) -> Iterator[dict[str, Any]]:
    """Rows of the manifest; their masks are written."""
    inputs = output / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    wanted: list[tuple[str, Case, NucleiMask | None]] = []
    for case in cases:
        wanted += [("steered", case, case.pair.mask), ("free", case, None)]
    for case, way in zip(probes, WAYS * len(probes), strict=False):
        wanted.append(("moved", case, shift(case.pair.mask, way)))
        wanted.append(("empty", case, NucleiMask(np.zeros_like(case.pair.mask.classes), None)))
    for kind, case, mask in wanted:
        key = f"{kind}-{case.key}"
        if mask is not None:
            save_mask(inputs / f"{key}.png", mask)
        yield {
            "id": key,
            "prompt": case.prompt,
            "seed": seed_from("control", case.key),
            "nuclei": "" if mask is None else f"inputs/{key}.png@{weight:g}",
        }


def measure_group(
    cases: Sequence[Case], images: Images, segment: SegmentNuclei, classes: Sequence[str]
) -> dict[str, Any]:
    """Obeyed, floors and ceiling of the tiles of a set."""
    real, masks = [case.pair for case in cases], [case.pair.mask for case in cases]
    pairs = [MaskedTile(c.key, images[f"steered-{c.key}"], c.pair.mask, c.patient) for c in cases]
    free = [segment(images[f"free-{case.key}"]) for case in cases]
    found = measure_faithfulness(pairs, segment, real=real, classes=classes).model_dump()
    return found | {"without_mask": compare_masks(masks, free, classes=classes).model_dump()}


def measure_moves(probes: Sequence[Case], images: Images, segment: SegmentNuclei) -> dict[str, Any]:
    """Whether nuclei move with their mask, beside tiles of a mask that stays and of no mask."""
    found: dict[str, Any] = {"tiles": len(probes), "pixels": MOVED, "near": NEAR}
    for kind in ("moved", "steered", "free"):
        missed = []
        for case, way in zip(probes, WAYS * len(probes), strict=False):
            nuclei = segment(images[f"{kind}-{case.key}"]).classes > 0
            went = find_shift(case.pair.mask.classes > 0, nuclei)
            wanted = way if kind == "moved" else (0, 0)
            missed.append(np.hypot(went[0] - wanted[0], went[1] - wanted[1]))
        near = float((np.array(missed) <= NEAR).mean())
        found[kind] = {"median_miss": float(np.median(missed)), "share_near": near}
    return found


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
        counts = [count_nuclei(mask) * SIZE**2 / mask.classes.size for mask in masks]
        shares = [(mask.classes > 0).mean() for mask in masks]
        found[kind] = {
            "tiles": len(tiles),
            "nuclei": float(np.mean(counts)) if tiles else None,
            "spread": half_interval(counts, [patient for _, patient in tiles]),
            "pixels": float(np.mean(shares)) if tiles else None,
        }
    return found


def half_interval(values: Sequence[float], patients: Sequence[str]) -> float | None:
    """Half the width of the 95 % interval of a mean, patients drawn again; None of fewer than 8."""
    if len(set(patients)) < LEAST_GROUPS:
        return None
    found = group_interval(values, patients)
    return (found.high - found.low) / 2


def find_window(tile: Pixels, nuclei: NDArray[np.bool_], *, most: float = 0.0) -> Window | None:
    """The window of half a tile's edge with least glass among those without nuclei.

    Args:
        tile: uint8 [H, W, 3].
        nuclei: where some lie [H, W].
        most: share of a window that they may cover all the same.

    Returns:
        None where nuclei are everywhere.
    """
    best: Window | None = None
    edge = SIZE // 2
    for top in range(0, tile.shape[0] - edge + 1, STRIDE):
        for left in range(0, tile.shape[1] - edge + 1, STRIDE):
            place = np.s_[top : top + edge, left : left + edge]
            glass = float((tile[place].min(axis=2) > GLASS).mean())
            if nuclei[place].mean() <= most and (best is None or glass < best.glass):
                best = Window(tile[place], glass)
    return best


def _picture(cases: Sequence[Case], probes: Sequence[Case], images: Images) -> Image.Image:
    """Mask, real tile and the tiles asked for, of some cases and then of some probes."""
    rows: list[tuple[str, list[Pixels]]] = []
    for part, kinds in ((cases, ("steered", "free")), (probes, tuple(TITLES))):
        some = [part[k] for k in pick_evenly(len(part), PICTURED)]
        rows.append(("mask", [render_map(mask_map(case.pair.mask)) for case in some]))
        rows.append(("real", [case.pair.image for case in some]))
        rows += [(TITLES[kind], [images[f"{kind}-{case.key}"] for case in some]) for kind in kinds]
    return montage(rows)
