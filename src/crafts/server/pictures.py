"""Finished pictures of a job, as they lie in its folder."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import sha256_file
from crafts.core.errors import DataError
from crafts.generation.export import read_provenance
from crafts.server.store import Job, Store

_NAME = re.compile(r"\d{3,6}-\d{1,6}(-[\d.]{1,12}mpp)?")


def count_pictures(place: Path, kind: str) -> int:
    """Pictures that a data set has so far; 0 of other kinds of jobs."""
    folder = place / "out" / "generated" / "images"
    return sum(1 for _ in folder.glob("*.png")) if kind == "dataset" and folder.is_dir() else 0


def note_pictures(store: Store, job: Job, folder: Path) -> int:
    """Note every finished picture that the database does not know yet; returns how many there are.

    A stage writes each file in one step, so what has a name is whole.
    """
    known = store.pictures(job.id)
    for path in sorted((folder / "images").glob("*.png"), key=lambda path: path.stat().st_mtime):
        if path.stem in known or not _NAME.fullmatch(path.stem):
            continue
        try:
            provenance = read_provenance(path)
        except DataError:  # made again by the stage itself
            continue
        with Image.open(path) as image:
            width, height = image.size
        facts = {
            "seed": provenance.seed,
            "k": provenance.k,
            "prompt": provenance.prompt,
            "width": width,
            "height": height,
            "sha256": sha256_file(path),
            "provenance": asdict(provenance),
        }
        known[path.stem] = facts
        store.add_picture(job.id, path.stem, facts)
    return len(known)
