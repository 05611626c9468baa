"""What training samples are told: one of their captions, and where and how large they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crafts.training.order import choice, uniform
from crafts.training.sources import crop_place


def choose_wording(row: Mapping[str, Any], *, seed: int, position: int) -> str:
    """The caption that sample ``position`` sees: one of the row's ``captions``, or its ``text``."""
    wordings = row.get("captions") or [row.get("text", "")]
    return str(wordings[choice(seed, "wording", position, len(wordings))])


def conditions_of(
    row: Mapping[str, Any],
    *,
    cells: int,
    crop: int | None,
    pixels: int,
    dropout: float,
    seed: int,
    position: int,
) -> dict[str, list[float]]:
    """What sample ``position`` is told beside its text; NaN: nothing.

    Args:
        row: of the tile; its column ``field`` holds the microns that the tile is wide, or "".
        cells: width of the tile's latents.
        crop: width of the crop of them that is shown; None: the whole.
        pixels: width of the tile as the codec saw it.
        dropout: share of samples that are not told, each kind by itself.
        seed: of the run.
        position: global sample index.

    Returns:
        The numbers of each kind, see :data:`crafts.model.config.ConditionKind`.
    """
    region = [0.0, 0.0, 1.0]
    if crop is not None:
        top, left = crop_place(cells, cells, crop, seed=seed, position=position)
        region = [left / cells, top / cells, crop / cells]
    field = str(row.get("field") or "")
    known = {"scale": [float(field) / pixels if field else math.nan], "region": region}
    return {
        kind: [math.nan] * len(numbers)
        if uniform(seed, f"condition {kind}", position) < dropout
        else numbers
        for kind, numbers in known.items()
    }
