"""Scorecard of a ControlNet for fluorescence: hematoxylin of its images against their maps.

The maps are the hematoxylin of held-out tiles, and real fluorescence of DSB 2018 and DeepLIIF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.conditions.maps import image_map, render_map
from crafts.controls.fluorescence import load_fluorescence
from crafts.core.errors import CraftsError
from crafts.core.marks import save_synthetic
from crafts.core.runtime import say, seed_from
from crafts.imaging.montage import montage
from crafts.measures.faithfulness import hematoxylin_correlation
from crafts.workflows.scorecards.classes import pick_evenly
from crafts.workflows.scorecards.nuclei import (
    PLAIN,
    SIZE,
    half_interval,
    make_steered,
    pick_cases,
)

ENOUGH = 0.5
PICTURED = 8
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Glow:
    """A fluorescence image, and what is known of the tissue.

    Attributes:
        key: names the files.
        group: of the table.
        prompt: asked for.
        pixels: [256, 256] of the nuclear channel.
        patient: whom it shows; the image where nobody is known.
        real: the image uint8 [256, 256, 3] that shows the same field in hematoxylin, if any.
    """

    key: str
    group: str
    prompt: str
    pixels: NDArray[np.generic]
    patient: str
    real: Pixels | None = None


def score_fluorescence(
    places: tuple[Path, Path, Path], output: Path, *, per_set: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """All figures of a ControlNet for fluorescence, and ``montage.png``.

    Args:
        places: the ControlNet, tiles with splits of which the held-out ones count, and the open
            sets with ``dsb2018_cc0`` and ``deepliif``.
        output: gets ``generated/``, which goes on where it was stopped.
        per_set: images of a source at most.
        options: ``model``, ``preset`` and ``weight`` of the ControlNet.
    """
    control, pairs, sets = places
    inputs = output / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Glow]] = {}
    maps, rows = {}, []
    for glow in _iter_glows(pairs, sets, per_set):
        path = inputs / f"{glow.key}.png"
        Image.fromarray(glow.pixels).save(path)
        try:
            maps[glow.key] = load_fluorescence(path).values
        except CraftsError as error:
            say(f"scorecard: left out: {error}")
            continue
        groups.setdefault(glow.group, []).append(glow)
        common = {"prompt": glow.prompt, "seed": seed_from("control", glow.key)}
        wish = f"inputs/{path.name}@{options['weight']:g}"
        rows.append({"id": f"steered-{glow.key}", **common, "fluorescence": wish})
        rows.append({"id": f"free-{glow.key}", **common, "fluorescence": ""})
    images, facts = make_steered(rows, output, {"fluorescence": str(control)}, options)
    shows = "fluorescence and what was generated from it"
    save_synthetic(montage(_picture(groups, maps, images)), output / "montage.png", shows)
    return facts | {"groups": {name: measure(part, maps, images) for name, part in groups.items()}}


def _iter_glows(pairs: Path, sets: Path, number: int) -> Iterator[Glow]:
    """Held-out tiles' own hematoxylin, then real fluorescence."""
    for case in pick_cases(pairs, max(1, number // 2)):
        pixels = (image_map(case.pair.image)[0] * 65535).round().astype(np.uint16)
        group, real = "hematoxylin of held-out H&E", case.pair.image
        yield Glow(f"he-{case.key}", group, case.prompt, pixels, case.patient, real)
    paths = sorted((sets / "dsb2018_cc0" / "fluo_images").glob("*.png"))
    for path in (paths[place] for place in pick_evenly(len(paths), number)):
        image = Image.open(path).convert("L")
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))
        yield Glow(f"dsb-{path.stem}", "DSB 2018 fluorescence", PLAIN, pixels, path.stem)
    for path in sorted((sets / "deepliif").glob("*_dapi.png")):
        organ = "bladder" if path.name.startswith("Bladder") else "lung"
        dapi = np.asarray(Image.open(path).convert("L"))
        stained = path.with_name(path.name.replace("_dapi", "_hematoxylin"))
        seen = np.asarray(Image.open(stained).convert("RGB"))
        for row in range(0, dapi.shape[0], SIZE):
            for column in range(0, dapi.shape[1], SIZE):
                part, key = np.s_[row : row + SIZE, column : column + SIZE], f"{row}-{column}"
                yield Glow(
                    f"{path.stem}-{key}", "DeepLIIF DAPI", f"{organ} {PLAIN}", dapi[part],
                    path.stem, seen[part],
                )  # fmt: skip


def measure(
    glows: Sequence[Glow], maps: Mapping[str, Any], images: Mapping[str, Pixels]
) -> dict[str, Any]:
    """Correlation of hematoxylin and map over the images of a group, between floors and ceiling."""

    def correlate(shown: Sequence[Pixels], of: Sequence[Glow]) -> NDArray[np.float64]:
        pairs = zip(shown, of, strict=True)
        found = [hematoxylin_correlation(image, maps[glow.key][0]) for image, glow in pairs]
        return np.array([0.0 if value is None else value for value in found])

    steered, free = (
        [images[f"{kind}-{glow.key}"] for glow in glows] for kind in ("steered", "free")
    )
    own = correlate(steered, glows)
    floor = correlate(steered, [*glows[1:], glows[0]]) if len(glows) > 1 else None
    real = [(glow.real, glow) for glow in glows if glow.real is not None]
    ceiling = correlate([image for image, _ in real], [glow for _, glow in real])
    return {
        "n": len(glows),
        "correlation": float(own.mean()),
        "spread": half_interval(own.tolist(), [glow.patient for glow in glows]),
        "share_above": float((own >= ENOUGH).mean()),
        "floor": None if floor is None else float(floor.mean()),
        "without_map": float(correlate(free, glows).mean()),
        "ceiling": float(ceiling.mean()) if real else None,
    }


def _picture(
    groups: Mapping[str, Sequence[Glow]], maps: Mapping[str, Any], images: Mapping[str, Pixels]
) -> list[tuple[str, list[Pixels]]]:
    """Map, real image where there is one, generated image, and the one without a map."""
    rows = []
    for name, part in groups.items():
        some = part[:: max(1, len(part) // PICTURED)][:PICTURED]
        title = name.replace(" ", "\n", 1)
        rows.append((f"{title}\nmap", [render_map(maps[g.key]) for g in some]))
        if real := [g.real for g in some if g.real is not None]:
            rows.append((f"{title}\nreal", real))
        for kind, head in (("steered", "generated"), ("free", "no map")):
            rows.append((f"{title}\n{head}", [images[f"{kind}-{g.key}"] for g in some]))
    return rows
