"""The report of a study as one page: first what is shown and what is not, then each figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crafts.core.artifacts import write_bytes
from crafts.core.page import (
    INK,
    MISSING,
    Cell,
    Column,
    Row,
    Stat,
    Table,
    Verdict,
    chart,
    number,
    render_page,
)
from crafts.readerstudy.analysis.findings import Findings
from crafts.readerstudy.analysis.per_reader import ReaderRow
from crafts.readerstudy.analysis.pooled import Figure
from crafts.readerstudy.protocol import Study
from crafts.readerstudy.statistics.estimates import Estimate, p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ENDPOINTS = {"area": "area under the ROC curve", "accuracy": "balanced accuracy"}
_THEMES = {"label": "class", "site": "site", "experience": "experience of the reader"}


def write_report(findings: Findings, study: Study, path: Path) -> None:
    """Write the page.

    Args:
        findings: all results.
        study: for its title and plan.
        path: of the html file, replaced in one step.
    """
    values = {
        "title": study.protocol.title,
        "subject": _subject(findings),
        "verdict": _verdict(findings),
        "stats": _stats(findings),
        "plan": _plan(findings, study),
        "primary": _figures("The registered figure and its checks", _primary_rows(findings)),
        "realness": _figures(
            "Real or synthetic, for other readers of other items", findings.realness
        ),
        "f1": _f1_words(findings),
        "f1_table": _f1_table(findings),
        "ratings": _figures("Ratings from 1 to 4", findings.ratings),
        "rating_words": _rating_words(findings),
        "diagnosis": _figures("Diagnoses", findings.diagnosis),
        "agreement": _figures(
            "Agreement, 0 for chance and 1 for full", [*findings.agreement, findings.repeats]
        ),
        "controls": _figures("Controls", [findings.fakes]),
        "readers": _reader_table(findings.readers),
        "detection": _detection_table(findings.readers),
        "flags": [(row.reader, flag) for row in findings.readers for flag in row.flags],
        "course": _course_table(findings.course),
        "groups": [
            _figures(f"By {_THEMES[theme]}: {ENDPOINTS[findings.plan.endpoint]}", some)
            for theme, some in findings.groups.items()
        ],
        "artefacts": findings.artefacts,
        "picture": _reader_chart(findings),
        "level": f"{findings.primary.estimate.level:.0%}".replace("%", " %"),
    }
    write_bytes(path, render_page("readerstudy/report.html", values).encode())


def told(found: Estimate) -> str:
    """A figure with its interval in words."""
    if math.isnan(found.value):
        return "not known"
    if math.isnan(found.low):
        return f"{found.value:.3f} (no interval)"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})".replace("-", "−")


def _subject(findings: Findings) -> str:
    real, made = findings.items
    who = "simulated readers" if findings.facts.simulated else "readers"
    return f"{len(findings.readers)} {who}, {real} real and {made} synthetic items"


def _verdict(findings: Findings) -> Verdict:
    primary, plan = findings.primary, findings.plan
    figure = ENDPOINTS[plan.endpoint]
    found = primary.estimate
    if math.isnan(found.low):
        line = "One reader says nothing about other readers: there is no claim to make"
    elif primary.shown:
        line = f"Shown: {figure} lies within {plan.margin:g} of chance"
    elif primary.excluded:
        line = f"Shown: {figure} differs from chance by more than the margin of {plan.margin:g}"
    elif not found.low <= plan.null <= found.high:
        line = f"{_first(figure)} differs from chance; whether by more than the margin is open"
    else:
        line = "Undecided: neither a difference nor its absence was shown"
    reasons = [
        f"{_first(figure)} {told(found)}; {100 * (1 - 2 * plan.alpha):g} % interval"
        f" for equivalence {primary.low:.3f} to {primary.high:.3f},"
        f" p of equivalence {_p(primary.p)}"
    ]
    if findings.rating is not None:
        reasons.append(_rating_words(findings))
    if findings.without_flagged is not None:
        left = findings.without_flagged
        reasons.append(f"{left.name}: {told(left.estimate)}")
    return Verdict("plain", line, tuple(reasons), tuple(_warnings(findings)))


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _warnings(findings: Findings) -> list[str]:
    traces, said = findings.facts.traces, []
    if findings.facts.simulated:
        said.append("The readers of this report are simulated. It shows no finding about anybody.")
    if findings.early:
        said.append(
            f"{findings.complete} of {findings.plan.readers} planned readers answered every item;"
            " the study was closed before its plan was filled."
        )
    if traces and not traces["low"] <= 0.5 <= traces["high"]:
        said.append(
            f"Traces of compression tell the classes apart (area {traces['area']:.2f});"
            " readers may have seen them, too."
        )
    if any(row.flags for row in findings.readers):
        said.append("Some answers are odd (see Readers). Nobody was left out of any figure.")
    if findings.fakes.estimate.value < 0.5:
        said.append("Most plainly bad fakes passed for real: these readings show little.")
    return said


def _stats(findings: Findings) -> list[Stat]:
    found = findings.primary.estimate
    stats = [_stat(_first(ENDPOINTS[findings.plan.endpoint]), found)]
    stats += [_stat(one.name.partition(" (")[0], one.estimate) for one in findings.realness[2:]]
    stats += [_stat("Rating, synthetic less real", one.estimate) for one in findings.ratings[2:]]
    return stats


def _stat(label: str, found: Estimate) -> Stat:
    note = MISSING if math.isnan(found.low) else f"{number(found.low)} to {number(found.high)}"
    return Stat(label, number(found.value), note)


def _plan(findings: Findings, study: Study) -> list[tuple[str, str]]:
    plan = findings.plan
    return [
        ("Hypothesis", plan.hypothesis),
        (
            "Primary figure",
            f"{ENDPOINTS[plan.endpoint]}, margin {plan.margin:g} from {plan.null:g}",
        ),
        ("Planned", f"{plan.readers} readers, {plan.per_class} items a class"),
        ("Answered in full", f"{findings.complete} readers"),
        ("Stopping", plan.stopping),
        ("Repeats", f"{plan.repeats:.0%} of items, not counted among the items".replace("%", " %")),
        ("Fixed before the first answer", f"sha256 {study.protocol.registration}"),
    ]


def _primary_rows(findings: Findings) -> list[Figure]:
    plan = findings.plan
    name = _first(ENDPOINTS[plan.endpoint])
    first = Figure(name, findings.primary.estimate, "U-statistic over readers and items", plan.null)
    more = [findings.without_flagged] if findings.without_flagged else []
    return [first, *findings.checks, *more]


def _figures(caption: str, figures: Sequence[Figure]) -> Table | None:
    if not figures:
        return None
    columns = (
        Column("Value"),
        Column("Interval"),
        Column("p", "of no difference"),
        Column("By", numeric=False),
    )
    return Table(caption, columns, tuple(_row(one) for one in figures))


def _row(one: Figure) -> Row:
    found = one.estimate
    interval = MISSING if math.isnan(found.low) else f"{number(found.low)} to {number(found.high)}"
    p = MISSING if one.null is None else _p(p_value(found, one.null))
    return Row(one.name, (Cell(number(found.value)), Cell(interval), Cell(p), Cell(one.method)))


def _p(value: float) -> str:
    return MISSING if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _f1_words(findings: Findings) -> str:
    found = findings.f1
    return (
        f"F1 of all answers is {found.synthetic:.3f} with synthetic as the class that is looked"
        f" for, and {found.real:.3f} with real. A rater who says “synthetic” every time without"
        f" looking scores {found.one_answer[0]:.3f}; a coin scores less than such a rater. So F1"
        " rewards one answer for all, cannot say whether readers tell the classes apart, and has"
        " no place in a claim. Read the area, the sensitivity and the specificity instead."
    )


def _f1_table(findings: Findings) -> Table:
    columns = (Column("F1, synthetic"), Column("F1, real"))
    rows = [("All answers", (findings.f1.synthetic, findings.f1.real))]
    rows += [("One answer every time", findings.f1.one_answer)]
    rows += [(row.reader, row.f1) for row in findings.readers]
    cells = (Row(name, tuple(Cell(number(one)) for one in both)) for name, both in rows)
    return Table("F1 beside that of a rater who does not look", columns, tuple(cells))


def _rating_words(findings: Findings) -> str:
    found = findings.rating
    if found is None:
        return ""
    margin = findings.plan.rating_margin
    said = (
        f"shown to be within {margin:g} steps"
        if found.shown
        else f"more than {margin:g} steps apart"
        if found.excluded
        else f"not shown to be within {margin:g} steps"
    )
    ends = f"{found.low:.2f} to {found.high:.2f}".replace("-", "−")
    return (
        f"Ratings, synthetic less real: {told(found.estimate)}; {said} ({ends}, p = {_p(found.p)})"
    )


def _reader_table(rows: Sequence[ReaderRow]) -> Table:
    columns = (
        Column("Sensitivity"),
        Column("Specificity"),
        Column("Area"),
        Column("Same on repeats"),
        Column("Fakes caught"),
        Column("Attention"),
        Column("Median time"),
        Column("Answered"),
    )
    return Table(
        "Each reader, with Wilson's interval over other items",
        columns,
        tuple(
            Row(
                row.reader,
                (
                    _cell(row.sensitivity),
                    _cell(row.specificity),
                    Cell(number(row.area)),
                    Cell(f"{row.same} of {row.repeats}", f"kappa {number(row.kappa)}"),
                    Cell("{} of {}".format(*row.plain_fakes)),
                    Cell("{} of {}".format(*row.attention)),
                    Cell(number(row.seconds, unit="s")),
                    Cell(f"{row.answered} of {row.asked}"),
                ),
                note="flagged" if row.flags else "",
            )
            for row in rows
        ),
    )


def _detection_table(rows: Sequence[ReaderRow]) -> Table:
    columns = (
        Column("Balanced accuracy"),
        Column("d′", "0 is chance"),
        Column("Criterion", "above 0 leans to real"),
        Column("Called synthetic"),
    )
    return Table(
        "Signal detection",
        columns,
        tuple(
            Row(
                row.reader,
                (
                    _cell(row.accuracy),
                    _cell(row.d_prime),
                    _cell(row.criterion),
                    Cell(number(row.confusion.share_called_synthetic, percent=True)),
                ),
            )
            for row in rows
        ),
    )


def _course_table(course: Mapping[str, Estimate]) -> Table:
    names = {
        "accuracy": "Share of right answers",
        "called synthetic": "Share called synthetic",
        "seconds": "Seconds an item",
    }
    rows = (Row(names[name], (_cell(found),)) for name, found in course.items())
    return Table(
        "Change from the first item to the last, mean over readers",
        (Column("Change"),),
        tuple(rows),
    )


def _cell(found: Estimate) -> Cell:
    note = "" if math.isnan(found.low) else f"{number(found.low)} to {number(found.high)}"
    return Cell(number(found.value), note)


def _reader_chart(findings: Findings) -> str:
    """Balanced accuracy of each reader and of all, with intervals, against chance."""
    pooled = findings.realness[1].estimate
    shown = [*((row.reader, row.accuracy) for row in findings.readers), ("all, for others", pooled)]

    def draw(figure: Drawing) -> None:
        axes = figure.subplots()
        axes.axvline(0.5, color=INK["real"], linestyle="--", linewidth=1)
        for place, (_, found) in enumerate(reversed(shown)):
            role = "generated" if place else "ink"
            if not math.isnan(found.low):
                axes.plot([found.low, found.high], [place, place], color=INK[role], linewidth=2)
            axes.plot([found.value], [place], "o", color=INK[role], markersize=5)
        axes.set_yticks(np.arange(len(shown)), [name for name, _ in reversed(shown)])
        axes.set_xlim(0, 1)
        axes.set_xlabel("balanced accuracy (dashed: chance)")

    alt = "Balanced accuracy: " + "; ".join(f"{name} {told(found)}" for name, found in shown)
    height = 90 + 24 * len(shown)
    return chart(draw, alt=alt, width=520, height=height, name="readers")
