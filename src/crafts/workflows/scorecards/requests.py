"""Images that a model is asked for when it is scored."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts import api
from crafts.captions.prompts import TileFields, compose
from crafts.core.artifacts import Manifest, write_bytes
from crafts.core.runtime import seed_from
from crafts.sets.features import read_image


def lymphocyte_rows(num: int) -> Iterator[dict[str, Any]]:
    """Pairs of one noise and one sentence shape, asked for with many and with few lymphocytes."""
    for index in range(num):
        for level in ("many", "few"):
            tile = TileFields(organ="colon", power="high", cells={"lymphocyte": level})
            draws = (random.Random(seed_from("lymphocytes", index, k)) for k in range(1000))
            texts = (compose(tile, draw) for draw in draws)
            prompt = next(text for text in texts if "lymphocyt" in text.lower())
            seed = seed_from("lymphocytes", index)
            yield {"id": f"{level}-{index:03d}", "prompt": prompt, "seed": seed}


def make_images(
    rows: Sequence[Mapping[str, Any]], output: Path, model: str, options: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.uint8]], Manifest]:
    """Make the images of a manifest that are not there yet; a stopped run goes on.

    Args:
        rows: of the manifest, all with the same columns.
        output: of ``crafts generate``; the manifest stands beside it.
        model: as ``crafts generate`` takes it.
        options: of ``crafts generate``.

    Returns:
        id -> tile, and the manifest of the run.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f"{output.name}-requests.csv")
    write_bytes(path, buffer.getvalue().encode())
    values = {"manifest": path, "model": model, "same_noise": True, **options}
    made = api.generate(values, output)
    files = [Path(entry["file"]) for entry in made.extra["images"]]
    return {path.stem.removesuffix("-0"): read_image(output / path) for path in files}, made
