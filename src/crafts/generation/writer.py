"""The output folder of a run: what may stand there, what is done, what lies beside the images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from crafts.conditions.condition import Condition
from crafts.conditions.maps import render_map
from crafts.conditions.steering import Steering
from crafts.controls.masks import save_mask
from crafts.core.artifacts import MANIFEST, load_manifest, sha256_file, write_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import parse_json
from crafts.core.runtime import say
from crafts.core.tables import csv_writer
from crafts.generation.export import (
    VARIOUS,
    Provenance,
    contact_sheet,
    read_provenance,
    save_png,
)
from crafts.generation.manifest import COLUMNS, PromptRow
from crafts.generation.plan import Item, Plan

GRID_IMAGES = 48
ORIGIN = ".made-from.json"


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
    if replace(provenance, cut="", reference_distance=None) != item.provenance:
        return None
    return Made(item, sha256_file(path), provenance.cut)


def begin(output: Path, shard: str | None, folder: str = "images") -> None:
    """Make the folder that of a run that has begun: without a manifest, and with its shard noted.

    Args:
        output: locked for this run.
        shard: K/N; None for all rows.
        folder: that the run will fill.
    """
    write_bytes(output / ORIGIN, json.dumps({"shard": shard}).encode())
    (output / MANIFEST).unlink(missing_ok=True)
    (output / folder).mkdir(exist_ok=True)


def refuse_other_shard(output: Path, shard: str | None) -> None:
    """Refuse a folder, finished or begun, of other rows: their images would be removed.

    A run of all rows may go on in the output of a shard, as that removes none.

    Args:
        output: to be written.
        shard: K/N; None for all rows.

    Raises:
        ConfigError: another shard, or a run without shards, was made there.
    """
    earlier = _shard_of(output)
    if earlier is None or shard is None or earlier == shard:
        return
    raise ConfigError(
        str(output),
        came=f"images of shard {earlier}" if earlier else "images of a run without --shard",
        allowed=f"a folder of its own for shard {shard}",
        do="Give each shard its own --output; no file names clash.",
    )


def _shard_of(output: Path) -> str | None:
    """The shard that a run in this folder made or began; "" is all rows, None is no known run."""
    try:
        return load_manifest(output).config.get("shard") or ""
    except DataError:  # not finished, or damaged
        pass
    try:
        return parse_json((output / ORIGIN).read_bytes())["shard"] or ""
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_other_request(output: Path, plan: Plan, rows: Sequence[PromptRow]) -> None:
    """Refuse a folder with finished images of which a run would keep none.

    Args:
        output: to be written.
        plan: of the run.
        rows: usable rows.

    Raises:
        ConfigError: says how many images would be lost.
    """
    known = {row.id: row for row in rows}
    lost = 0
    for path in sorted((output / "images").glob("*.png")):
        try:
            found = read_provenance(path)
        except DataError:  # cut short, or not ours
            continue
        name = path.stem.removesuffix("mpp").rpartition("-")[0] if path.stem.endswith("mpp") else ""
        row = known.get((name or path.stem).rpartition("-")[0])
        if row and found.k is not None and found.k < plan.limit(row):
            items = plan.items(row, range(found.k, found.k + 1))
            if any(item.provenance.request == found.request for item in items):
                return
        lost += 1
    if lost:
        raise ConfigError(
            str(output),
            came=f"{lost} finished images, none of which this run asks for",
            allowed="a new folder, or one of the same prompts, seed, model and settings",
            do="Choose another --output, or remove the folder if nobody needs the images.",
        )


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


def write_metadata(
    path: Path, made: Sequence[Made], beside: Mapping[str, Mapping[str, str]]
) -> None:
    """One row a file; ``file_name`` and ``text`` make it a Hugging Face imagefolder.

    Further columns of the prompts' manifest follow ours; ``pack`` keeps them, and what the files
    say of their licence and of being synthetic.

    Args:
        path: of the table.
        made: its rows.
        beside: image -> column -> what lies beside it: ``mask``, which ``pack`` reads, and of
            counterfactuals ``before`` and ``changed``. A column is there with any.
    """
    buffer = io.StringIO(newline="")
    writer = csv_writer(buffer)
    extra = list(dict.fromkeys(name for entry in made for name in entry.item.extra))
    files = list(dict.fromkeys(name for columns in beside.values() for name in columns))
    writer.writerow([*COLUMNS, *files, *extra])
    for entry in made:
        item, draw, facts = entry.item, entry.item.draw, entry.item.provenance
        writer.writerow(
            [item.name, draw.prompt, item.row_id, draw.seed, draw.k, draw.negative_prompt,
             draw.guidance_scale, facts.num_steps, facts.preset, entry.cut, entry.sha256,
             "unknown" if facts.mpp is None else facts.mpp, facts.model, facts.licence, "true",
             facts.unknown_words,
             *(beside.get(item.name, {}).get(name, "") for name in files),
             *(item.extra.get(name, "") for name in extra)]
        )  # fmt: skip
    write_bytes(path, buffer.getvalue().encode())


def write_grid(output: Path, made: Sequence[Made], steering: Steering) -> None:
    """The contact sheet of the first images, each after its picture before and its control maps.

    The sheet says in its pixels that it is synthetic, and which words the model does not know.

    Args:
        output: folder with ``images/``.
        made: images of the run.
        steering: knows the maps.
    """
    shown = made[:GRID_IMAGES]
    if not shown:
        (output / "grid.png").unlink(missing_ok=True)  # of an earlier request
        return
    images: list[Image.Image] = []
    captions: list[str] = []
    for entry in shown:
        item = entry.item
        if item.draw.edit is not None and item.draw.edit.before is not None:
            with Image.open(output / "before" / Path(item.name).name) as image:
                images.append(image.convert("RGB"))
            captions.append(f"before: {item.draw.edit.before}")
        for use in steering.maps_of(entry.item.draw.conditions):
            images.append(Image.fromarray(render_map(steering.map(use))))
            captions.append(f"{use.kind} ({Path(use.source).name})")
        with Image.open(output / (entry.item.preview or entry.item.name)) as image:
            images.append(image.convert("RGB"))
        unknown = entry.item.provenance.unknown_words
        note = f"(unknown: {unknown}) " if unknown else ""  # first, as captions are shortened
        captions.append(f"{note}{entry.item.draw.prompt}")
    draws = [entry.item.draw for entry in shown]
    pairs = any(draw.edit is not None and draw.edit.before is not None for draw in draws)
    cells = 1 + pairs + max(len(steering.maps_of(draw.conditions)) for draw in draws)
    footer = f"synthetic - crafts {shown[0].item.provenance.model} - research only"
    sheet = contact_sheet(images, captions, columns=cells * max(1, 4 // cells), footer=footer)
    said = shared_provenance([entry.item.provenance for entry in shown])
    save_png(sheet, output / "grid.png", said)


def shared_provenance(several: Sequence[Provenance]) -> Provenance:
    """What can be said of a sheet of images: all prompts, and of the rest what they share."""
    scales = {one.guidance_scale for one in several}
    controls = {one.control for one in several}
    edits = {one.edit for one in several}
    unknown = (word for one in several for word in one.unknown_words.split(", ") if word)
    return replace(
        several[0],
        prompt="\n".join(dict.fromkeys(one.prompt for one in several)),
        negative_prompt="\n".join(dict.fromkeys(one.negative_prompt for one in several)),
        seed=None,
        k=None,
        mpp=None,
        row="",
        unknown_words=", ".join(dict.fromkeys(unknown)),
        request="",
        reference_distance=None,
        guidance_scale=scales.pop() if len(scales) == 1 else None,
        control=controls.pop() if len(controls) == 1 else VARIOUS,
        edit=edits.pop() if len(edits) == 1 else VARIOUS,
    )


def write_masks(
    output: Path, steering: Steering, images: Mapping[str, Sequence[Condition]]
) -> dict[str, str]:
    """Write the mask of every image that has one; masks of earlier requests are removed.

    Args:
        output: folder with ``images/``.
        steering: of the run.
        images: path of an image in ``output`` -> its controls.

    Returns:
        Path of an image -> path of its mask in ``output``.

    Raises:
        ConfigError: a file that crafts did not make lies among the masks.
    """
    folder, found = output / "masks", {}
    _remove_masks(folder)
    for image, uses in images.items():
        mask = steering.mask(uses)
        if mask is not None:
            folder.mkdir(exist_ok=True)
            name = f"masks/{Path(image).name}"
            save_mask(output / name, mask)
            found[image] = name
    return found


def _remove_masks(folder: Path) -> None:
    paths = sorted(folder.glob("*")) if folder.is_dir() else []
    for path in paths:
        twin = path.with_suffix(".json" if path.suffix == ".png" else ".png")
        if path.suffix not in (".png", ".json") or twin not in paths:
            raise ConfigError(
                str(path),
                came="a file that crafts did not make, among its masks",
                allowed="a folder of its own for the masks",
                do="Move the file away and run again.",
            )
    for path in paths:
        path.unlink()
    if paths:
        folder.rmdir()
