"""The page of an evaluation: verdict first, then tables, then pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crafts.core.artifacts import write_bytes
from crafts.core.page import Picture, number, render_page
from crafts.evaluation import results as found
from crafts.evaluation.diagnosis.causes import CAUSES
from crafts.evaluation.page import tables
from crafts.evaluation.page.masks import faithfulness_table, mask_notes
from crafts.evaluation.page.pictures import (
    PER_ROW,
    build_montages,
    build_pairs,
    draw_map,
    map_classes,
)
from crafts.evaluation.page.tables import structure_table
from crafts.evaluation.page.verdict import compose_stats, compose_verdict, is_alarm
from crafts.report.facts import OpenTile, filled_sections, known_facts, set_fact
from crafts.report.figures import Strip, build_strip, tile_picture

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

_SECTIONS = (
    ("marks", "Before you read"),
    ("comparison", "Comparison"),
    ("diagnosis", "Diagnosis"),
    ("classes", "Classes and slices"),
    ("generations", "Spread"),
    ("stains", "Stains"),
    ("gate", "Quality gate"),
    ("masks", "Masks"),
    ("montages", "Tiles"),
    ("map", "Map"),
    ("nearest", "Nearest training tiles"),
    ("facts", "Facts"),
    ("reading", "How to read this page"),
)

_NEEDS = {
    "classes": ("classes", "separated", "slices", "left_out"),
    "diagnosis": ("diagnosed", "structure"),
    "nearest": ("pairs",),
    "masks": ("masks", "mask_notes"),
}


@dataclass(frozen=True)
class ShownCause:
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
    strips = build_strips(results)
    drawn = {mark.kind for strip in strips for mark in strip.marks}
    values = {
        "subject": _subject(results),
        "verdict": compose_verdict(results),
        "stats": compose_stats(results),
        "marks": [mark.text for mark in results.marks if not mark.loud],
        "strips": strips,
        "legend": [entry for entry in LEGEND if entry[0] in drawn],
        "comparison": tables.comparison_tables(results),
        "alignment": tables.alignment_table(results),
        "separation": tables.separation_table(results),
        "separated": tables.separation_class_table(results),
        "unmeasured": [
            (tables.label_of(name), why) for name, why in tables.missing_measures(results).items()
        ],
        "left_out": tables.left_out_table(results),
        "classes": tables.class_table(results),
        "slices": tables.slice_tables(results),
        "generations": tables.generation_table(results),
        "stains": tables.stain_tables(results),
        "gate": tables.gate_tables(results),
        "masks": faithfulness_table(results.faithfulness),
        "mask_notes": mask_notes(results.faithfulness),
        "findings": findings,
        "structure": structure_table(results),
        "diagnosed": describe_diagnosis(results),
        "montages": build_montages(gallery.picks, tile),
        "map": draw_map(gallery.points) if gallery.points else None,
        "map_legend": map_classes(gallery.points),
        "map_settings": _settings(gallery.map_settings),
        "pairs": build_pairs(gallery.nearest, tile),
        "facts": build_facts(results),
        "repetition": results.repetition,
        "lead": tables.LABELS[results.lead][0],
    }
    always = ("comparison", "facts", "reading")
    return {**values, "sections": filled_sections(_SECTIONS, values, always=always, needs=_NEEDS)}


def _subject(results: found.Results) -> str:
    sets = {item.name: item for item in results.sets}
    generated, heldout = sets.get("generated"), sets.get("heldout")
    parts = []
    if generated:
        parts.append(f"{generated.used:,} generated tiles ({generated.folder})")
    if heldout:
        groups = f" of {heldout.groups:,} groups" if heldout.groups else ""
        parts.append(f"{heldout.used:,} held-out real tiles{groups} ({heldout.folder})")
    if results.statistics:
        parts.append(f"statistics of held-out real tiles ({results.statistics['file']})")
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


def _finding(item: Mapping[str, Any], open_tile: OpenTile) -> ShownCause:
    pictures = []
    for name in item.get("examples", ())[:PER_ROW]:
        pixels = open_tile("generated", name)
        if pixels is not None:
            alt = f"Generated tile, example of: {item['title']}"
            pictures.append(tile_picture(pixels, alt, note=name, edge=176, synthetic=True))
    return ShownCause(
        str(item["title"]), str(item.get("text", "")), is_alarm(item), tuple(pictures)
    )


def describe_diagnosis(results: found.Results) -> str:
    """What was judged, and what was not and why."""
    judged = results.diagnosed
    if not judged.done:
        return f"Not done: {judged.why}." if judged.why else ""
    numbers = f"{judged.generated:,} generated and {judged.heldout:,} held-out tiles"
    causes = [name for name, _ in CAUSES.values()]
    looked = f"{numbers} were judged for {', '.join(causes[:-1])}, and what is {causes[-1]}."
    without = "" if results.diagnosis else " None of these was found."
    but = f" But {judged.why}." if judged.why else ""
    if judged.hidden:
        but += (
            " Too few groups to see some of them at their thresholds; what would have shown is "
            f"{'; '.join(judged.hidden)}."
        )
    return looked + without + but


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())


def build_facts(results: found.Results) -> list[tuple[str, str]]:
    """What somebody needs to repeat the numbers."""
    facts = known_facts("Encoder", results.encoder)
    facts += [
        set_fact(item, "groups", f"fingerprint {item.fingerprint[:16]}") for item in results.sets
    ]
    facts += known_facts("Statistics", results.statistics)
    facts += [
        ("Prompts", _prompt_fact(results.prompts)),
        ("Texts cut by the encoder", _truncated(results)),
        ("Tiles on each side", f"{results.n:,} (features have {results.width:,} numbers)"),
        ("Repetitions", _repetitions(results)),
        (
            "Class mix",
            {"class": "that of the generated tiles", "none": "as found"}[results.matching],
        ),
        ("Seed", str(results.seed)),
    ]
    return [(name, value) for name, value in facts if value]


def _repetitions(results: found.Results) -> str:
    one = "none: one generation, one file of statistics"
    return one if results.repetition == "none" else f"{results.repetitions} {results.repetition}"


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
