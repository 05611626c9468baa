"""Data card: what a corpus holds, how long its captions are, and what a tokenizer cuts off them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crafts.core.artifacts import write_bytes
from crafts.core.errors import DataError
from crafts.core.page import INK, Cell, Column, Row, Stat, Table, chart, number, render_page
from crafts.core.parsing import parse_json
from crafts.core.protocols import CountTokens
from crafts.core.records import Ledger
from crafts.core.tabular.rows import is_missing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGETS = (20, 35, 50, 77, 154)
"""Tokens with the special ones: one chunk of CLIP is 77, two are 154; the others are summaries'."""

_GROUPS = ("split", "set", "licence", "label", "organ", "power", "mpp")
_MOST_ROWS = 60
_MARK = 77


def count_reasons(ledger: Ledger) -> dict[str, int]:
    """How often each reason was given; what follows a colon is left out. Most frequent first."""
    tally = Counter(row["reason"].partition(":")[0] for row in ledger.rejects)
    return _by_size(tally)


def write_card(
    rows: Iterable[Mapping[str, Any]],
    count_tokens: Mapping[str, CountTokens],
    output: Path,
    *,
    rejects: Mapping[str, int] | None = None,
    title: str = "",
) -> dict[str, Any]:
    """Write ``card.json`` and ``card.html``.

    Args:
        rows: of a metadata table, an index of shards, or an importer: ``text``, ``captions``,
            ``patient``, ``slide``, ``split``, ``set``, ``licence``, ``label``, ... as far as known.
        count_tokens: name of a tokenizer -> its counter.
        output: folder that exists.
        rejects: reason -> how many rows were dropped for it.
        title: what the card is of.

    Returns:
        What ``card.json`` holds.

    Raises:
        DataError: no row.
        RetryError: the disk is full.
    """
    card = compute_card(rows, count_tokens, rejects=rejects, title=title)
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    write_bytes(output / "card.json", text.encode())
    write_bytes(output / "card.html", render_card(card).encode())
    return card


def compute_card(
    rows: Iterable[Mapping[str, Any]],
    count_tokens: Mapping[str, CountTokens],
    *,
    rejects: Mapping[str, int] | None = None,
    title: str = "",
) -> dict[str, Any]:
    """The facts of :func:`write_card`; shares lie in [0, 1], lengths are in tokens.

    Raises:
        DataError: no row.
    """
    kept = list(rows)
    if not kept:
        raise DataError(
            f"data card{f' of {title}' if title else ''}",
            came="no row",
            allowed="at least one image or caption",
            do="Check the source and its rejects.",
        )
    own = [_captions(row) for row in kept]
    captions = [text for texts in own for text in texts]
    groups = {name: _count_values(kept, name) for name in _GROUPS}
    return {
        "title": title,
        "images": len(kept),
        "captions": len(captions),
        "distinct_captions": len(set(captions)),
        "without_text": sum(not texts for texts in own),
        "patients": len({_value(row, "patient") for row in kept} - {""}),
        "without_patient": sum(not _value(row, "patient") for row in kept),
        "slides": len({_value(row, "slide") for row in kept} - {""}),
        "tokens": {
            name: measure_lengths([count(text) for text in captions])
            for name, count in count_tokens.items()
            if captions
        },
        "groups": {name: found for name, found in groups.items() if any(e["value"] for e in found)},
        "rejects": _by_size(rejects or {}),
    }


def _value(row: Mapping[str, Any], name: str) -> str:
    return "" if is_missing(row.get(name)) else str(row[name])


