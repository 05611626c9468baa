"""Scorecard of counterfactuals: does a judge that saw neither model nor edit change its mind?

Real tiles of held-out patients, which the judge of structure takes for what they are, are edited
towards the other class of their pair, both ways. Beside the edits stand what must not turn the
judge: the stain of the other class alone, and an edit towards the same class in other words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import seed_from
from crafts.imaging.stains import optical_density
from crafts.measures.intervals import LEAST_GROUPS, group_interval
from crafts.measures.nuclei import compare_masks
from crafts.model.segmenter import open_segmenter
from crafts.model.vision.structure_judge import CLASSES, classify, load_structure_judge
from crafts.workflows.scorecards.classes import Row, class_of, read_rows, read_tiles, spread_rows
from crafts.workflows.scorecards.requests import make_images

PAIRS = (("oral normal high", "oral carcinoma high"), ("prostate benign", "prostate cancer"))
OTHER = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
EDIT, STAIN, WORDS = "another class", "its stain only", "the same class, other words"
_STAINED = 40  # training tiles of a class, of which the stain is taken
_LOOKED_AT = 4  # tiles that the judge is shown for each one wanted
Tiles = NDArray[np.uint8]
Flips = Callable[[Sequence[Row], Tiles], NDArray[np.float64]]


def score_counterfactuals(
    model: str,
    tiles: Path,
    output: Path,
    per_class: int = 12,
    strength: float = 0.9,
    guidance_scale: float = 5.0,
    preset: str = "fast",
    judge: str = "",
) -> str:
    """Edit held-out tiles towards another class and ask the judge of structure.

    Args:
        model: as ``crafts generate`` takes it.
        tiles: ``metadata.csv``, ``classes.json`` and images, as ``recipes/mini`` collects them.
        output: gets ``edited/``, ``words/``, ``same/``, ``counterfactuals.json`` and ``.md``.
        per_class: tiles of each class; a third of them for the control of words.
        strength: share of the steps in which the other text holds.
        guidance_scale: of the edits.
        preset: of the sampler.
        judge: folder of a judge of structure; "" is the shipped one.

    Returns:
        The table for people.
    """
    flips = Judge(judge).flips
    rows = _right_rows(tiles, per_class, flips)
    prompts = json.loads((tiles / "classes.json").read_text(encoding="utf-8"))
    options = {"preset": preset, "strength": strength, "guidance_scale": guidance_scale}
    other = {name: prompts[OTHER[name]]["prompt"] for name in OTHER}
    words = {name: prompts[name]["prompts"][0] for name in OTHER}
    own = {name: prompts[name]["prompt"] for name in OTHER}
    few, one = (spread_rows(rows, number, tuple(OTHER)) for number in (-(-per_class // 3), 1))

    def edit(name: str, asked: Sequence[Row], to: Mapping[str, str]) -> Tiles:
        requests = [_request(row, tiles, own, to) for row in asked]
        made, _ = make_images(requests, output / name, model, {**options, "batch_size": 1})
        return np.stack([made[request["id"]] for request in requests])

    before, after = read_tiles(tiles, rows), edit("edited", rows, other)
    stained = _stained(before, rows, tiles)
    groups = {
        EDIT: (rows, before, after),
        STAIN: (rows, before, stained),
        WORDS: (few, read_tiles(tiles, few), edit("words", few, words)),
    }
    same = np.abs(read_tiles(tiles, one).astype(int) - edit("same", one, own)).mean()
    found: dict[str, Any] = {
        "options": options,
        "groups": {name: judge_pairs(*group, flips=flips) for name, group in groups.items()},
        "beyond_stain": _interval(flips(rows, after) - flips(rows, stained), rows),
        "identity": float(same),
        "nuclei": _layout(before, after),
    }
    write_bytes(output / "counterfactuals.json", json.dumps(found, indent=1).encode())
    text = _compose(found)
    write_bytes(output / "counterfactuals.md", text.encode())
    return text


class Judge:
    """The judge of structure, asked between the two classes of a pair.

    Args:
        folder: of its weights; "" are the shipped ones.
    """

    def __init__(self, folder: str = "") -> None:
        self.network = load_structure_judge(Path(folder)) if folder else load_structure_judge()

    def flips(self, rows: Sequence[Row], tiles: Tiles) -> NDArray[np.float64]:
        """1 where it takes a tile for the other class of its row's pair, else 0."""
        said = classify(self.network, tiles)
        own, other = (
            said[np.arange(len(rows)), [CLASSES.index(name) for name in names]]
            for names in ([row["class"] for row in rows], [OTHER[row["class"]] for row in rows])
        )
        return np.asarray(other > own, np.float64)


