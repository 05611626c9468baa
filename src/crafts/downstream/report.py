"""The page of a benchmark: verdict first, learning curves, a table for each share, controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import write_bytes
from crafts.core.page import INK, MISSING, Picture, Stat, Table, chart, number, render_page
from crafts.downstream.arms import AUGMENTED, COLOUR, REAL
from crafts.downstream.results import ArmRow, Results, Slice
from crafts.report.facts import Sentence, filled_sections, judge_sentences, known_facts, set_fact
from crafts.report.figures import tile_picture
from crafts.report.tables import build_table, heads_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OpenTile = Callable[[str], NDArray[np.uint8] | None]

_AIMS = {"ssl": "self-supervision", "vqa": "question answering"}
_ROLES = {"real": "real", "control": "baseline", "synthetic": "generated"}
_SECTIONS = (
    ("notes", "Before you read"),
    ("curves", "Learning curves"),
    ("tables", "Arms"),
    ("external", "External tiles"),
    ("plan", "A rare class"),
    ("folders", "Distance and gain"),
    ("tests", "Further tests"),
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
        "task": results.task,
        "aim": _AIMS.get(results.task, results.task),
        "measure": _title(results),
        "subject": _subject(results),
        "verdict": judge_sentences(_headline(results), _sentences(results), results.controls),
        "stats": _stats(results),
        "notes": results.notes,
        "curves": [(title, _curve(results, method)) for method, title in results.methods.items()],
        "tables": _tables(results, "test"),
        "external": _tables(results, "external"),
        "plan": _plan(results),
        "folders": build_table(
            results.relation, [(one.folder, one) for one in results.folders], corner="Folder"
        ),
        "tests": results.tests,
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
    """The arms that answer the question: generated beside real ones, by the first method."""
    return [
        row
        for row in results.rows
        if row.kind == "synthetic" and row.on == "test" and row.method == _first(results)
        if row.real
    ]


def _first(results: Results) -> str:
    return next(iter(results.methods))


def _score(results: Results, row: ArmRow) -> float:
    return float(getattr(row, results.primary) or 0.0)


def _title(results: Results) -> str:
    """What is measured, for people."""
    head = heads_of(ArmRow)[results.primary]
    return f"{head.label} ({head.note})" if results.primary in ("mrr", "closed") else head.label


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
    probe = [row for row in results.rows if row.method == _first(results) and row.on == "test"]
    most = max((row.fraction for row in probe), default=0.0)
    last = {row.arm: row for row in probe if row.fraction == most}
    stats = [
        Stat("Test patients", number(results.patients["test"]), "20 or more are wanted"),
        Stat(
            "Real tiles alone",
            number(_score(results, last[REAL]), percent=True),
            f"{_title(results).lower()} with {100 * most:g} % of the patients",
        ),
    ]
    if (colour := last.get(COLOUR)) is not None:
        value = number(_score(results, colour), percent=True)
        stats.append(Stat("Colours alone", value, "a colour histogram, no shape at all"))
    return stats


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
        for method, title in results.methods.items():
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
            found += [filled_columns(table)] if table else []
    return found


def filled_columns(table: Table) -> Table:
    """A table without the columns in which no row has a value."""
    kept = [
        k
        for k in range(len(table.columns))
        if any(row.cells[k].text != MISSING for row in table.rows)
    ]
    rows = tuple(replace(row, cells=tuple(row.cells[k] for k in kept)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[k] for k in kept), rows=rows)


def _plan(results: Results) -> Table | None:
    rows = [(f"{one.made} generated", one) for one in results.plan]
    return build_table(
        f"{results.rare}: few real tiles of it, all of the others, linear probe",
        rows,
        note=lambda row: "enough by the rule" if row.enough else "",
        corner="Tiles of the class",
    )


def _slices(slices: Sequence[Slice]) -> Table | None:
    rows = [(f"{one.field}: {one.value}", one) for one in slices]
    return build_table(
        "Most generated tiles beside real ones against real ones alone",
        rows,
        note=lambda row: f"{row.folder}, {100 * row.fraction:g} % of the patients",
        corner="Test tiles of",
    )


def _curve(results: Results, method: str) -> str:
    """What is measured by share of the patients, with the 95 % band of the gain over real."""
    rows = [row for row in results.rows if row.method == method and row.on == "test"]
    shares = [100 * one for one in _shares(results)]
    base = {row.fraction: _score(results, row) for row in rows if row.arm == REAL}
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
            values = {row.fraction: 100 * _score(results, row) for row in own}
            _line(axes, own, base, role=role, label=name[1] or name[0], values=values)
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.set(xlabel="training patients, %", ylabel=f"{_title(results)}, %")
        axes.legend(frameon=False, fontsize=7)

    alt = (
        f"{_title(results)} of {results.methods[method].lower()} by share of the training patients."
    )
    return chart(draw, alt=alt, width=460, height=300, name=method)


def _line(
    axes: Axes,
    rows: Sequence[ArmRow],
    base: dict[float, float],
    *,
    role: str,
    label: str,
    values: dict[float, float],
) -> None:
    rows = sorted(rows, key=lambda row: row.fraction)
    if not rows:
        return
    places = [100 * row.fraction for row in rows]
    axes.plot(
        places,
        [values[row.fraction] for row in rows],
        color=INK[role],
        marker="o",
        markersize=3,
        label=label,
    )
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
