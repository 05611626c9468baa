"""Two questions beside the arms: how many tiles of a rare class; does distance foretell gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError
from crafts.downstream.classification import Scaling, fit_probe, mark
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Exam
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Pool
from crafts.downstream.results import ArmRow, FolderPoint, PlanPoint
from crafts.downstream.statistics import paired_gain
from crafts.measures.distances import kernel_distance
from crafts.sets.splits import Rows

_FIRST = 5
LEAST_FOLDERS = 5
"""Folders below which no rank correlation is given."""


def plan_class(
    config: BenchmarkConfig, opened: Opened, pool: Pool, exam: Exam, lows: Sequence[Rows]
) -> list[PlanPoint]:
    """Add generated tiles of one class, twice as many each time, by linear probe.

    Of the rare class the real tiles of a small draw of patients are there, of the others all. The
    rule stops at the last number whose gain over the one before has an interval above 0; at 0 where
    there is none.

    Args:
        config: names the class.
        opened: the sets.
        pool: their pictures.
        exam: the test tiles.
        lows: for each seed, places in ``opened.train``.

    Raises:
        ConfigError: no such class, or no generated tile of it.
    """
    rare = opened.classes.index(config.rare) if config.rare in opened.classes else -1
    made = np.concatenate([pool.of(side) for side in opened.generated])
    made = made[pool.labels[made] == rare]
    if rare < 0 or not len(made):
        raise ConfigError(
            "benchmark: rare",
            came=f"{config.rare!r}, of which there are {len(made)} generated tiles",
            allowed=f"one of {', '.join(opened.classes)}, with generated tiles",
            do="Name another class, or generate tiles of it.",
        )
    every = pool.of(opened.real)[opened.train]
    scale = Scaling.of(pool.features[every])
    tested, truth = scale(pool.features[exam.seen]), pool.labels[exam.seen]
    amounts = [0]
    while (more := max(_FIRST, 2 * amounts[-1])) <= min(len(made), config.max_synthetic):
        amounts.append(more)
    scores: list[NDArray[np.float64]] = []
    for amount in amounts:
        found = []
        for seed, low in enumerate(lows, config.seed):
            own = np.concatenate([every[pool.labels[every] != rare], _of(pool, every[low], rare)])
            few = np.random.default_rng(seed).permutation(made)[:amount]
            seen = np.concatenate([own, few])
            fitted = fit_probe(scale(pool.features[seen]), pool.labels[seen], total=len(own))
            found.append(mark(fitted(tested), truth).score)
        scores.append(np.array(found))
    return _points(config, exam, amounts, scores, mine=truth == rare)


def _of(pool: Pool, rows: Rows, number: int) -> Rows:
    return rows[pool.labels[rows] == number]


def _points(
    config: BenchmarkConfig,
    exam: Exam,
    amounts: Sequence[int],
    scores: Sequence[NDArray[np.float64]],
    *,
    mine: NDArray[np.bool_],
) -> list[PlanPoint]:
    points: list[PlanPoint] = []
    enough = 0
    for k, (amount, score) in enumerate(zip(amounts, scores, strict=True)):
        accuracy = float((score * exam.weights).mean())
        values = {"recall": float(score[:, mine].mean()), "accuracy": accuracy}
        if k:
            change = (score - scores[k - 1]) * exam.weights
            gain = paired_gain(change, list(exam.groups), resamples=config.resamples)
            values |= {"gain": gain.mean, "low": gain.low, "high": gain.high}
            enough = k if gain.low > 0 else enough
        points.append(PlanPoint(made=amount, **values))
    return [point.model_copy(update={"enough": k == enough}) for k, point in enumerate(points)]


def relate_distance(
    opened: Opened, pool: Pool, rows: Sequence[ArmRow], *, arm: str, seed: int
) -> tuple[list[FolderPoint], str]:
    """Each folder's kernel distance to the real test tiles beside its gain, and a rank correlation.

    Args:
        opened: the sets.
        pool: their pictures.
        rows: of one exam, method and share.
        arm: whose gain counts.
        seed: of the subsets of the distance.

    Returns:
        The folders, nearest first, and a sentence; neither where there are fewer than five.
    """
    from scipy.stats import spearmanr

    gains = {row.folder: row.gain for row in rows if row.arm == arm and row.gain is not None}
    if len(gains) < LEAST_FOLDERS:
        return [], ""
    real = pool.features[pool.of(opened.real)[opened.test]]
    points = []
    for name, gain in gains.items():
        made = pool.features[pool.parts[name]]
        size = min(1000, len(made), len(real))
        distance, _ = kernel_distance(real, made, num_subsets=20, subset_size=size, seed=seed)
        points.append(FolderPoint(folder=name, distance=distance, gain=gain))
    points.sort(key=lambda point: point.distance or 0.0)
    found = spearmanr([one.distance for one in points], [one.gain for one in points])
    if not np.isfinite(found.statistic):
        return points, "All gains or all distances are alike: no rank correlation."
    return points, (
        f"Over {len(points)} folders the rank correlation of kernel distance and gain is "
        f"{found.statistic:+.2f} (p = {found.pvalue:.2g}); below 0, nearer sets help more."
    )
