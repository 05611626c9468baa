"""What people look at: the sheet of pictures before and after, and the page around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import load_manifest, write_bytes
from crafts.core.page import Level, Stat, Verdict, data_uri, number, render_page
from crafts.generation.export import contact_sheet, read_provenance, save_png
from crafts.generation.writer import shared_provenance
from crafts.workflows.finetuning.judge import Judged
from crafts.workflows.finetuning.tiles import Tiles, kind_of

ROWS, EACH = 6, 2  # of the sheet, and pictures of each side in a row
_CELL = 160
_SIDES = ("before", "after")
_LEVELS: Mapping[str, Level] = {"improved": "good", "worse": "bad"}


def write_sheet(tiles: Tiles, kinds: Sequence[str], output: Path, *, size: int) -> None:
    """``sheet.png``: in a row two pictures before, two after, two real tiles of a class.

    Args:
        tiles: packed tiles of the user.
        kinds: what each picture shows, in the order of the pictures.
        output: of the run, with ``before/`` and ``after/``.
        size: of the model in pixels.
    """
    files = [sorted((output / side / "images").glob("*.png")) for side in _SIDES]
    images: list[Image.Image] = []
    captions: list[str] = []
    for kind, turn in _rows(kinds):
        chosen = [i for i, name in enumerate(kinds) if name == kind]
        for side, paths in zip(_SIDES, files, strict=True):
            for place in range(turn * EACH, (turn + 1) * EACH):
                images.append(_open(paths[chosen[place % len(chosen)]]))
                captions.append(f"{side}: {kind}")
        real = _real(tiles, kind, size)
        images += [real[place % len(real)] for place in range(turn * EACH, (turn + 1) * EACH)]
        captions += [f"real: {kind}"] * EACH
    sheet = contact_sheet(images, captions, columns=3 * EACH, cell=_CELL)
    made = [read_provenance(path) for path in files[1]]
    provenance = replace(shared_provenance(made), request="")
    save_png(sheet, output / "sheet.png", provenance)


def _rows(kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Classes of the rows, in turn while they have pictures that were not shown yet."""
    names = sorted(set(kinds))
    turns = -(-ROWS // len(names))
    rows = [(name, turn) for turn in range(turns) for name in names]
    return [row for row in rows if row[1] * EACH < kinds.count(row[0])][:ROWS]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _real(tiles: Tiles, kind: str, size: int) -> list[Image.Image]:
    """Real tiles of a class, held-out ones before others."""
    order = [*tiles.of_split(tiles.judged), *tiles.of_split("train")]
    found = [i for i in order if kind_of(tiles.rows[i]) == kind][: ROWS * EACH]
    return [Image.fromarray(pixels) for pixels in tiles.images(found, size)]


def write_report(output: Path, judged: Judged, *, copies: int, prompts: Mapping[str, str]) -> None:
    """``report.html``: the verdict, the sheet, and how to go on.

    Args:
        output: of the run, with ``sheet.png``.
        judged: by held-out tiles.
        copies: of the user's tiles among the pictures after.
        prompts: label -> prompt of the training tiles.
    """
    plan = json.loads((output / "plan.json").read_text(encoding="utf-8"))
    level = "bad" if copies else _LEVELS.get(judged.verdict, "warn")
    headline, _, numbers = judged.says.partition(" (")
    found = f"{copies} of {judged.images} pictures after are copies of your tiles."
    warnings = ("Copies: train on more tiles or for fewer minutes.",) if copies else ()
    facts = [
        ("Steps", plan["num_steps"]),
        ("Licence of the new weights", load_manifest(output / "model").extra["licence"]),
        *((f"Prompt of {label}", text) for label, text in prompts.items()),
    ]
    values = {
        "subject": f"{judged.tiles} held-out tiles of {judged.groups} patients or tiles.",
        "verdict": Verdict(level, headline, (f"({numbers}" if numbers else "", found), warnings),
        "stats": _stats(judged),
        "sheet": data_uri(output / "sheet.png", edge=1100, synthetic=True),
        "facts": facts,
    }
    write_bytes(output / "report.html", render_page("workflows/finetune.html", values).encode())


def _stats(judged: Judged) -> list[Stat]:
    """Distances first, then the loss, each beside what to hold it against."""
    found = []
    for title, one in (
        ("Distance of pictures", judged.colour_and_structure),
        ("Distance without colour", judged.structure),
    ):
        if one is not None:
            note = f"{number(one.before)} before; real training tiles {number(one.floor)}"
            found.append(Stat(title, number(one.after), note))
    if judged.loss_fell is not None:
        note = f"{number(judged.loss_before)} before; fell on {judged.loss_fell} of {judged.tiles}"
        found.append(Stat("Loss of held-out tiles", number(judged.loss_after), note))
    return found
