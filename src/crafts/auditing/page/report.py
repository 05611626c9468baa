"""The page of an audit: verdict first, then the pairs, then how thresholds and attacks came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crafts.auditing import results as found
from crafts.auditing.page import tables
from crafts.auditing.page.verdict import ATTACKS, compose_stats, compose_verdict
from crafts.core.artifacts import write_bytes
from crafts.core.page import (
    INK,
    Level,
    Pair,
    Picture,
    Strip,
    build_strip,
    chart,
    data_uri,
    fact_text,
    number,
    render_page,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OpenTile = Callable[[str, str], NDArray[np.uint8] | None]
"""Set (generated, train, heldout, extracted) and name -> pixels uint8 [H, W, 3], or None."""

MAX_PAIRS = 48
"""Pairs shown of each verdict; the others stand in ``copies.csv``."""

LEAST_PAIRS = 12
"""Pairs that a page shows in any case: where fewer were found, the nearest of the others follow."""

_EDGE = 224
_WHOLE = 0.97  # a part this large, or that near to every edge, is the whole tile
_TITLES = {"generated": "Generated tiles", "train": "Training tiles", "heldout": "Held-out tiles"}
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
    verdicts: Sequence[found.Verdict] = (),
    heldout: Sequence[found.Verdict] = (),
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
    verdicts: Sequence[found.Verdict],
    *,
    heldout: Sequence[found.Verdict],
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
    return {**values, "sections": [entry for entry in _SECTIONS if _is_there(entry[0], values)]}


def _is_there(section: str, values: Mapping[str, Any]) -> bool:
    return section in ("copies", "reading") or bool(values[section])


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


def copy_pairs(verdicts: Sequence[found.Verdict], side: str, open_tile: OpenTile) -> list[Pair]:
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
        picture = Picture(
            data_uri(left, edge=_EDGE, synthetic=side != "heldout"),
            f"{what} tile {one.name}",
            what,
            one.name,
        )
        source = frame_source(left, right, one)
        alt = f"training tile {one.source}; {one.how or 'the same structure'}"
        match = Picture(data_uri(source, edge=_EDGE), alt, "training", one.source)
        pairs.append(Pair(picture, match, one.kind or "copy", reason, level))
    return pairs


def frame_source(
    tile: NDArray[np.uint8], source: NDArray[np.uint8], verdict: found.Verdict
) -> Image.Image:
    """The training tile with a frame around the part that the tile shows.

    Args:
        tile: uint8 [H, W, 3], the tile that was judged.
        source: uint8 [H, W, 3], the training tile.
        verdict: its ``matrix`` and ``shift`` place one in the other.
    """
    image = Image.fromarray(source).convert("RGB")
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    half = np.array(tile.shape[:2]) / (2 * min(tile.shape[:2]))
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * half
    placed = corners @ np.array(verdict.matrix).reshape(2, 2).T + np.array(verdict.shift)
    size = np.array([image.height, image.width])
    inside = np.clip(placed * min(image.size) + size / 2, 1, size - 2)
    if (np.minimum(inside, size - inside) < _EDGE * (1 - _WHOLE)).all():
        return image
    points = [(float(column), float(row)) for row, column in inside]
    pen = ImageDraw.Draw(image)
    # two tones, so that the frame is seen on any stain
    pen.line([*points, points[0]], fill=(20, 20, 20), width=5)
    pen.line([*points, points[0]], fill=(255, 221, 51), width=2)
    return image


def nearest(verdicts: Sequence[found.Verdict], number: int) -> list[found.Verdict]:
    """The unmarked tiles that lie nearest to a training tile, the nearest first.

    By the ratio where all have one, else by the distance; they show what passed just so.
    """
    rest = [one for one in verdicts if one.verdict in ("clear", "plain") and one.neighbour]
    by_ratio = all(one.ratio is not None for one in rest)

    def rank(one: found.Verdict) -> tuple[float, str]:
        value = one.ratio if by_ratio else one.distance
        return (np.inf if value is None else value), one.name

    return sorted(rest, key=rank)[: max(number, 0)]


def near_pairs(verdicts: Sequence[found.Verdict], open_tile: OpenTile) -> list[Pair]:
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
        pictures = (
            Picture(
                data_uri(left, edge=_EDGE, synthetic=True),
                f"generated tile {one.name}",
                "generated",
                one.name,
            ),
            Picture(
                data_uri(right, edge=_EDGE),
                f"training tile {one.neighbour}",
                "training",
                one.neighbour,
            ),
        )
        pairs.append(Pair(*pictures, one.verdict, reason, "warn" if marked else "plain"))
    return pairs


def calibration(
    results: found.Results,
    verdicts: Sequence[found.Verdict],
    heldout: Sequence[found.Verdict],
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
            charts.append(
                (
                    caption,
                    draw_histogram(sets, title, threshold.value, name=name),
                )
            )
    return charts


def draw_histogram(
    sets: Mapping[str, Sequence[float]], title: str, threshold: float, *, name: str
) -> str:
    """Shares of tiles by value, one outline a set, the threshold as a dashed line.

    Args:
        sets: role ("real", "generated") -> values.
        title: of the axis.
        threshold: where tiles are marked.
        name: differs between the charts of a page.
    """
    everything = np.concatenate([np.asarray(values) for values in sets.values()])
    low, high = min(everything.min(), threshold), max(everything.max(), threshold)
    edges = np.linspace(low, high + (1e-6 if high == low else 0.0), 41)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for role, values in sets.items():
            heights = np.histogram(values, edges)[0] * 100 / len(values)
            real = role == "real"
            axes.stairs(heights, edges, color=INK[role], fill=real, alpha=0.3 if real else 1.0)
        axes.axvline(threshold, color=INK["bad"], linestyle=(0, (4, 3)), linewidth=1.3)
        # single tiles at the far end are what the chart is about; a linear axis would hide them
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.set(xlabel=title, ylabel="tiles, %", ylim=(0, 120))
        axes.minorticks_off()

    named = {"real": "held-out", "generated": "generated"}
    counts = ", ".join(f"{len(values):,} {named[role]} tiles" for role, values in sets.items())
    alt = f"Histogram of {title.lower()} for {counts}; threshold at {number(threshold)}."
    return chart(draw, alt=alt, width=440, height=270, name=name)


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
    facts = []
    for name, known in (("Encoder", results.encoder), ("Model", results.model)):
        facts += [(f"{name}: {k.replace('_', ' ')}", fact_text(v)) for k, v in known.items()]
    for item in results.sets:
        parts = [f"{item.used:,} used, {item.rejected:,} rejected of {item.listed:,} listed"]
        parts += [f"{item.groups:,} patients"] if item.groups else []
        parts += [f"split “{item.split}”"] if item.split else []
        facts.append((_TITLES[item.name], "; ".join([*parts, f"folder {item.folder}"])))
    allowed = results.fail_above
    limit = "any" if allowed is None else number(allowed, percent=True)
    facts += [("Share of copies allowed", limit), ("Seed", str(results.seed))]
    return [(name, value) for name, value in facts if value]
