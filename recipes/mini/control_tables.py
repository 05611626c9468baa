"""Figures of ``score_control.py`` for people, and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.measures.intervals import LEAST_GROUPS

DRAWS = 1000


def interval(
    statistic: Callable[[NDArray[np.int64]], float], patients: Sequence[str]
) -> float | None:
    """Half the width of the 95 % interval of a statistic over tiles, patients drawn again.

    Args:
        statistic: of the indices of tiles; NaN where it has no value.
        patients: of each tile.

    Returns:
        None with fewer than eight patients.
    """
    _, numbers = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(numbers == k) for k in range(numbers.max(initial=-1) + 1)]
    if len(members) < LEAST_GROUPS:
        return None
    draws = np.random.default_rng(seed_from("control", "interval"))
    drawn = draws.integers(len(members), size=(DRAWS, len(members)))
    values = np.array([statistic(np.concatenate([members[k] for k in row])) for row in drawn])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(high - low) / 2


def mean_interval(values: NDArray[np.float64], patients: Sequence[str]) -> float | None:
    """:func:`interval` of the mean of values [N]."""
    return interval(lambda rows: float(values[rows].mean()), patients)


def shown(value: float | None, spread: float | None = None, *, digits: int = 2) -> str:
    """A number for a table."""
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def table(titles: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def nuclei_tables(result: Mapping[str, Any]) -> str:
    """All tables of a ControlNet for nuclei."""
    sets = result["sets"]
    titles = [
        *("set", "tiles", "Dice", "floor: other masks", "floor: no mask", "ceiling: real"),
        *("normalised", "counts: correlation", "real", "no mask", "found / asked", "real"),
    ]
    lines = [
        f"Preset `{result['preset']}`, weight {result['weight']:g}; ± is half of the 95 % "
        "interval, patients drawn again, where there are eight. Normalised: "
        "(Dice - floor of other masks) / (ceiling - floor).",
        "",
        *table(titles, [_nuclei_row(name, one) for name, one in sets.items()]),
        "",
    ]
    touching = {name: one for name, one in sets.items() if one["obeyed"]["f1"] is not None}
    names = ("f1", "aji", "panoptic_quality")
    rows = [
        [name, *(f"{shown(one['obeyed'][n])} ({shown(one['ceiling'][n])})" for n in names)]
        for name, one in touching.items()
    ]
    lines += [*table(["nuclei, generated (real)", "F1", "AJI", "PQ"], rows), ""]
    classes = sorted({c for one in sets.values() for c in one["obeyed"]["class_dice"]})
    rows = [[name, *(_class_cell(one, c) for c in classes)] for name, one in sets.items()]
    rows = [row for row in rows if any(row[1:])]
    lines += [*table(["Dice of class, generated (floor, real)", *classes], rows), ""]
    return "\n".join(lines + _probe_lines(result)) + "\n"


def verdict(result: Mapping[str, Any]) -> list[str]:
    """What was asked for beside what was measured, a line each."""
    if result["kind"] == "fluorescence":
        return [
            f"{name}: correlation {one['correlation']:.2f}, asked 0.5"
            for name, one in result["groups"].items()
        ]
    one, moved, empty = result["sets"]["all"], result["moved"], result["empty"]
    return [
        f"normalised Dice {shown(one['normalised'])}, asked 0.5",
        f"correlation of counts {shown(one['obeyed']['count_correlation'])}, asked 0.7",
        f"moved with their mask {moved['moved']['share_near']:.2f} of {moved['tiles']}",
        f"nuclei in tiles of an empty mask {empty['empty']['nuclei']:.1f}, "
        f"in real windows without a marked nucleus {shown(empty['bare']['nuclei'], digits=1)}, "
        f"without a mask {empty['free']['nuclei']:.1f}",
    ]


def _nuclei_row(name: str, one: Mapping[str, Any]) -> list[str]:
    obeyed, floor, ceiling = one["obeyed"], one["floor"] or {}, one["ceiling"]
    free = one["without_mask"]
    return [
        name,
        str(obeyed["n"]),
        shown(obeyed["dice"], one["spread"]),
        shown(floor.get("dice")),
        shown(free["dice"]),
        shown(ceiling["dice"]),
        shown(one["normalised"], one["normalised_spread"]),
        shown(obeyed["count_correlation"], one["count_correlation_spread"]),
        shown(ceiling["count_correlation"]),
        shown(free["count_correlation"]),
        shown(obeyed["count_ratio"]),
        shown(ceiling["count_ratio"]),
    ]


def _class_cell(one: Mapping[str, Any], name: str) -> str:
    parts = [(one[part] or {}).get("class_dice", {}).get(name) for part in ("floor", "ceiling")]
    own = one["obeyed"]["class_dice"].get(name)
    return "" if own is None else f"{shown(own)} ({shown(parts[0])}, {shown(parts[1])})"


def _probe_lines(result: Mapping[str, Any]) -> list[str]:
    moved, empty = result["moved"], result["empty"]
    titles = {
        "moved": f"mask moved by {moved['pixels']} px",
        "steered": "mask where it was",
        "free": "no mask (chance)",
    }
    rows = [
        [title, shown(moved[kind]["median_miss"], digits=1), shown(moved[kind]["share_near"])]
        for kind, title in titles.items()
    ]
    lines = table(
        [
            f"{moved['tiles']} tiles",
            "nuclei miss their place by, median px",
            f"share within {moved['near']:g} px",
        ],
        rows,
    )
    titles = {
        "empty": "empty mask",
        "bare": f"{empty['bare']['tiles']} real windows where no nucleus is marked",
        "free": "no mask",
        "steered": "the mask",
        "real": "real tiles",
    }
    rows = [
        [
            title,
            shown(one["nuclei"], one["nuclei_spread"], digits=1),
            shown(one["pixels"], digits=3),
        ]
        for one, title in ((empty[kind], title) for kind, title in titles.items())
    ]
    return [*lines, "", *table(["nuclei found again", "per 256 x 256 px", "share of pixels"], rows)]


def fluorescence_table(result: Mapping[str, Any]) -> str:
    """The table of a ControlNet for fluorescence."""
    titles = [
        *("maps", "images", "correlation", "floor: other maps", "floor: no map"),
        *("ceiling: the real image", "share ≥ 0.5"),
    ]
    rows = [
        [
            name,
            str(one["n"]),
            shown(one["correlation"], one["spread"]),
            shown(one["floor"]),
            shown(one["without_map"]),
            shown(one["ceiling"]),
            shown(one["share_above"]),
        ]
        for name, one in result["groups"].items()
    ]
    lines = [
        f"Preset `{result['preset']}`, weight {result['weight']:g}. Pearson correlation of the "
        "hematoxylin of each image with its map, mean over images; ± is half of the 95 % interval, "
        "patients drawn again, where there are eight.",
        "",
        *table(titles, rows),
    ]
    return "\n".join(lines) + "\n"
