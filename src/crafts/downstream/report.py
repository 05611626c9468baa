"""The page of a benchmark: verdict first, learning curves, a table for each share, controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import write_bytes
from crafts.core.page import INK, Picture, Stat, Table, chart, number, render_page
from crafts.downstream.arms import AUGMENTED, COLOUR, REAL
from crafts.downstream.results import METHODS, ArmRow, Method, Results, Slice
from crafts.report.facts import Sentence, filled_sections, judge_sentences, known_facts, set_fact
from crafts.report.figures import tile_picture
from crafts.report.tables import build_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OpenTile = Callable[[str], NDArray[np.uint8] | None]

_ROLES = {"real": "real", "control": "baseline", "synthetic": "generated"}
_SECTIONS = (
    ("notes", "Before you read"),
    ("curves", "Learning curves"),
    ("tables", "Arms"),
    ("external", "External tiles"),
    ("slices", "Slices"),
    ("shown", "Fixed and broken"),
    ("facts", "Facts"),
    ("reading", "How to read this page"),
)


def write_report(results: Results, path: Path, *, open_tile: OpenTile) -> None:
    """Write one self-contained HTML file.

    Args:
        results: of the run.
        path: of the page.
        open_tile: name of a test tile -> its pixels, or None.

    Raises:
        RetryError: the disk is full.
    """
    values: dict[str, Any] = {
        "subject": _subject(results),
        "verdict": judge_sentences(_headline(results), _sentences(results), results.controls),
        "stats": _stats(results),
        "notes": results.notes,
        "curves": [
            (METHODS[method], _curve(results, method)) for method in METHODS if _shares(results)
        ],
        "tables": _tables(results, "test"),
        "external": _tables(results, "external"),
        "slices": _slices(results.slices),
        "shown": {
            word: pictures
            for word, names in results.shown.items()
            if (pictures := _pictures(names, open_tile))
        },
        "facts": _facts(results),
    }
    always = ("curves", "tables", "facts", "reading")
    values["sections"] = filled_sections(_SECTIONS, values, always=always)
    write_bytes(path, render_page("downstream/report.html", values).encode())


def say_outcome(row: ArmRow) -> str:
    """What one arm came to, in plain words."""
    share = f"{100 * row.fraction:g} % of the patients"
    arm = row.arm + (f" ({row.folder})" if row.folder else "")
    if row.gain is None or row.low is None or row.high is None:
        return f"{arm}, {share}: not compared."
    points = f"{_points(row.gain)} points ({_points(row.low)} to {_points(row.high)})"
    if row.outcome == "no difference seen":
        seen = f"the smallest visible effect was {100 * (row.visible or 0):.1f} points"
        return f"{arm}, {share}: no difference seen, {points}; {seen}."
    return f"{arm}, {share}: {row.outcome}, {points}."


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _judged(results: Results) -> list[ArmRow]:
    """The arms that answer the question: generated beside real ones, by linear probe."""
    return [
        row
        for row in results.rows
        if row.kind == "synthetic" and row.on == "test" and row.method == "probe" and row.real
    ]


def _headline(results: Results) -> str:
    rows = _judged(results)
    helped = [row for row in rows if row.outcome == "helped"]
    harmed = [row for row in rows if row.outcome == "harmed"]
    if helped and not harmed:
        shares = ", ".join(f"{100 * one:g} %" for one in sorted({row.fraction for row in helped}))
        return f"Generated tiles helped, with {shares} of the training patients."
    if harmed and not helped:
        return "Generated tiles harmed."
    if helped:
        return "Generated tiles helped in some arms and harmed in others."
    return "No difference seen."


def _sentences(results: Results) -> list[Sentence]:
    """For each folder and share the arm with the largest and that with the least gain."""
    found: list[Sentence] = []
    rows = _judged(results)
    for folder in results.generated:
        for fraction in sorted({row.fraction for row in rows}):
            mine = [row for row in rows if (row.folder, row.fraction) == (folder, fraction)]
            mine.sort(key=lambda row: -(row.gain or 0.0))
            for row in mine[:1] + [one for one in mine[1:] if one.outcome == "harmed"][-1:]:
                level = {"helped": "good", "harmed": "bad"}.get(row.outcome, "plain")
                found.append((level, say_outcome(row)))  # type: ignore[arg-type]
    return found


def _stats(results: Results) -> list[Stat]:
    probe = [row for row in results.rows if row.method == "probe" and row.on == "test"]
    most = max((row.fraction for row in probe), default=0.0)
    last = {row.arm: row for row in probe if row.fraction == most}
    chance = 1 / max(len(results.classes), 1)
    colour = last.get(COLOUR)
    return [
        Stat("Test patients", number(results.patients["test"]), "20 or more are wanted"),
        Stat(
            "Real tiles alone",
            number(last[REAL].accuracy, percent=True),
            f"balanced accuracy with {100 * most:g} % of the patients; "
            f"chance {number(chance, percent=True)}",
        ),
        Stat(
            "Colours alone",
            number(colour.accuracy if colour else None, percent=True),
            "a colour histogram, no shape at all",
        ),
    ]


def _subject(results: Results) -> str:
    patients = results.patients
    return (
        f"{len(results.classes)} classes; {patients['train']:,} training and {patients['test']:,} "
        f"test patients; generated: {', '.join(results.generated)}; {results.seeds} seeds."
    )


def _shares(results: Results) -> list[float]:
    return sorted({row.fraction for row in results.rows})


def _tables(results: Results, on: str) -> list[Table]:
    found = []
    for fraction in _shares(results):
        for method, title in METHODS.items():
            rows = [
                (row.arm, row)
                for row in results.rows
                if (row.on, row.fraction, row.method) == (on, fraction, method)
            ]
            caption = f"{title}, {100 * fraction:g} % of the training patients"
            table = build_table(
                caption,
                rows,
                kind=lambda row: _ROLES[row.kind],
                note=lambda row: row.folder,
                corner="Arm",
            )
            found += [table] if table else []
    return found


def _slices(slices: Sequence[Slice]) -> Table | None:
    rows = [(f"{one.field}: {one.value}", one) for one in slices]
    return build_table(
        "Most generated tiles beside real ones against real ones alone, by linear probe",
        rows,
        note=lambda row: f"{row.folder}, {100 * row.fraction:g} % of the patients",
        corner="Test tiles of",
    )


def _curve(results: Results, method: Method) -> str:
    """Balanced accuracy by share of the patients, with the 95 % band of the gain over real."""
    rows = [row for row in results.rows if row.method == method and row.on == "test"]
    shares = [100 * one for one in _shares(results)]
    base = {row.fraction: row.accuracy or 0.0 for row in rows if row.arm == REAL}
    shown = {
        (REAL, ""): "real",
        (AUGMENTED, ""): "training",
        (COLOUR, ""): "baseline",
    }
    most = [row.arm for row in rows if row.kind == "synthetic" and row.real]
    folders = (
        {(most[-1], name): f"c{k}" for k, name in enumerate(results.generated)} if most else {}
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, role in {**shown, **folders}.items():
            own = [row for row in rows if (row.arm, row.folder) == name]
            _line(axes, own, base, role, name[1] or name[0])
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.set(xlabel="training patients, %", ylabel="balanced accuracy, %")
        axes.legend(frameon=False, fontsize=7)

    alt = f"Balanced accuracy of {METHODS[method].lower()} by share of the training patients."
    return chart(draw, alt=alt, width=460, height=300, name=method)


def _line(
    axes: Axes, rows: Sequence[ArmRow], base: dict[float, float], role: str, label: str
) -> None:
    rows = sorted(rows, key=lambda row: row.fraction)
    if not rows:
        return
    places = [100 * row.fraction for row in rows]
    values = [100 * (row.accuracy or 0.0) for row in rows]
    axes.plot(places, values, color=INK[role], marker="o", markersize=3, label=label)
    if role.startswith("c"):
        low = [100 * (base[row.fraction] + (row.low or 0.0)) for row in rows]
        high = [100 * (base[row.fraction] + (row.high or 0.0)) for row in rows]
        axes.fill_between(places, low, high, color=INK[role], alpha=0.15, linewidth=0)


def _pictures(names: Sequence[str], open_tile: OpenTile) -> list[Picture]:
    tiles = [(name, open_tile(name)) for name in names]
    return [
        tile_picture(pixels, f"real test tile {name}", name, edge=160)
        for name, pixels in tiles
        if pixels is not None
    ]


def _facts(results: Results) -> list[tuple[str, str]]:
    facts = known_facts("Encoder", results.encoder)
    facts += [set_fact(one, "patients") for one in results.sets]
    facts += [
        (f"Class {name}", f"{tiles['train']:,} training and {tiles['test']:,} test tiles")
        for name, tiles in results.classes.items()
    ]
    return [(name, value) for name, value in [*facts, ("Seed", str(results.seed))] if value]
