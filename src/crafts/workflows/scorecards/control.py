"""Scorecard of a ControlNet: figures by its kind, their tables, and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError
from crafts.core.markdown import table
from crafts.model.control import load_control
from crafts.workflows.scorecards.fluorescence import score_fluorescence
from crafts.workflows.scorecards.nuclei import score_nuclei

_SPREAD = "is half of the 95 % interval, patients drawn again, where there are eight."
_MOVES = {
    "moved": "mask moved by {pixels} px",
    "steered": "mask where it was",
    "free": "no mask (chance)",
}
_EMPTY = {
    "empty": "empty mask",
    "bare": "real windows where no nucleus is marked",
    "free": "no mask",
    "steered": "the mask",
    "real": "real tiles",
}


def score_control(
    control: Path,
    pairs: Path,
    output: Path,
    sets: Path | None = None,
    per_set: int = 20,
    model: str = "mini",
    preset: str = "balanced",
    weight: float = 1.0,
) -> str:
    """Measure on held-out tiles whether a ControlNet is obeyed, and write it down.

    Args:
        control: folder of the ControlNet.
        pairs: tiles with masks and splits, as ``crafts pack`` takes them.
        output: gets ``generated/``, which goes on where it was stopped, ``control.json``,
            ``control.md`` and ``montage.png``.
        sets: folder of the open sets with ``dsb2018_cc0`` and ``deepliif``; for fluorescence.
        per_set: held-out tiles of a set.
        model: that it steers.
        preset: of the sampler.
        weight: of the ControlNet.

    Returns:
        The tables, and what was asked for beside what was measured.

    Raises:
        ConfigError: no ControlNet, or one for fluorescence without ``sets``.
    """
    network = load_control(control)
    output.mkdir(parents=True, exist_ok=True)
    options = {"model": model, "preset": preset, "weight": weight}
    if network.kind == "nuclei":
        found = score_nuclei(control, pairs, output, per_set=per_set, options=options)
    elif sets is None:
        raise ConfigError(
            f"scorecard of {control}",
            came="a ControlNet for fluorescence, and no folder of fluorescence",
            allowed="--sets SETS, the folder of the open sets",
            do="Name it.",
        )
    else:
        places = (control, pairs, sets)
        found = score_fluorescence(places, output, per_set=per_set, options=options)
    found = {"kind": network.kind, "control": network.fingerprint, **found}
    text = compose(found)
    write_bytes(output / "control.json", json.dumps(found, indent=1).encode())
    write_bytes(output / "control.md", text.encode())
    return "\n".join([text, *verdict(found)])


def compose(found: Mapping[str, Any]) -> str:
    """The tables for people."""
    head = f"Preset `{found['preset']}`, weight {found['weight']:g}. ± {_SPREAD} "
    if found["kind"] == "nuclei":
        note = "Normalised: (Dice - floor of other masks) / (ceiling - floor)."
        lines = _nuclei(found)
    else:
        note = "Pearson correlation of the hematoxylin of each image with its map."
        lines = _fluorescence(found)
    return "\n".join([head + note, "", *lines]) + "\n"


def verdict(found: Mapping[str, Any]) -> list[str]:
    """What was asked for beside what was measured, a line each."""
    if found["kind"] == "fluorescence":
        return [
            f"{name}: correlation {_shown(one['correlation'])}, asked 0.5"
            for name, one in found["groups"].items()
        ]
    sets, moved, empty = found["sets"].values(), found["moved"], found["empty"]
    dice = [one["normalised"] for one in sets if one["normalised"] is not None]
    counts = [one["obeyed"]["count_correlation"] for one in sets]
    counts = [value for value in counts if value is not None]
    return [
        f"normalised Dice, mean of sets {_shown(_mean(dice))}, asked 0.5",
        f"correlation of counts, mean of sets {_shown(_mean(counts))}, asked 0.7",
        f"moved with their mask {moved['moved']['share_near']:.2f} of {moved['tiles']}",
        f"nuclei in tiles of an empty mask {_shown(empty['empty']['nuclei'])}, "
        f"in real windows without a marked nucleus {_shown(empty['bare']['nuclei'])}, "
        f"without a mask {_shown(empty['free']['nuclei'])}",
    ]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _shown(value: float | None, spread: float | None = None, digits: int = 2) -> str:
    """A number for a table, with its interval where there is one; "" for none."""
    if value is None:
        return ""
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _nuclei(found: Mapping[str, Any]) -> list[str]:
    sets, moved, empty = found["sets"], found["moved"], found["empty"]
    titles = ["set", "tiles", "Dice", "floor: other masks", "floor: no mask", "ceiling: real"]
    titles += ["normalised", "counts: correlation", "real", "found / asked", "real"]
    lines = [*table(titles, [_set_row(name, one) for name, one in sets.items()]), ""]
    names = ("f1", "aji", "panoptic_quality")
    rows = [
        [name, *(f"{_shown(one['obeyed'][n])} ({_shown(one['ceiling'][n])})" for n in names)]
        for name, one in sets.items()
        if one["obeyed"]["f1"] is not None
    ]
    lines += [*table(["nuclei, generated (real)", "F1", "AJI", "PQ"], rows), ""]
    classes = sorted({c for one in sets.values() for c in one["obeyed"]["class_dice"]})
    rows = [[name, *(_class_cell(one, c) for c in classes)] for name, one in sets.items()]
    lines += [*table(["Dice of class, generated (floor, real)", *classes], rows), ""]
    rows = [
        [title.format(**moved), *(_shown(moved[kind][n]) for n in ("median_miss", "share_near"))]
        for kind, title in _MOVES.items()
    ]
    titles = ["nuclei miss their place by, median px", f"share within {moved['near']:g} px"]
    lines += [*table([f"{moved['tiles']} tiles", *titles], rows), ""]
    rows = [
        [title, one["tiles"], _shown(one["nuclei"], one["spread"]), _shown(one["pixels"], digits=3)]
        for one, title in ((empty[kind], title) for kind, title in _EMPTY.items())
    ]
    titles = ["nuclei found again", "tiles", "per 256 x 256 px", "share of pixels"]
    return lines + table(titles, rows)


def _set_row(name: str, one: Mapping[str, Any]) -> list[object]:
    obeyed, ceiling = one["obeyed"], one["ceiling"]
    between = (one["floor"] or {}, one["without_mask"], ceiling)
    return [
        name,
        obeyed["n"],
        _shown(obeyed["dice"], one["spread"]),
        *(_shown(part.get("dice")) for part in between),
        _shown(one["normalised"]),
        *(_shown(part["count_correlation"]) for part in (obeyed, ceiling)),
        *(_shown(part["count_ratio"]) for part in (obeyed, ceiling)),
    ]


def _class_cell(one: Mapping[str, Any], name: str) -> str:
    own, low, high = (
        (one[part] or {}).get("class_dice", {}).get(name) for part in ("obeyed", "floor", "ceiling")
    )
    return "" if own is None else f"{_shown(own)} ({_shown(low)}, {_shown(high)})"


def _fluorescence(found: Mapping[str, Any]) -> list[str]:
    titles = ["maps", "images", "correlation", "floor: other maps", "floor: no map"]
    names = ("floor", "without_map", "ceiling", "share_above")
    rows = [
        [name, one["n"], _shown(one["correlation"], one["spread"])]
        + [_shown(one[n]) for n in names]
        for name, one in found["groups"].items()
    ]
    return table([*titles, "ceiling: the real image", "share ≥ 0.5"], rows)