def _count_values(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Images and patients of each value of a column, most frequent first; "" is not known."""
    images = Counter(_value(row, name) for row in rows)
    patients: dict[str, set[str]] = {}
    for row in rows:
        patients.setdefault(_value(row, name), set()).add(_value(row, "patient"))
    return [
        {"value": value, "images": count, "patients": len(patients[value] - {""})}
        for value, count in _by_size(images).items()
    ]


def measure_lengths(lengths: Sequence[int]) -> dict[str, Any]:
    """Distribution of lengths and, for each of :data:`BUDGETS`, the share of captions above it.

    Args:
        lengths: tokens of each caption with special tokens, at least one caption.

    Returns:
        mean, median, p10, p90, min and max; ``above`` and ``lost``: budget -> share of captions
        above it, and mean tokens that those lose; ``histogram``: length -> captions.
    """
    values = np.asarray(lengths)
    over = {budget: values[values > budget] for budget in BUDGETS}
    return {
        "mean": round(float(values.mean()), 3),
        "median": float(np.median(values)),
        "p10": float(np.percentile(values, 10)),
        "p90": float(np.percentile(values, 90)),
        "min": int(values.min()),
        "max": int(values.max()),
        "above": {str(b): round(len(cut) / len(values), 5) for b, cut in over.items()},
        "lost": {
            str(b): round(float((cut - b).mean()), 3) if len(cut) else 0.0
            for b, cut in over.items()
        },
        "histogram": {str(k): v for k, v in sorted(Counter(values.tolist()).items())},
    }


def render_card(card: Mapping[str, Any]) -> str:
    """The card as one self-contained page."""
    tables = [_group_table(name, entries) for name, entries in card["groups"].items()]
    return render_page(
        "data/card.html",
        {
            "subject": card["title"],
            "stats": _stats(card),
            "lengths": _length_table(card["tokens"]) if card["tokens"] else None,
            "charts": [_histogram(name, facts) for name, facts in card["tokens"].items()],
            "groups": tables,
            "rejects": _reject_table(card["rejects"]) if card["rejects"] else None,
        },
    )


def _captions(row: Mapping[str, Any]) -> list[str]:
    """Text and alternative wordings of a row, each once."""
    text = row.get("text")
    further = row.get("captions")
    if isinstance(further, str):  # a csv or the index of shards holds the list as JSON
        further = parse_json(further) if further.lstrip().startswith("[") else [further]
    if not isinstance(further, list | tuple):
        further = []
    own = [] if is_missing(text) else [str(text)]
    return list(dict.fromkeys([*own, *(str(one) for one in further if one)]))


def _by_size(tally: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(tally.items(), key=lambda entry: (-entry[1], entry[0])))


def _stats(card: Mapping[str, Any]) -> list[Stat]:
    stats = [
        Stat("Images", number(card["images"]), _without(card["without_text"])),
        Stat("Captions", number(card["captions"]), f"{number(card['distinct_captions'])} distinct"),
        _patients(card),
    ]
    for name, facts in card["tokens"].items():
        share = facts["above"][str(_MARK)]
        stats.append(
            Stat(
                f"Cut at {_MARK} tokens",
                number(share, percent=True),
                name,
                "warn" if share > 0.1 else "plain",
            )
        )
    return stats


def _patients(card: Mapping[str, Any]) -> Stat:
    """Patients; where they are not known, splits may share them, and the card says so loudly."""
    strangers = card["without_patient"]
    note = f"{number(strangers)} images name none: splits may share patients" if strangers else ""
    return Stat(
        "Patients",
        number(card["patients"] or None),
        note or _slides(card["slides"]),
        "warn" if strangers else "plain",
    )


def _without(silent: int) -> str:
    return f"{number(silent)} without text" if silent else ""


def _slides(slides: int) -> str:
    return f"{number(slides)} slides" if slides else ""


def _length_table(tokens: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = [Column(label) for label in ("Mean", "Median", "90 % below", "Longest")]
    columns += [Column(f"Above {budget}", "tokens lost by those") for budget in BUDGETS]
    rows = []
    for name, facts in tokens.items():
        cells = [Cell(number(facts[key])) for key in ("mean", "median", "p90", "max")]
        for budget in map(str, BUDGETS):
            lost = facts["lost"][budget]
            cells.append(Cell(number(facts["above"][budget], percent=True), number(lost or None)))
        rows.append(Row(name, tuple(cells)))
    return Table(
        "Lengths in tokens, special ones included", tuple(columns), tuple(rows), "Tokenizer"
    )


def _group_table(name: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    total = sum(entry["images"] for entry in entries)
    shown, rest = entries[:_MOST_ROWS], entries[_MOST_ROWS:]
    rows = [
        Row(
            entry["value"] or "not known",
            (
                Cell(number(entry["images"])),
                Cell(number(entry["images"] / total, percent=True)),
                Cell(number(entry["patients"] or None)),
            ),
        )
        for entry in shown
    ]
    if rest:
        images = sum(entry["images"] for entry in rest)
        share = number(images / total, percent=True)
        rows.append(Row(f"{len(rest)} more", (Cell(number(images)), Cell(share), Cell(""))))
    columns = (Column("Images"), Column("Share"), Column("Patients"))
    return Table(f"By {name}", columns, tuple(rows), name.capitalize())


def _reject_table(rejects: Mapping[str, int]) -> Table:
    rows = tuple(Row(reason, (Cell(number(count)),)) for reason, count in rejects.items())
    return Table("What was dropped, and why", (Column("Rows"),), rows, "Reason")


def _histogram(name: str, facts: Mapping[str, Any]) -> str:
    lengths = {int(key): value for key, value in facts["histogram"].items()}
    longest = max(lengths)
    step = max(1, -(-longest // 60))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        bins = Counter[int]()
        for length, count in lengths.items():
            bins[length // step * step] += count
        axes.bar(list(bins), list(bins.values()), width=step * 0.9, align="edge", color=INK["real"])
        for budget in (_MARK, 2 * _MARK):
            if budget < longest * 1.3:
                axes.axvline(budget, color=INK["bad"], linewidth=1.5, linestyle="--")
                axes.text(budget, 1.01, f" {budget}", transform=axes.get_xaxis_transform())
        axes.set_xlabel(f"tokens of a caption ({name})")
        axes.set_ylabel("captions")

    share = number(facts["above"][str(_MARK)], percent=True)
    alt = (
        f"Lengths of captions with {name}: median {facts['median']:g}, {share} above {_MARK} tokens"
    )
    return chart(draw, alt=alt, name=f"lengths-{name}")
