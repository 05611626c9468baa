"""Blocks of a slide into its folder of tiles, and all slides into tables and coordinates."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crafts.core.artifacts import replace_folder, write_bytes
from crafts.core.parsing import parse_json
from crafts.core.tables import csv_row_writer
from crafts.slides.grid import View
from crafts.slides.reading.resolution import SlideReadError
from crafts.slides.siting.coordinates import clam_attributes, trident_attributes, write_coordinates
from crafts.slides.siting.regions import load_mask, trace_areas, write_regions
from crafts.slides.work import PLAN, UNREADABLE, SlideJob, block_name

TILES, SLIDE = "tiles", "slide.json"
FOLDERS = "trident", "clam", "tissue"  # of one file or two a slide
COLUMNS = (
    "file_name", "slide", "patient", "x", "y", "extent", "level", "mpp", "mpp_source", "tissue",
    "region", "imaging", "channels", "stain_refused", "sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A slide whose tiles lie in the output.

    Attributes:
        name: of the slide.
        key: hash of the slide and of all that decides its tiles.
        facts: size, resolution and its source, reader, view, grid, tissue, notes.
        size: edge of a tile in pixels.
        overlap: of neighbours in pixels.
        rows: of its tiles: file name, x, y, tissue, region, bytes, sha256, and why it kept its own
            colours.
        rejects: x, y and reason of the tiles that were dropped.
        num_listed: tiles with tissue in the grid.
        stain_refused: tiles left in their own colours, by reason.
        mask: PNG of its tissue in base64; "" where tissue was not looked for.
    """

    name: str
    key: str
    facts: Mapping[str, Any]
    size: int
    overlap: int
    rows: Sequence[Mapping[str, Any]]
    rejects: Sequence[tuple[int, int, str]]
    num_listed: int
    stain_refused: Mapping[str, int]
    mask: str

    @property
    def num_unreadable(self) -> int:
        """Tiles that could not be read; the slide is partial where there are any."""
        return sum(reason.startswith(UNREADABLE) for _, _, reason in self.rejects)

    @property
    def num_tiles(self) -> int:
        """Tiles that were kept."""
        return len(self.rows)


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan that a process left."""
    plan: dict[str, Any] = json.loads((folder / PLAN).read_bytes())
    return plan


def collect(job: SlideJob, key: str, starts: Sequence[int]) -> Finished:
    """Join the blocks of a slide.

    Raises:
        SlideReadError: there is tissue, but not one region could be read.
    """
    plan = read_plan(job.folder)
    rows: list[Any] = []
    rejects: list[Any] = list(plan["rejects"])
    for start in starts:
        block = json.loads((job.folder / block_name(start)).read_bytes())
        rows += block["rows"]
        rejects += block["rejects"]
    refused = Counter(row["stain_refused"] for row in rows if row["stain_refused"])
    if not rows and any(reason.startswith(UNREADABLE) for _, _, reason in rejects):
        raise SlideReadError(
            str(job.path),
            came=f"no region of it can be read ({rejects[-1][2]})",
            allowed="a whole slide",
            do="Copy it again or leave it out.",
        )
    return Finished(
        name=job.name,
        key=key,
        facts=plan["slide"] | {"mapping": plan["mapping"], "stain": plan["stain"]},
        size=job.config.size,
        overlap=job.config.overlap,
        rows=rows,
        rejects=sorted(rejects, key=lambda reject: (reject[1], reject[0])),
        num_listed=len(plan["tiles"]) + len(plan["rejects"]),
        stain_refused=dict(sorted(refused.items())),
        mask=plan["mask"],
    )


def publish(finished: Finished, folder: Path, output: Path) -> None:
    """Write ``slide.json`` last and give the folder of a slide its place."""
    for path in (folder / PLAN, *folder.glob("block-*.json")):
        path.unlink()
    write_bytes(folder / SLIDE, json.dumps(vars(finished), ensure_ascii=False).encode())
    replace_folder(folder, output / TILES / finished.name)


def find_finished(folder: Path, key: str) -> Finished | None:
    """A slide that an earlier run finished from the same slide and configuration, and whole."""
    try:
        found = Finished(**parse_json((folder / SLIDE).read_bytes()))
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    except (OSError, ValueError, TypeError):
        return None
    sizes.pop(SLIDE)
    if found.key != key or sizes != {row["name"]: row["size"] for row in found.rows}:
        return None
    return found


def write_listing(output: Path, slides: Sequence[Finished], patients: Mapping[str, str]) -> None:
    """Write ``metadata.csv``, ``slides.jsonl``, coordinates and tissue of all slides."""
    buffer = io.StringIO(newline="")
    writer = csv_row_writer(buffer, COLUMNS)
    for slide in slides:
        writer.writerows(_metadata(slide, patients[slide.name], row) for row in slide.rows)
    write_bytes(output / "metadata.csv", buffer.getvalue().encode())
    lines = [json.dumps(_summary(slide, patients[slide.name])) + "\n" for slide in slides]
    write_bytes(output / "slides.jsonl", "".join(lines).encode())
    for folder in FOLDERS:
        shutil.rmtree(output / folder, ignore_errors=True)
        (output / folder).mkdir()
    for slide in slides:
        _write_coordinates(output, slide)
        _write_tissue(output / "tissue", slide)


def _metadata(slide: Finished, patient: str, row: Mapping[str, Any]) -> dict[str, Any]:
    facts = slide.facts
    return {
        "file_name": f"{TILES}/{slide.name}/{row['name']}",
        "slide": slide.name,
        "patient": patient,
        "x": row["x"],
        "y": row["y"],
        "extent": round(facts["grid"]["extent"][0]),
        "level": facts["view"]["level"],
        "mpp": f"{facts['view']['mpp'][0]:.6g}",
        "mpp_source": facts["mpp_source"],
        "tissue": "" if row["tissue"] is None else row["tissue"],
        "region": row["region"],
        "imaging": facts["imaging"],
        "channels": "|".join(_shown(facts)),
        "stain_refused": row.get("stain_refused", ""),
        "sha256": row["sha256"],
    }


def _shown(facts: Mapping[str, Any]) -> list[str]:
    """Names of what is red, green and blue in the tiles; "" for black, none after the last."""
    names = facts["channels"]
    shown = facts.get("shown")
    if shown is None:
        return list(names)
    found = [names[channel] if channel >= 0 else "" for channel in shown]
    while found and not found[-1]:
        found.pop()
    return found


def _summary(slide: Finished, patient: str) -> dict[str, Any]:
    return {
        "slide": slide.name,
        "patient": patient,
        "listed": slide.num_listed,
        "used": slide.num_tiles,
        "rejected": len(slide.rejects),
        "unreadable": slide.num_unreadable,
        "stain_refused": slide.stain_refused,
        **slide.facts,
    }


def _write_coordinates(output: Path, slide: Finished) -> None:
    facts = slide.facts
    whole = facts["width"], facts["height"]
    view = View.from_json(facts["view"])
    coords = np.array([(row["x"], row["y"]) for row in slide.rows], np.int64).reshape(-1, 2)
    write_coordinates(
        output / "trident" / f"{slide.name}_patches.h5",
        coords,
        trident_attributes(
            slide.name,
            slide=whole,
            mpp=facts["mpp_x"],
            view=view,
            size=slide.size,
            overlap=slide.overlap,
        ),
    )
    level_size = tuple(facts["level_sizes"][view.level])
    write_coordinates(
        output / "clam" / f"{slide.name}.h5",
        coords,
        clam_attributes(slide.name, slide=whole, level_size=level_size, view=view, size=slide.size),
    )


def _write_tissue(folder: Path, slide: Finished) -> None:
    """The mask as it is, and its outlines for QuPath; either can be handed back as regions."""
    if not slide.mask:
        return
    path = folder / f"{slide.name}.png"
    write_bytes(path, base64.b64decode(slide.mask))
    tissue = load_mask(path, (slide.facts["width"], slide.facts["height"]))
    areas = trace_areas(tissue.mask, tissue.pixel, name="Tissue")
    write_regions(folder / f"{slide.name}.geojson", areas)
