"""The page of an evaluation: verdict first, then tables, then pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import write_bytes
from crafts.core.page import (
    CLASS_ROLES,
    INK,
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
from crafts.evaluation import results as found
from crafts.evaluation.reporting import tables
from crafts.evaluation.reporting.verdict import compose_stats, compose_verdict, is_alarm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OpenTile = Callable[[found.SetName, str], NDArray[np.uint8] | None]
"""Set and name of a tile -> its pixels uint8 [H, W, 3]; None where it cannot be opened."""

MAX_PICTURES = 216
"""Tiles in all montages together; with many classes each shows fewer."""

_PER_ROW = 6
_NUM_PAIRS = 12
_STRIPS = (
    "frechet_distance kernel_distance precision_k5 recall_k5 coverage_k5 vendi prompt_alignment"
).split()
LEGEND = (
    ("generated", "generated, against held-out tiles"),
    ("training", "generated, against training tiles"),
    ("baseline", "nearest training tiles, against held-out tiles"),
    ("muted", "generated, with each other's prompts"),
    ("real", "floor: real tiles of other patients"),
)

_TITLES = {"generated": "Generated tiles", "heldout": "Held-out tiles", "train": "Training tiles"}
_SECTIONS = (
    ("marks", "Before you read"),
    ("comparison", "Comparison"),
    ("diagnosis", "Diagnosis"),
    ("classes", "Classes and slices"),
    ("generations", "Spread"),
    ("stains", "Stains"),
    ("gate", "Quality gate"),
    ("montages", "Tiles"),
    ("map", "Map"),
    ("nearest", "Nearest training tiles"),
    ("facts", "Facts"),
    ("reading", "How to read this page"),
)


@dataclass(frozen=True)
class Montage:
    """Tiles of one class: at most ``count`` to a group, pairs of a label and pictures."""

    name: str
    count: int
    groups: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Finding:
    """One finding of the diagnosis, with example tiles."""

    title: str
    text: str
    alarm: bool
    pictures: tuple[Picture, ...]


def write_report(
    results: found.Results,
    path: Path,
    *,
    gallery: found.Gallery | None = None,
    open_tile: OpenTile | None = None,
) -> None:
    """Write one self-contained HTML file.

    Args:
        results: what was measured; sections without results are left out.
        path: of the page.
        gallery: which tiles to show, and the map; no pictures when None.
        open_tile: opens them; no pictures when None. Tiles it cannot open are left out.

    Raises:
        RetryError: the disk is full.
    """
    page = render_page("evaluation/report.html", report_values(results, gallery, open_tile))
    write_bytes(path, page.encode())


def report_values(
    results: found.Results, gallery: found.Gallery | None, open_tile: OpenTile | None
) -> dict[str, Any]:
    """All that the template names; what there is nothing to say of is empty."""
    gallery = gallery or found.Gallery()
    tile = open_tile or (lambda *_: None)
    findings = [_finding(item, tile) for item in results.diagnosis]
    values = {
        "subject": _subject(results),
        "verdict": compose_verdict(results),
        "stats": compose_stats(results),
        "marks": [mark.text for mark in results.marks if not mark.loud],
        "strips": build_strips(results),
        "legend": LEGEND,
        "comparison": tables.comparison_tables(results),
        "alignment": tables.alignment_table(results),
        "separation": tables.separation_table(results),
        "unmeasured": [
            (tables.label_of(name), why) for name, why in tables.missing_measures(results).items()
        ],
        "left_out": tables.left_out_table(results),
        "classes": tables.class_table(results),
        "slices": tables.slice_tables(results),
        "generations": tables.generation_table(results),
        "stains": tables.stain_tables(results),
        "gate": tables.gate_tables(results),
        "findings": findings,
        "montages": build_montages(gallery.picks, tile),
        "map": draw_map(gallery.points) if gallery.points else None,
        "map_legend": map_classes(gallery.points),
        "map_settings": _settings(gallery.map_settings),
        "pairs": build_pairs(gallery.nearest, tile),
        "facts": build_facts(results),
        "repetition": results.repetition,
        "lead": tables.LABELS[results.lead][0],
    }
    return {**values, "sections": [entry for entry in _SECTIONS if _is_there(entry[0], values)]}


def _is_there(section: str, values: Mapping[str, Any]) -> bool:
    needs = {
        "classes": ("classes", "slices", "left_out"),
        "diagnosis": ("findings",),
        "nearest": ("pairs",),
    }
    always = section in ("comparison", "facts", "reading")
    return always or any(values[name] for name in needs.get(section, (section,)))


def _subject(results: found.Results) -> str:
    sets = {item.name: item for item in results.sets}
    generated, heldout = sets.get("generated"), sets.get("heldout")
    parts = []
    if generated:
        parts.append(f"{generated.used:,} generated tiles ({generated.folder})")
    if heldout:
        groups = f" of {heldout.groups:,} groups" if heldout.groups else ""
        parts.append(f"{heldout.used:,} held-out real tiles{groups} ({heldout.folder})")
    if train := sets.get("train"):
        parts.append(f"{train.used:,} training tiles ({train.folder})")
    return "; ".join(parts) + "."


def build_strips(results: found.Results) -> list[Strip]:
    """The measures to look at first as lines with the floor drawn in."""
    strips = []
    for name in _STRIPS:
        values = _strip_values(results, name)
        if "generated" in values and len(values) > 1:
            top = 1.0 if name.endswith("k5") else None
            label, note = tables.LABELS[name]
            strips.append(build_strip(label, values, note=note, top=top))
    return strips


def _strip_values(results: found.Results, name: str) -> dict[str, tuple[str, float, float]]:
    """Role on the line -> label, value and spread."""
    if name == "prompt_alignment":
        rows = tables.alignment_of(results)
        wanted = {"heldout": "real", "nearest": "baseline", "shuffled": "muted"}
        wanted["generated"] = "generated"
        got = {wanted[k]: (r.title, r.prompt_alignment) for k, r in rows.items() if k in wanted}
    else:
        places = {"heldout": "generated", "train": "training", "nearest": "baseline"}
        places["floor"] = "real"
        got = {
            places[key]: (row.title, row.measures[name])
            for key, row in tables.rows_of(results).items()
            if key in places and name in row.measures
        }
    return {
        kind: (title, value.value, value.spread or 0.0)
        for kind, (title, value) in got.items()
        if value.value is not None
    }


def build_montages(picks: Sequence[found.ClassPicks], open_tile: OpenTile) -> list[Montage]:
    """Real tiles of each class above its best, median and worst generated ones."""
    shown = [pick for pick in picks if pick.best or pick.median or pick.worst or pick.real]
    if not shown:
        return []
    count = next(n for n in (_PER_ROW, 3, 2) if n == 2 or 4 * n * len(shown) <= MAX_PICTURES)
    edge = 176 if 4 * count * len(shown) <= 120 else 144
    montages = []
    for pick in shown:
        groups = [("Real, held-out", _real_pictures(pick, count, edge, open_tile))]
        for label, chosen in (
            ("Generated, best aligned", pick.best),
            ("Generated, median", pick.median),
            ("Generated, worst aligned", pick.worst),
        ):
            groups.append((label, _pick_pictures(chosen[:count], edge, open_tile)))
        montages.append(Montage(pick.name, count, tuple((k, v) for k, v in groups if v)))
    return [montage for montage in montages if montage.groups]


def _real_pictures(
    pick: found.ClassPicks, count: int, edge: int, open_tile: OpenTile
) -> tuple[Picture, ...]:
    opened = (open_tile("heldout", name) for name in pick.real[:count])
    alt = f"Real tile, {pick.name}" if pick.name else "Real tile"
    return tuple(Picture(data_uri(px, edge=edge), alt) for px in opened if px is not None)


def _pick_pictures(
    picks: Sequence[found.Pick], edge: int, open_tile: OpenTile
) -> tuple[Picture, ...]:
    pictures = []
    for pick in picks:
        pixels = open_tile("generated", pick.name)
        if pixels is not None:
            score = number(pick.alignment, unit="%") if pick.alignment is not None else ""
            alt = f"Generated tile for: {pick.text or 'no prompt'}"
            pictures.append(Picture(data_uri(pixels, edge=edge), alt, score, pick.text))
    return tuple(pictures)


def build_pairs(nearest: Sequence[found.Pair], open_tile: OpenTile) -> list[Pair]:
    """Generated tiles beside the training tile nearest to each, nearest pairs first."""
    pairs = []
    for pair in nearest[:_NUM_PAIRS]:
        left, right = open_tile("generated", pair.generated), open_tile("train", pair.train)
        if left is None or right is None:
            continue
        prompt = f"Prompt: {pair.text}" if pair.text else ""
        pairs.append(
            Pair(
                Picture(data_uri(left, edge=224), "Generated tile", "generated", pair.generated),
                Picture(data_uri(right, edge=224), "Training tile", "training", pair.train),
                f"cosine {pair.cosine:.3f}",
                prompt,
            )
        )
    return pairs


def _finding(item: Mapping[str, Any], open_tile: OpenTile) -> Finding:
    pictures = []
    for name in item.get("examples", ())[:_PER_ROW]:
        pixels = open_tile("generated", name)
        if pixels is not None:
            alt = f"Generated tile, example of: {item['title']}"
            pictures.append(Picture(data_uri(pixels, edge=176), alt, note=name))
    return Finding(str(item["title"]), str(item.get("text", "")), is_alarm(item), tuple(pictures))


def map_classes(points: Sequence[found.Point]) -> list[tuple[str, str, int]]:
    """Role of the colour, class and number of points: the most frequent classes, then the rest."""
    counts = Counter(point.label for point in points).most_common()
    named = [(name, count) for name, count in counts if name]
    shown = named[: len(CLASS_ROLES)]
    rest = len(points) - sum(count for _, count in shown)
    legend = [(CLASS_ROLES[i], name, count) for i, (name, count) in enumerate(shown)]
    return legend + ([("rest", "other or no class", rest)] if rest else [])


def draw_map(points: Sequence[found.Point]) -> str:
    """The t-SNE map: colour tells the class, a dot a real tile, a cross a generated one."""
    roles = {name: role for role, name, _ in map_classes(points)}
    area = min(36.0, max(8.0, 16_000 / len(points)))  # square points: smaller marks for many tiles

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for real, marker, size in ((True, "o", 0.6 * area), (False, "x", area)):
            for role in dict.fromkeys([*roles.values(), "rest"]):
                chosen = [
                    (point.x, point.y)
                    for point in points
                    if (point.set != "generated") == real and roles.get(point.label, "rest") == role
                ]
                if chosen:
                    x, y = np.array(chosen).T
                    width = 0 if real else 1.1
                    colour = INK[role]
                    axes.scatter(x, y, s=size, c=colour, marker=marker, linewidths=width)
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)

    generated = sum(point.set == "generated" for point in points)
    alt = (
        f"t-SNE map of {generated} generated tiles (crosses) and {len(points) - generated} real "
        "tiles (dots), coloured by class."
    )
    return chart(draw, alt=alt, width=640, height=540, name="map")


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())


def build_facts(results: found.Results) -> list[tuple[str, str]]:
    """What somebody needs to repeat the numbers."""
    facts = [(f"Encoder: {k.replace('_', ' ')}", fact_text(v)) for k, v in results.encoder.items()]
    titles = {
        "generated": "Generated tiles",
        "heldout": "Held-out tiles",
        "train": "Training tiles",
    }
    facts += [(titles[item.name], _set_fact(item)) for item in results.sets]
    facts += [
        ("Prompts", _prompt_fact(results.prompts)),
        ("Texts cut by the encoder", _truncated(results)),
        ("Tiles on each side", f"{results.n:,} (features have {results.width:,} numbers)"),
        ("Repetitions", f"{results.repetitions} {results.repetition}"),
        (
            "Class mix",
            {"class": "that of the generated tiles", "none": "as found"}[results.matching],
        ),
        ("Seed", str(results.seed)),
    ]
    return [(name, value) for name, value in facts if value]


def _set_fact(item: found.SetFacts) -> str:
    parts = [f"{item.used:,} used, {item.rejected:,} rejected of {item.listed:,} listed"]
    if item.groups:
        parts.append(f"{item.groups:,} groups")
    if item.split:
        parts.append(f"split “{item.split}”")
    parts += [f"folder {item.folder}", f"fingerprint {item.fingerprint[:16]}"]
    return "; ".join(parts)


def _prompt_fact(source: found.PromptSource) -> str:
    words = {
        "heldout": "captions of held-out tiles only",
        "both": "captions of held-out and of training tiles",
        "train": "captions of training tiles only",
        "neither": "captions of neither",
        "empty": "without a known prompt",
    }
    counts = {key: getattr(source, key) for key in words}
    text = "; ".join(f"{count:,} {words[key]}" for key, count in counts.items() if count)
    return text + ("" if source.checked else " (training captions not given)")


def _truncated(results: found.Results) -> str:
    shares = [
        f"{item.name} {number(item.truncated, percent=True)}"
        for item in results.sets
        if item.truncated is not None
    ]
    return "; ".join(shares)
