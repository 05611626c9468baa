"""Scorecard of a text-to-image model on the measured classes: does structure follow the words?

``crafts evaluate`` measures distances, wording and copies. Beside it stands what it cannot see: a
judge of grey structure, on the model's tiles and on controls that must fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts import api
from crafts.core.artifacts import write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import say, seed_from
from crafts.measures.nuclei import count_nuclei
from crafts.measures.structure import blur, color_statistics_generator, phase_scramble
from crafts.model.bundle import load_bundle
from crafts.model.segmenter import open_segmenter
from crafts.model.vision.structure_judge import CLASSES, TASKS
from crafts.workflows.scorecards.classes import (
    Row,
    caption_of,
    read_rows,
    read_tiles,
    says_power,
    spread_rows,
)
from crafts.workflows.scorecards.codec import reconstruct
from crafts.workflows.scorecards.judges import Judges
from crafts.workflows.scorecards.requests import lymphocyte_rows, make_images

BLUR = 6.0  # pixels; wider than a nucleus at low power, narrower than a gland
GENERATED, REAL = "generated", "real, held-out"
Tiles = NDArray[np.uint8]


@dataclass(frozen=True)
class Group:
    """Tiles uint8 [N, H, W, 3] that are judged together, and what each shows or should show."""

    name: str
    tiles: Tiles
    classes: Sequence[str]


def score_model(
    model: str,
    tiles: Path,
    output: Path,
    per_class: int = 48,
    preset: str = "balanced",
    encoder: str = "mini",
) -> str:
    """Generate from captions of held-out groups, evaluate, judge structure beside controls.

    About 80 minutes on two cores; a stopped run goes on.

    Args:
        model: as ``crafts generate`` takes it.
        tiles: ``metadata.csv``, ``classes.json`` and images, as ``recipes/mini`` collects them.
        output: gets ``generated/``, ``unseen/``, ``lymphocytes/`` (images), ``evaluation/`` (of
            ``generated/``), ``score.json`` and ``score.md``.
        per_class: images of each class and kind.
        preset: of the sampler.
        encoder: of images and texts, for the evaluation.

    Returns:
        The table for people.
    """
    bundle, judges = load_bundle(model), Judges.load(encoder)
    held = spread_rows(read_rows(tiles, "heldout"), per_class)
    facts = json.loads((tiles / "classes.json").read_text(encoding="utf-8"))
    unseen = {label: one["held_back"] for label, one in facts.items()}
    asked = {"generated": list(class_rows(held, per_class))}
    asked["unseen"] = list(class_rows(held, per_class, unseen))
    asked["lymphocytes"] = list(lymphocyte_rows(per_class))
    options = {"preset": preset, "batch_size": 4}
    made = {
        kind: make_images(rows, output / kind, model, options)[0]
        for kind, rows in asked.items()
        if rows
    }
    sides = {"generated": output / "generated/images", "real": tiles, "train": tiles}
    api.evaluate({**sides, "encoder": encoder}, output / "evaluation")
    groups = [
        Group(name, np.stack([made[kind][row["id"]] for row in asked[kind]]), shown)
        for kind, name in (("generated", GENERATED), ("unseen", "generated, unseen wording"))
        if (shown := [row["shows"] for row in asked[kind]])
    ]
    real = Group(REAL, read_tiles(tiles, held), [row["class"] for row in held])
    through = replace(real, name="real, through the codec")
    groups += [shuffled(groups[0]), real]
    groups += [replace(through, tiles=reconstruct(bundle.codec, real.tiles))]
    train = spread_rows(read_rows(tiles, "train"), 64)
    groups += controls_of(real, read_tiles(tiles, train), [row["class"] for row in train])
    structure = {one.name: judges.structure(one.tiles, one.classes) for one in groups}
    found = {
        "model": bundle.fingerprint,
        "preset": preset,
        "tiles": {one.name: len(one.tiles) for one in groups},
        "structure": structure,
        "share_of_real": _share_of_real(structure),
        "lymphocytes": _more_nuclei(made.get("lymphocytes", {})),
    }
    write_bytes(output / "score.json", json.dumps(found, indent=1).encode())
    text = _compose(found)
    write_bytes(output / "score.md", text.encode())
    return text


def class_rows(
    rows: Sequence[Row],
    num: int,
    unseen: Mapping[str, Sequence[str]] | None = None,
    *,
    classes: Sequence[str] = CLASSES,
) -> Iterator[dict[str, Any]]:
    """Rows of a manifest: ``num`` images a class from captions of rows, or in unseen wording.

    Args:
        rows: with their class.
        num: images of a class.
        unseen: label -> prompts that training never saw, which take the place of captions.
        classes: in their order.
    """
    kind = "score" if unseen is None else "unseen"
    for name in classes:
        members = [row for row in rows if row["class"] == name]
        for index in range(num if members else 0):
            row = members[index % len(members)]
            texts = [caption_of(row)] if unseen is None else list(unseen.get(row["label"], ()))
            if texts := [text for text in texts if says_power(text)] or texts:
                key, seed = name.replace(" ", "-"), seed_from(kind, name, index)
                prompt = texts[index % len(texts)]
                known = {"label": row["label"], "shows": name}
                yield {"id": f"{key}-{index:03d}", "prompt": prompt, "seed": seed, **known}


def shuffled(group: Group) -> Group:
    """The same tiles under the classes of others, drawn at random."""
    order = np.random.default_rng(0).permutation(len(group.tiles))
    classes = [group.classes[k] for k in order]
    return Group("generated, shuffled prompts (control)", group.tiles, classes)


def controls_of(real: Group, training: Tiles, training_classes: Sequence[str]) -> list[Group]:
    """Colour only, blurred and phase-scrambled tiles with the classes of real ones."""
    coloured = np.empty_like(real.tiles)
    classes, learnt = np.asarray(real.classes), np.asarray(training_classes)
    for number, name in enumerate(sorted(set(real.classes))):
        mine = np.flatnonzero(classes == name)
        coloured[mine] = color_statistics_generator(
            training[learnt == name], len(mine), seed=number
        )
    soft = [blur(real.tiles[k : k + 16], BLUR) for k in range(0, len(real.tiles), 16)]
    controls = {
        "colour statistics only (control)": coloured,
        f"real, blurred {BLUR:g} px (control)": np.concatenate(soft),
        "real, phase-scrambled (control)": phase_scramble(real.tiles),
    }
    return [replace(real, name=name, tiles=tiles) for name, tiles in controls.items()]


def _share_of_real(structure: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Task -> chance-corrected accuracy of the generated tiles over that of real held-out ones."""
    made, real = structure[GENERATED], structure[REAL]
    return {
        task: made[task]["corrected"] / real[task]["corrected"]
        for task in TASKS
        if task in made and task in real and real[task]["corrected"] > 0
    }


