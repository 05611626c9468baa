"""The output folder of a run: what may stand there, what is done, what lies beside the images."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import sha256_file, write_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.runtime import say
from crafts.generation.export import Provenance, contact_sheet, read_provenance, save_png
from crafts.generation.plan import Item

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


def write_metadata(path: Path, made: Sequence[Made]) -> None:
    """One row a file; ``file_name`` and ``text`` make it a Hugging Face imagefolder."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in made:
        item, draw, facts = entry.item, entry.item.draw, entry.item.provenance
        writer.writerow(
            [item.name, draw.prompt, item.row_id, draw.seed, draw.k, draw.negative_prompt,
             draw.guidance_scale, facts.num_steps, facts.preset, entry.cut, entry.sha256]
        )  # fmt: skip
    write_bytes(path, buffer.getvalue().encode())


def write_grid(output: Path, made: Sequence[Made], common: Provenance) -> None:
    """The contact sheet of the first images, with their prompts as captions."""
    shown = made[:GRID_IMAGES]
    if not shown:
        (output / "grid.png").unlink(missing_ok=True)  # of an earlier request
        return
    images = []
    for entry in shown:
        with Image.open(output / entry.item.name) as image:
            images.append(image.convert("RGB"))
    sheet = contact_sheet(images, [entry.item.draw.prompt for entry in shown])
    prompts = dict.fromkeys(entry.item.draw.prompt for entry in shown)
    save_png(sheet, output / "grid.png", replace(common, prompt="\n".join(prompts), mpp=None))
