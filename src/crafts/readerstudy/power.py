"""Step: how many readers and items a study needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import stdtr

from crafts.core.artifacts import Manifest, finish, staging
from crafts.core.runtime import say, seed_from
from crafts.core.tables import csv_row_writer
from crafts.readerstudy.config import PowerConfig
from crafts.readerstudy.protocol import write_json
from crafts.readerstudy.readers import draw_session, true_accuracy, true_area
from crafts.readerstudy.statistics.estimates import t_quantile
from crafts.readerstudy.statistics.ustatistics import (
    FEW_READERS,
    Array,
    Axes,
    Moments,
    moments,
    success_kernel,
    sum_kernel,
)

STAGE = "study-power"
_DRAWS, _READERS, _ITEMS = 12, 40, 120  # large studies from which the moments are learnt


@dataclass(frozen=True)
class Plan:
    """What a study of some size can show.

    Attributes:
        readers: number of readers.
        per_class: items of each class; every reader reads all.
        se: expected standard error of the endpoint.
        df: expected degrees of freedom.
        half_width: expected, of the 95 % interval.
        power: chance that equivalence with 0.5 is shown; None without a margin.
        enough: whether it reaches what was wanted.
    """

    readers: int
    per_class: int
    se: float
    df: float
    half_width: float
    power: float | None
    enough: bool


def run(config: PowerConfig, inputs: Mapping[str, Path] | None, output: Path) -> Manifest:
    """Expected widths and power over a grid of readers and items.

    Args:
        config: the population of readers, what is wanted, and the grid.
        inputs: none.
        output: gets ``power.csv``, ``power.json`` and last ``manifest.json``.

    Raises:
        RetryError: the disk is full, or another run holds the output folder.
    """
    with staging(output, STAGE) as folder:
        truth = (true_area if config.endpoint == "area" else true_accuracy)(config.readers)
        learnt = learn_moments(config)
        plans = [
            plan(config, learnt, truth, readers=readers, per_class=items)
            for readers in sorted(config.num_readers)
            for items in sorted(config.per_class)
        ]
        rows = [asdict(one) for one in plans]
        with (folder / "power.csv").open("w", encoding="utf-8", newline="") as handle:
            csv_row_writer(handle, list(rows[0])).writerows(rows)
        enough = [one for one in plans if one.enough]
        least = min(enough, key=lambda one: one.readers * one.per_class, default=None)
        found = {"endpoint": config.endpoint, "truth": truth, "plans": rows}
        write_json(folder / "power.json", {**found, "least": asdict(least) if least else None})
        say(_sentence(config, least))
        return finish(folder, stage=STAGE, config=config, counts={"plans": len(plans)})


def learn_moments(config: PowerConfig) -> dict[Axes, float]:
    """Exact moments of the endpoint in the population, from a few large simulated studies."""
    rng = np.random.default_rng(seed_from("power", config.seed))
    synthetic = np.repeat([False, True], _ITEMS)
    total: dict[Axes, float] = {}
    for _ in range(_DRAWS):
        session = draw_session(config.readers, synthetic, number=_READERS, rng=rng)
        found = moments(_kernel(config, session.scores, synthetic))
        for axes, value in found.exact.items():
            total[axes] = total.get(axes, 0.0) + value / _DRAWS
    return total


def predict(exact: Mapping[Axes, float], shape: tuple[int, int, int]) -> Moments:
    """The moments that a crossed study of some size is expected to have.

    Args:
        exact: moments of the population.
        shape: readers, real and synthetic items.
    """
    axes = [one for size in range(4) for one in combinations(range(3), size)]

    def share(shared: Axes, among: Axes) -> float:
        """Of pairs that share ``among`` at least, those that share exactly ``shared``."""
        parts = (
            1 / n if axis in shared else 1 - 1 / n
            for axis, n in enumerate(shape)
            if axis not in among
        )
        return math.prod(parts)

    return Moments(
        dict(exact),
        {one: share(one, ()) - (one == ()) for one in axes},
        {
            one: sum(share(more, one) * exact[more] for more in axes if set(one) <= set(more))
            for one in axes
        },
        {one: math.prod(1 / shape[axis] for axis in one) for one in axes},
    )


def plan(
    config: PowerConfig, exact: Mapping[Axes, float], truth: float, *, readers: int, per_class: int
) -> Plan:
    """What a study of one size can show.

    Args:
        config: what is wanted.
        exact: moments of the population.
        truth: the endpoint in the population.
        readers: number of readers.
        per_class: items of each class.
    """
    found = predict(exact, (readers, per_class, per_class))
    variance = found.truncated
    parts = [(found.component(axis), found.freedom(axis)) for axis in range(3)]
    spread = sum(component**2 / freedom**3 for component, freedom in parts)
    df = max(variance**2 / spread, readers - 1.0) if readers >= FEW_READERS else readers - 1.0
    se = math.sqrt(variance)
    half_width = t_quantile(0.95, df) * se
    power = None
    enough = config.half_width is None or half_width <= config.half_width
    if config.margin is not None:
        reach = config.margin - t_quantile(1 - 2 * config.alpha, df) * se
        ends = [(sign * reach - (truth - 0.5)) / se for sign in (-1, 1)]
        power = max(float(stdtr(df, ends[1]) - stdtr(df, ends[0])), 0.0)
        enough = enough and power >= config.power
    wanted = config.half_width is not None or config.margin is not None
    return Plan(readers, per_class, se, df, half_width, power, enough and wanted)


def _kernel(config: PowerConfig, scores: Array, synthetic: np.ndarray) -> Array:
    if config.endpoint == "area":
        return success_kernel(scores, synthetic)
    correct = ((scores > 5) == synthetic).astype(np.float64)
    return sum_kernel(correct, synthetic, (0.5, 0.5))


def _sentence(config: PowerConfig, least: Plan | None) -> str:
    if config.half_width is None and config.margin is None:
        return "study power: say --half-width or --margin to be told which size is enough"
    if least is None:
        return "study power: no size of this grid is enough; add readers first, then items"
    told = f"half width {least.half_width:.3f}"
    if least.power is not None:
        told += f", power {least.power:.2f}"
    return f"study power: {least.readers} readers x {least.per_class} items a class ({told})"
