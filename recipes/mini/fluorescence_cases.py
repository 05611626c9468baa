"""The fluorescence part of ``score_control.py``: maps, the images made from them, correlations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from control_tables import mean_interval
from montage import montage
from numpy.typing import NDArray
from PIL import Image
from score_control import PLAIN, make, pick_cases, write_manifest

from crafts.controls.fluorescence import load_fluorescence
from crafts.core.errors import CraftsError
from crafts.core.marks import save_synthetic
from crafts.core.runtime import say, seed_from
from crafts.measures.faithfulness import hematoxylin_correlation
from crafts.sampling.control import image_map, render_map

SIDE = 256
ENOUGH = 0.5
PICTURED = 8


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
    real: NDArray[np.uint8] | None = None


def score_fluorescence(given: argparse.Namespace) -> dict[str, Any]:
    """All figures of a ControlNet for fluorescence, and the picture."""
    inputs = given.output / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    glows, maps, rows = [], {}, []
    for glow in iter_glows(given.pairs, given.fluorescence, given.per_set):
        path = inputs / f"{glow.key}.png"
        Image.fromarray(glow.pixels).save(path)
        try:
            maps[glow.key] = load_fluorescence(path).values
        except CraftsError as error:
            say(f"score_control: left out: {error}")
            continue
        glows.append(glow)
        common = {"prompt": glow.prompt, "seed": seed_from("control", glow.key)}
        wish = f"inputs/{path.name}@{given.weight:g}"
        rows.append({"id": f"steered-{glow.key}", **common, "fluorescence": wish})
        rows.append({"id": f"free-{glow.key}", **common, "fluorescence": ""})
    write_manifest(rows, given.output / "requests.csv")
    made = make(given.output, "fluorescence", given.control, given.model, given.preset)
    groups = {
        name: [g for g in glows if g.group == name]
        for name in dict.fromkeys(g.group for g in glows)
    }
    scores = {name: measure(part, maps, made["images"]) for name, part in groups.items()}
    save_synthetic(
        picture(groups, maps, made["images"]),
        given.output / "montage.png",
        "fluorescence and what was generated from it",
    )
    return made["facts"] | {"weight": given.weight, "groups": scores}


def iter_glows(pairs: Path, sets: Path, number: int) -> Iterator[Glow]:
    """Held-out tiles' own hematoxylin, then real fluorescence."""
    for case in pick_cases(pairs, max(1, number // 2)):
        pixels = (image_map(case.pair.image)[0] * 65535).round().astype(np.uint16)
        group, real = "hematoxylin of held-out H&E", case.pair.image
        yield Glow(f"he-{case.key}", group, case.prompt, pixels, case.patient, real)
    paths = sorted((sets / "dsb2018_cc0" / "fluo_images").glob("*.png"))
    for place in np.unique(np.linspace(0, len(paths) - 1, min(number, len(paths))).astype(int)):
        image = Image.open(paths[place]).convert("L")
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))
        name = paths[place].stem
        yield Glow(f"dsb-{name}", "DSB 2018 fluorescence", PLAIN, pixels, name)
    for path in sorted((sets / "deepliif").glob("*_dapi.png")):
        organ = "bladder" if path.name.startswith("Bladder") else "lung"
        dapi = np.asarray(Image.open(path).convert("L"))
        stained = path.with_name(path.name.replace("_dapi", "_hematoxylin"))
        seen = np.asarray(Image.open(stained).convert("RGB"))
        for row in range(0, dapi.shape[0], SIDE):
            for column in range(0, dapi.shape[1], SIDE):
                part = np.s_[row : row + SIDE, column : column + SIDE]
                key = f"{path.stem}-{row}-{column}"
                wish = f"{organ} {PLAIN}"
                yield Glow(key, "DeepLIIF DAPI", wish, dapi[part], path.stem, seen[part])


def measure(
    glows: Sequence[Glow], maps: Mapping[str, Any], images: Mapping[str, NDArray[np.uint8]]
) -> dict[str, Any]:
    """Correlation of hematoxylin and map over the images of a group, between floors and ceiling."""

    def correlate(shown: Sequence[NDArray[np.uint8]], of: Sequence[Glow]) -> NDArray[np.float64]:
        pairs = zip(shown, of, strict=True)
        found = [hematoxylin_correlation(image, maps[glow.key][0]) for image, glow in pairs]
        return np.array([0.0 if value is None else value for value in found])

    steered = [images[f"steered-{glow.key}"] for glow in glows]
    own = correlate(steered, glows)
    floor = correlate(steered, [*glows[1:], glows[0]]) if len(glows) > 1 else None
    real = [glow for glow in glows if glow.real is not None]
    ceiling = correlate([glow.real for glow in real if glow.real is not None], real)
    return {
        "n": len(glows),
        "correlation": float(own.mean()),
        "spread": mean_interval(own, [glow.patient for glow in glows]),
        "share_above": float((own >= ENOUGH).mean()),
        "floor": None if floor is None else float(floor.mean()),
        "without_map": float(correlate([images[f"free-{g.key}"] for g in glows], glows).mean()),
        "ceiling": float(ceiling.mean()) if real else None,
    }


def picture(
    groups: Mapping[str, Sequence[Glow]],
    maps: Mapping[str, Any],
    images: Mapping[str, NDArray[np.uint8]],
) -> Image.Image:
    """Map, real image where there is one, generated image, and the one without a map."""
    rows = []
    for name, part in groups.items():
        some = list(part)[:: max(1, len(part) // PICTURED)][:PICTURED]
        title = name.replace(" ", "\n", 1)
        rows.append((f"{title}\nmap", np.stack([render_map(maps[g.key]) for g in some])))
        real = [g.real for g in some if g.real is not None]
        if real:
            rows.append((f"{title}\nreal", np.stack(real)))
        for kind, told in (("steered", "generated"), ("free", "no map")):
            rows.append((f"{title}\n{told}", np.stack([images[f"{kind}-{g.key}"] for g in some])))
    return montage(rows)
