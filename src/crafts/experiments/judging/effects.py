"""Main effects of a two-level screening design, with intervals from what they leave unexplained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crafts.experiments.catalogue import FACTORS, Experiment
from crafts.experiments.judging.paired import CONFIDENCE, Difference, say_finding, shift_seen

ANY = "any run"
Values = Mapping[str, Mapping[str, Sequence[float | None]]]


def factor_effects(experiment: Experiment, values: Values) -> dict[str, dict[str, Difference]]:
    """Judging measure -> factor -> its effect; nothing for an experiment without factors.

    Beside the factors stands :data:`ANY`, the mean of all runs less the baseline.

    Args:
        experiment: with arms that have levels, or not.
        values: arm -> measure -> one value a seed; a measure with a missing value is left out.
    """
    runs = [arm for arm in experiment.arms if arm.levels]
    found = {}
    for name in experiment.judged_by if runs else ():
        seeds = [values[arm.name][name] for arm in (experiment.baseline, *runs)]
        if not any(value is None for row in seeds for value in row):
            table = np.array(seeds, float)
            found[name] = estimate_effects([arm.levels for arm in runs], table[1:], table[0])
    return found


def estimate_effects(
    levels: Sequence[Mapping[str, int]], table: NDArray[np.float64], baseline: NDArray[np.float64]
) -> dict[str, Difference]:
    """High less low level of each factor by least squares, seeds as blocks.

    Args:
        levels: of each run, 1 or -1, columns at right angles to each other and to the mean.
        table: [R, S], a row a run, a column a seed.
        baseline: [S].

    Returns:
        Factor -> effect; ``num_seeds`` is one more than the degrees of freedom of the error.
    """
    signs = np.array([list(run.values()) for run in levels], float)
    blocked = table - table.mean(0)
    halves = signs.T @ blocked.mean(1) / len(signs)
    left = blocked - (signs @ halves)[:, None]
    degrees = table.size - table.shape[1] - signs.shape[1]
    spread = math.sqrt(float(np.square(left).sum()) / degrees)
    found = {
        name: _interval(2 * half, 2 * spread / math.sqrt(table.size), degrees)
        for name, half in zip(levels[0], halves, strict=True)
    }
    error = spread * math.sqrt(1 / table.size + 1 / len(baseline))
    return found | {ANY: _interval(float(table.mean() - baseline.mean()), error, degrees)}


def _interval(mean: float, error: float, degrees: int) -> Difference:
    from scipy import stats

    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * error
    shown = shift_seen(degrees + 1) * error
    return Difference(float(mean), float(mean - reach), float(mean + reach), shown, degrees + 1)


def say_effect(factor: str, baseline: str, measure: str, *, effect: Difference, runs: int) -> str:
    """One plain sentence on a factor and a measure."""
    if factor == ANY:
        return say_finding(ANY, baseline, measure, effect, over=f"{runs} runs")
    (low, _), (high, _) = FACTORS[factor]
    return say_finding(f"{factor} {high}", low, measure, effect, over=f"{runs} runs")
