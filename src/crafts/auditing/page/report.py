"""The page of an audit: verdict first, then the pairs, then how thresholds and attacks came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crafts.auditing import results as found
from crafts.auditing.page import tables
from crafts.auditing.page.verdict import ATTACKS, compose_stats, compose_verdict
from crafts.core.artifacts import write_bytes
from crafts.core.page import Level, Pair, number, render_page
from crafts.report.facts import OpenTile, filled_sections, known_facts, set_fact
from crafts.report.figures import EDGE, Strip, build_strip, draw_histogram, tile_picture

MAX_PAIRS = 48
"""Pairs shown of each verdict; the others stand in ``copies.csv``."""

LEAST_PAIRS = 12
"""Pairs that a page shows in any case: where fewer were found, the nearest of the others follow."""

_WHOLE = 0.97  # a part this large, or that near to every edge, is the whole tile
_SECTIONS = (
    ("notes", "Before you read"),
    ("copies", "Copies"),
    ("near", "Near pairs"),
    ("nearest", "Nearest of the rest"),
    ("calibration", "Thresholds"),
    ("membership", "Membership"),
    ("extraction", "Extraction"),
    ("leaks", "Real look-alikes"),
    ("facts", "Facts"),
    ("reading", "How to read this page"),
)


def write_report(
    results: found.Results,
    path: Path,
    *,
    verdicts: Sequence[found.TileVerdict] = (),
    heldout: Sequence[found.TileVerdict] = (),
    open_tile: OpenTile | None = None,
) -> None:
    """Write one self-contained HTML file.

    Args:
        results: what was found; sections without results are left out.
        path: of the page.
        verdicts: of the generated tiles, in any order; the pairs and charts are made from them.
        heldout: of the held-out tiles, for the charts.
        open_tile: opens tiles; no pictures when None. Pairs it cannot open are left out.

    Raises:
        RetryError: the disk is full.
    """
    values = report_values(results, verdicts, heldout=heldout, open_tile=open_tile)
    write_bytes(path, render_page("auditing/report.html", values).encode())


def report_values(
    results: found.Results,
    verdicts: Sequence[found.TileVerdict],
    *,
    heldout: Sequence[found.TileVerdict],
    open_tile: OpenTile | None,
) -> dict[str, Any]:
    """All that the template names; what there is nothing to say of is empty."""
    tile = open_tile or (lambda *_: None)
    copied = sorted(
        (one for one in verdicts if one.verdict == "copy"),
        key=lambda one: (-(one.correlation or 0.0), one.name),
    )
    near = sorted(
        (one for one in verdicts if one.verdict == "near"),
        key=lambda one: (one.ratio if one.ratio is not None else 9.0, one.name),
    )
    drawn = results.extraction.verdicts if results.extraction else []
    values: dict[str, Any] = {
        "subject": _subject(results),
        "verdict": compose_verdict(results),
        "stats": compose_stats(results),
        "notes": results.notes,
        "kinds": tables.kinds_table(results),
        "copies": copy_pairs(copied[:MAX_PAIRS], "generated", tile),
        "num_copies": len(copied),
        "near": near_pairs(near[:MAX_PAIRS], tile),
        "num_near": len(near),
        "nearest": near_pairs(nearest(verdicts, LEAST_PAIRS - len(copied) - len(near)), tile),
        "nearest_limit": results.copies.ratio_threshold,
        "calibration": calibration(results, verdicts, heldout),
        "heldout_shown": bool(heldout),
        "thresholds": tables.thresholds_table(results),
        "membership": tables.membership_table(results),
        "strips": membership_strips(results),
        "extraction": tables.extraction_table(results),
        "drawn": copy_pairs(drawn[:MAX_PAIRS], "extracted", tile),
        "leaks": copy_pairs(results.copies.leaks[:MAX_PAIRS], "heldout", tile),
        "num_leaks": results.copies.heldout.count if results.copies.heldout else 0,
        "facts": build_facts(results),
    }
    always = ("copies", "reading")
    return {**values, "sections": filled_sections(_SECTIONS, values, always=always)}


def _subject(results: found.Results) -> str:
    sets = {item.name: item for item in results.sets}
    words = {"generated": "generated tiles", "train": "training tiles", "heldout": "held-out tiles"}
    parts = [
        f"{sets[name].used:,} {word}"
        + (f" of {sets[name].groups:,} patients" if sets[name].groups else "")
        + f" ({sets[name].folder})"
        for name, word in words.items()
        if name in sets
    ]
    return "; ".join(parts) + "."


def copy_pairs(verdicts: Sequence[found.TileVerdict], side: str, open_tile: OpenTile) -> list[Pair]:
    """Tiles beside the training tile that their structure comes from, the part framed."""
    pairs = []
    what = {"generated": "generated", "extracted": "drawn", "heldout": "held-out"}[side]
    for one in verdicts:
        left, right = open_tile(side, one.name), open_tile("train", one.source)
        if left is None or right is None:
            continue
        facts = [f"correlation {one.correlation:.2f}" if one.correlation is not None else ""]
        if one.overlap is not None and one.overlap < _WHOLE:
            facts.append(f"{number(one.overlap, percent=True)} of the tile")
        reason = "; ".join(part for part in (one.how, *facts) if part)
        level: Level = "warn" if side == "heldout" else "bad"
        alt = f"{what} tile {one.name}"
        picture = tile_picture(left, alt, what, one.name, synthetic=side != "heldout")
        source = frame_source(left, right, one)
        alt = f"training tile {one.source}; {one.how or 'the same structure'}"
        match = tile_picture(source, alt, "training", one.source)
        pairs.append(Pair(picture, match, one.kind or "copy", reason, level))
    return pairs


def frame_source(
    tile: NDArray[np.uint8], source: NDArray[np.uint8], verdict: found.TileVerdict
) -> Image.Image:
    """The training tile with a frame around the part that the tile shows.

    Args:
        tile: uint8 [H, W, 3], the tile that was judged.
        source: uint8 [H, W, 3], the training tile.
        verdict: its ``matrix`` and ``shift`` place one in the other.
    """
    image = Image.fromarray(source).convert("RGB")
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    half = np.array(tile.shape[:2]) / (2 * min(tile.shape[:2]))
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * half
    placed = corners @ np.array(verdict.matrix).reshape(2, 2).T + np.array(verdict.shift)
    size = np.array([image.height, image.width])
    inside = np.clip(placed * min(image.size) + size / 2, 1, size - 2)
    if (np.minimum(inside, size - inside) < EDGE * (1 - _WHOLE)).all():
        return image
    points = [(float(column), float(row)) for row, column in inside]
    pen = ImageDraw.Draw(image)
    # two tones, so that the frame is seen on any stain
    pen.line([*points, points[0]], fill=(20, 20, 20), width=5)
    pen.line([*points, points[0]], fill=(255, 221, 51), width=2)
    return image


def nearest(verdicts: Sequence[found.TileVerdict], number: int) -> list[found.TileVerdict]:
    """The unmarked tiles that lie nearest to a training tile, the nearest first.

    By the ratio where all have one, else by the distance; they show what passed just so.
    """
    rest = [one for one in verdicts if one.verdict in ("clear", "plain") and one.neighbour]
    by_ratio = all(one.ratio is not None for one in rest)

    def rank(one: found.TileVerdict) -> tuple[float, str]:
        value = one.ratio if by_ratio else one.distance
        return (np.inf if value is None else value), one.name

    return sorted(rest, key=rank)[: max(number, 0)]


def near_pairs(verdicts: Sequence[found.TileVerdict], open_tile: OpenTile) -> list[Pair]:
    """Tiles beside their nearest training tile in the features."""
    pairs = []
    for one in verdicts:
        left, right = open_tile("generated", one.name), open_tile("train", one.neighbour)
        if left is None or right is None:
            continue
        ratio = f"ratio {number(one.ratio)}: " if one.ratio is not None else ""
        reason = f"{ratio}cosine distance {number(one.distance)} to this training tile"
        marked = one.verdict == "near"
        if one.correlation is not None and not marked:
            # of the training tile that is most alike in structure, which may be another one
            reason += f"; highest correlation of structure {one.correlation:.2f}"
        made = f"generated tile {one.name}"
        pictures = (
            tile_picture(left, made, "generated", one.name, synthetic=True),
            tile_picture(right, f"training tile {one.neighbour}", "training", one.neighbour),
        )
        pairs.append(Pair(*pictures, one.verdict, reason, "warn" if marked else "plain"))
    return pairs


def calibration(
    results: found.Results,
    verdicts: Sequence[found.TileVerdict],
    heldout: Sequence[found.TileVerdict],
) -> list[tuple[str, str]]:
    """Charts with a caption each: where generated and real tiles lie, and the threshold."""
    part = results.copies
    charts = []
    wanted = [("correlation", "Likeness in structure", part.correlation_threshold, "above")]
    if part.ratio_threshold:
        title = "Distance to training over distance to held-out tiles"
        wanted.append(("ratio", title, part.ratio_threshold, "below"))
    for name, title, threshold, side in wanted:
        sets = {
            role: values
            for role, rows in (("real", heldout), ("generated", verdicts))
            if (values := [v for one in rows if (v := getattr(one, name)) is not None])
        }
        caption = f"{title}: marked {side} {number(threshold.value)}"
        if name == "correlation" and part.whole_threshold:
            caption += f" (edge on edge: above {number(part.whole_threshold.value)})"
        if sets:
            charts.append((caption, draw_histogram(sets, title, threshold.value, name=name)))
    return charts


def membership_strips(results: found.Results) -> list[Strip]:
    """Each attack as a line from 0 to 1 with chance drawn in."""
    return [
        build_strip(
            f"AUC {ATTACKS[attack.name]}",
            {
                "real": ("chance", 0.5, 0.0),
                "generated": ("attack", attack.auc, (attack.auc_high - attack.auc_low) / 2),
            },
            top=1.0,
        )
        for attack in results.membership
    ]


def build_facts(results: found.Results) -> list[tuple[str, str]]:
    """What somebody needs to repeat the numbers."""
    facts = known_facts("Encoder", results.encoder) + known_facts("Model", results.model)
    facts += [set_fact(item, "patients") for item in results.sets]
    allowed = results.fail_above
    limit = "any" if allowed is None else number(allowed, percent=True)
    facts += [("Share of copies allowed", limit), ("Seed", str(results.seed))]
    return [(name, value) for name, value in facts if value]
