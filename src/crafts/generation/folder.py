"""The output folder of a run: what may stand there, what is done, what lies beside the images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import sha256_file, write_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.runtime import say
from crafts.generation.controls import Steering
from crafts.generation.export import Provenance, contact_sheet, read_provenance, save_png
from crafts.generation.plan import Item
from crafts.sampling.control import render_map

GRID_IMAGES = 48

COLUMNS = (
    "file_name",
    "text",
    "id",
    "seed",
    "k",
    "negative_prompt",
    "guidance_scale",
    "num_steps",
    "preset",
    "cut",
    "sha256",
    "mpp",
)


@dataclass(frozen=True)
class Made:
    """One image file that lies in the output folder."""

    item: Item
    sha256: str
    cut: str


def find_image(output: Path, item: Item) -> Made | None:
    """The finished image of an item, if it lies there whole and was made from the same request."""
    path = output / item.name
    if not path.exists():
        return None
    try:
        provenance = read_provenance(path)
    except DataError:  # cut short or not ours under our name: made again
        return None
    if replace(provenance, cut="") != item.provenance:
        return None
    return Made(item, sha256_file(path), provenance.cut)


def remove_stale(output: Path, names: set[str]) -> None:
    """Take away images of other requests; what we did not make is not ours to delete.

    Raises:
        ConfigError: a file that does not come from us lies among the images.
    """
    stale = [
        path for path in sorted((output / "images").iterdir()) if f"images/{path.name}" not in names
    ]
    for path in stale:
        if not path.name.startswith("."):
            try:
                read_provenance(path)
            except DataError:
                raise ConfigError(
                    str(path),
                    came="a file that crafts did not make, among its images",
                    allowed="a folder of its own for the images",
                    do="Move the file away and run again.",
                ) from None
        path.unlink()
    if stale:
        say(f"generate: {len(stale)} files of earlier requests removed from {output / 'images'}")


def write_metadata(path: Path, made: Sequence[Made], masks: Mapping[str, str]) -> None:
    """One row a file; ``file_name`` and ``text`` make it a Hugging Face imagefolder.

    Args:
        path: of the table.
        made: its rows.
        masks: image -> its mask; the column ``mask``, which ``pack`` reads, is there with any.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, "mask"] if masks else COLUMNS)
    for entry in made:
        item, draw, facts = entry.item, entry.item.draw, entry.item.provenance
        writer.writerow(
            [item.name, draw.prompt, item.row_id, draw.seed, draw.k, draw.negative_prompt,
             draw.guidance_scale, facts.num_steps, facts.preset, entry.cut, entry.sha256,
             "unknown" if facts.mpp is None else facts.mpp,
             *([masks.get(item.name, "")] if masks else [])]
        )  # fmt: skip
    write_bytes(path, buffer.getvalue().encode())


def write_grid(output: Path, made: Sequence[Made], steering: Steering, common: Provenance) -> None:
    """The contact sheet of the first images, each after its control maps, with prompts below.

    Args:
        output: folder with ``images/``.
        made: images of the run.
        steering: knows the maps.
        common: what all images share.
    """
    shown = made[:GRID_IMAGES]
    if not shown:
        (output / "grid.png").unlink(missing_ok=True)  # of an earlier request
        return
    images: list[Image.Image] = []
    captions: list[str] = []
    for entry in shown:
        for use in entry.item.draw.controls:
            images.append(Image.fromarray(render_map(steering.map(use))))
            captions.append(f"{use.kind} ({Path(use.source).name})")
        with Image.open(output / entry.item.name) as image:
            images.append(image.convert("RGB"))
        captions.append(entry.item.draw.prompt)
    cells = 1 + max(len(entry.item.draw.controls) for entry in shown)
    sheet = contact_sheet(images, captions, columns=cells * max(1, 4 // cells))
    prompts = dict.fromkeys(entry.item.draw.prompt for entry in shown)
    save_png(sheet, output / "grid.png", replace(common, prompt="\n".join(prompts), mpp=None))
