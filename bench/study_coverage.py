"""Do the intervals of a reader study hold the truth? Simulated studies, as docs/results/study.md.

python bench/study_coverage.py coverage > coverage.md      # 1,000 studies a design
python bench/study_coverage.py equivalence                 # 10,000 studies at the margin
python bench/study_coverage.py coverage 1000 7             # number of studies, and another seed
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from crafts.readerstudy.config import Readers
from crafts.readerstudy.readers import draw_session, true_accuracy, true_area
from crafts.readerstudy.statistics.equivalence import two_one_sided
from crafts.readerstudy.statistics.estimates import NORMAL_FROM, Estimate
from crafts.readerstudy.statistics.ustatistics import over_readers, success_kernel, sum_kernel

POPULATION = Readers(d_prime=0.5)
ITEMS = 40
"""Of each class."""

BLOCK = 250
"""Studies that are worked on at once."""

DESIGNS = {
    "3 readers, crossed": (3, "crossed"),
    "5 readers, crossed": (5, "crossed"),
    "5 readers, a fifth missing": (5, "missing"),
    "6 readers, split-plot": (6, "split-plot"),
    "10 readers, crossed": (10, "crossed"),
}

Array = NDArray[np.float64]


def draw_studies(
    readers: Readers, number: int, design: str, *, seed: int
) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
    """Scores [R, N] and truth [N] of study after study."""
    rng = np.random.default_rng(seed)
    synthetic = np.repeat([False, True], ITEMS)
    while True:
        scores = draw_session(readers, synthetic, number=number, rng=rng).scores
        if design == "missing":
            scores = np.where(rng.random(scores.shape) < 0.2, np.nan, scores)
        if design == "split-plot":
            half = np.arange(number) // (number // 2)
            scores = np.where(half[:, None] != np.arange(2 * ITEMS) % 2, np.nan, scores)
        yield scores, synthetic


def figures(scores: Array, synthetic: NDArray[np.bool_]) -> tuple[Estimate, Estimate]:
    """Area and balanced accuracy as a report shows them."""
    correct = np.where(np.isnan(scores), np.nan, (scores > 5) == synthetic)
    both = success_kernel(scores, synthetic), sum_kernel(correct, synthetic, (0.5, 0.5))
    return over_readers(both[0]), over_readers(both[1])


def measure_coverage(number: int, design: str, *, studies: int, seed: int) -> Array:
    """Of area and accuracy: share that holds the truth, and width against the ideal, [2, 2]."""
    truths = true_area(POPULATION), true_accuracy(POPULATION)
    held, widths, values = np.zeros(2), np.zeros(2), np.empty((studies, 2))
    drawn = draw_studies(POPULATION, number, design, seed=seed)
    for k, study in zip(range(studies), drawn, strict=False):
        for place, (found, truth) in enumerate(zip(figures(*study), truths, strict=True)):
            held[place] += found.low <= truth <= found.high
            widths[place] += found.half_width / studies
            values[k, place] = found.value
    return np.stack([held / studies, widths / (1.96 * values.std(axis=0))])


def measure_type_one(number: int, *, studies: int, margin: float, seed: int) -> float:
    """Share of studies that show an equivalence which just does not hold; studies in blocks."""
    readers = POPULATION.model_copy(update={"d_prime": at_margin(margin)})
    drawn = draw_studies(readers, number, "crossed", seed=seed)
    shown = 0
    for start in range(0, studies, BLOCK):
        block = [next(drawn) for _ in range(min(BLOCK, studies - start))]
        kernels = np.stack([success_kernel(*study) for study in block])
        values, errors, freedom = crossed_intervals(kernels)
        if start == 0:  # the short way gives what a report gives
            one = over_readers(kernels[0])
            assert np.allclose([one.value, one.se, one.df], [values[0], errors[0], freedom[0]])
            test = two_one_sided(one, null=0.5, margin=margin)
            assert np.isclose(test.p, one_sided(values, errors, freedom, margin)[0])
        shown += int((one_sided(values, errors, freedom, margin) < 0.05).sum())
    return shown / studies


def crossed_intervals(kernels: Array) -> tuple[Array, Array, Array]:
    """Value, standard error and degrees of freedom of many crossed studies [S, R, N, M] at once."""
    shape = kernels.shape[1:]
    sets = [axes for size in range(4) for axes in combinations((0, 1, 2), size)]
    sums = {}
    for axes in sets:
        kept = tuple(axis + 1 for axis in range(3) if axis not in axes)
        parts = kernels.sum(axis=kept) if kept else kernels
        sums[axes] = (parts.reshape(len(kernels), -1) ** 2).sum(axis=1)
    pairs = {axes: float(np.prod(shape) ** 2 / np.prod([shape[a] for a in axes])) for axes in sets}

    def exactly(counts):  # type: ignore[no-untyped-def]
        return {
            axes: sum((-1) ** (len(m) - len(axes)) * counts[m] for m in sets if set(axes) <= set(m))
            for axes in sets
        }

    products, numbers = exactly(sums), exactly(pairs)
    exact = {axes: products[axes] / numbers[axes] for axes in sets}
    variance = np.zeros(len(kernels))
    for axes in sets[1:]:
        below = [m for m in sets if set(m) <= set(axes)]
        common = sum((-1) ** (len(axes) - len(m)) * exact[m] for m in below)
        variance += pairs[axes] / pairs[()] * np.maximum(common, 0)
    components = [sums[(a,)] / pairs[(a,)] - sums[()] / pairs[()] for a in range(3)]
    spread = sum(one**2 / (shape[a] - 1) ** 3 for a, one in enumerate(components))
    freedom = np.maximum(variance**2 / spread, min(shape) - 1)
    return kernels.mean(axis=(1, 2, 3)), np.sqrt(variance), freedom


def one_sided(values: Array, errors: Array, freedom: Array, margin: float) -> Array:
    """The p of two one-sided tests against 0.5 and the margin."""
    size = (margin - np.abs(values - 0.5)) / errors
    return np.where(freedom <= NORMAL_FROM, stdtr(np.floor(freedom), -size), ndtr(-size))


def at_margin(margin: float) -> float:
    """The d' at which the area lies just at the margin."""
    low, high = 0.0, 5.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        area = true_area(POPULATION.model_copy(update={"d_prime": middle}))
        low, high = (middle, high) if area < 0.5 + margin else (low, middle)
    return (low + high) / 2


def main(what: str, studies: int, seed: int) -> None:
    """Print a table in Markdown."""
    if what == "coverage":
        print("| design | area: held | width / ideal | accuracy: held | width / ideal |")
        print("|---|---|---|---|---|")
        for name, (number, design) in DESIGNS.items():
            (area, accuracy), (wide, wider) = measure_coverage(
                number, design, studies=studies, seed=seed
            )
            print(
                f"| {name} | {area:.1%} | {wide:.2f} | {accuracy:.1%} | {wider:.2f} |", flush=True
            )
    else:
        print("| readers | equivalence shown at the margin |\n|---|---|")
        for number in (5, 10):
            rate = measure_type_one(number, studies=studies, margin=0.1, seed=seed)
            print(f"| {number} | {rate:.2%} |", flush=True)


if __name__ == "__main__":
    default = 1000 if sys.argv[1] == "coverage" else 10_000
    given = [int(word) for word in sys.argv[2:]]
    main(sys.argv[1], *(given + [default, 1][len(given) :]))