def _more_nuclei(made: Mapping[str, Tiles]) -> dict[str, float]:
    """Whether tiles asked for with many lymphocytes hold more nuclei than those of one noise."""
    say("score: nuclei")
    segment = open_segmenter("mini")
    counts = {name: count_nuclei(segment(tile)) for name, tile in made.items()}
    many, few = (
        np.array([count for name, count in counts.items() if name.startswith(level)])
        for level in ("many", "few")
    )
    return {
        "pairs": len(many),
        "with_more": float((many > few).mean()),
        "many": float(many.mean()),
        "few": float(few.mean()),
    }


def _compose(found: Mapping[str, Any]) -> str:
    """The table for people."""
    rows = [
        [name, found["tiles"][name]]
        + [f"{one[task]['corrected']:.2f}" if task in one else "–" for task in TASKS]
        for name, one in found["structure"].items()
    ]
    shown = ", ".join(f"{task} {share:.2f}" for task, share in found["share_of_real"].items())
    cells = found["lymphocytes"]
    lines = [
        *table(["", "tiles", *TASKS], rows),
        "",
        "Structure: chance-corrected balanced accuracy on grey tiles of one mean and contrast.",
        f"Generated over real held-out: {shown}.",
        f"Asked for with many lymphocytes: more nuclei in {cells['with_more']:.0%} of "
        f"{cells['pairs']} pairs of one noise ({cells['many']:.1f} against {cells['few']:.1f}).",
        "Distances, wording and nearest training tiles: evaluation/report.html.",
    ]
    return "\n".join(lines) + "\n"