def judge_pairs(
    rows: Sequence[Row], before: Tiles, after: Tiles, *, flips: Flips
) -> dict[str, Any]:
    """How many pictures the judge takes for the other class, and how much changed.

    Args:
        rows: of the tiles, with their ``class``.
        before: uint8 [N, S, S, 3], which the judge takes for their own class.
        after: the same tiles, edited.
        flips: of the judge.
    """
    turned = flips(rows, after)
    classes = np.array([row["class"] for row in rows])
    return {
        **_interval(turned, rows),
        "by_class": {name: float(turned[classes == name].mean()) for name in sorted({*classes})},
        "changed": float(np.abs(after.astype(int) - before).mean()),
    }


def move_stain(tile: Tiles, towards: Tiles) -> Tiles:
    """A tile [H, W, 3] with the mean and spread of optical density of others [N, H, W, 3].

    The stain-only control: each channel is shifted and scaled, and no structure is.
    """
    density, wanted = optical_density(tile), optical_density(towards)
    own = density.mean(axis=(0, 1)), density.std(axis=(0, 1)) + 1e-6
    other = wanted.mean(axis=(0, 1, 2)), wanted.std(axis=(0, 1, 2))
    moved = (density - own[0]) / own[1] * other[1] + other[0]
    return np.clip(np.rint(255 * 10**-moved), 0, 255).astype(np.uint8)


def _right_rows(tiles: Path, per_class: int, flips: Flips) -> list[Row]:
    """Held-out rows whose tile the judge takes for its own class, from patients in turn."""
    held = read_rows(tiles, "heldout", class_of)
    rows = spread_rows(held, _LOOKED_AT * per_class, tuple(OTHER))
    wrong = flips(rows, read_tiles(tiles, rows))
    right = [row for row, flipped in zip(rows, wrong, strict=True) if not flipped]
    return spread_rows(right, per_class, tuple(OTHER))


def _request(
    row: Row, tiles: Path, own: Mapping[str, str], to: Mapping[str, str]
) -> dict[str, Any]:
    name = Path(row["file_name"]).stem
    return {
        "id": name,
        "prompt": own[row["class"]],
        "counterfactual": to[row["class"]],
        "inpaint": str((tiles / row["file_name"]).resolve()),
        "seed": seed_from("counterfactual", name),
    }


def _interval(values: NDArray[np.float64], rows: Sequence[Row]) -> dict[str, Any]:
    """A mean, and where there are patients enough its interval over patients."""
    patients = [row["patient"] for row in rows]
    told: dict[str, Any] = {"mean": float(values.mean()), "tiles": len(rows)}
    if len({*patients}) >= LEAST_GROUPS:
        found = group_interval(values, patients)
        told |= {"low": found.low, "high": found.high}
    return told | {"patients": len({*patients})}


def _stained(before: Tiles, rows: Sequence[Row], tiles: Path) -> Tiles:
    train = spread_rows(read_rows(tiles, "train", class_of), _STAINED, tuple(OTHER))
    towards = {
        name: read_tiles(tiles, [row for row in train if row["class"] == name]) for name in OTHER
    }
    wanted = [towards[OTHER[row["class"]]] for row in rows]
    return np.stack([move_stain(tile, other) for tile, other in zip(before, wanted, strict=True)])


def _layout(before: Tiles, after: Tiles) -> dict[str, float | None]:
    """Dice of the nuclei before and after, and of those of other tiles; None: no nucleus."""
    segment = open_segmenter("mini")
    own, made = ([segment(tile) for tile in some] for some in (before, after))
    shifted = [*own[1:], own[0]]
    dice = [compare_masks(some, made).dice for some in (own, shifted)]
    return {"dice": dice[0], "dice_of_others": dice[1]}


def _compose(found: Mapping[str, Any]) -> str:
    def share(one: Mapping[str, Any]) -> str:
        interval = f" [{one['low']:.2f}, {one['high']:.2f}]" if "low" in one else ""
        return f"{one['mean']:.2f}{interval}"

    def shown(dice: float | None) -> str:
        return "–" if dice is None else f"{dice:.2f}"

    names = sorted(OTHER)
    rows = [
        [name, one["tiles"], one["patients"], share(one), f"{one['changed']:.1f}"]
        + [f"{one['by_class'][of]:.2f}" if of in one["by_class"] else "–" for of in names]
        for name, one in found["groups"].items()
    ]
    head = ["edited towards", "tiles", "patients", "judge flips", "mean change of 255"]
    nuclei = found["nuclei"]
    lines = [
        *table([*head, *(f"from {name}" for name in names)], rows),
        "",
        f"Flips beyond those of the stain: {share(found['beyond_stain'])}.",
        f"The same text changes {found['identity']:.3f} of 255 on average.",
        f"Nuclei before and after agree with Dice {shown(nuclei['dice'])}; with those of another "
        f"tile {shown(nuclei['dice_of_others'])}.",
    ]
    return "\n".join(lines) + "\n"
