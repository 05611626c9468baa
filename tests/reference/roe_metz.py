"""The simulated studies that iMRMC's golden results belong to, made again from their seeds.

The model is Gallas and Hillis, Journal of Medical Imaging 1:031006 (2014): effects of cases, of
readers, and of both, for each class, and the same three again within each modality.
"""

from __future__ import annotations

import numpy as np

from reference.r_random import RRandom

CASES = 40
SYNTHETIC = np.repeat([False, True], CASES)


def draw(rng: RRandom, num_readers: int, num_cases: int):
    """Scores of two modalities, [R, 2 * num_cases] each, the lower class first."""

    def effects(mean: float):
        cases = [rng.normal(0.3**0.5) for _ in range(num_cases)]
        readers = [rng.normal(0.03**0.5) for _ in range(num_readers)]
        both = [rng.normal(0.2**0.5) for _ in range(num_cases * num_readers)]
        own = np.reshape(both, (num_readers, num_cases))
        return mean + np.array(cases) + np.array(readers)[:, None] + own

    low, high = effects(0.0), effects(1.0)
    one = [effects(0.0), effects(0.0)]
    two = [effects(0.0), effects(0.0)]
    return np.hstack([low + one[0], high + one[1]]), np.hstack([low + two[0], high + two[1]])


def study(design: str):
    """Scores of both modalities by design; the second is None where there is only one."""
    if design == "missing, one modality":
        rng = RRandom(stream=1)
        first, _ = draw(rng, 5, CASES)
        _forget(rng, [first], blocks=(0, 2))
        return first, None
    if design == "crossed":
        return draw(RRandom(stream=2), 5, CASES)
    if design == "missing":
        rng = RRandom(stream=3)
        first, second = draw(rng, 5, CASES)
        _forget(rng, [first, second], blocks=(0, 1, 2, 3))
        first[0], second[:, 0] = np.nan, np.nan
        return first, second
    first, second = draw(RRandom(stream=3), 10, CASES)
    first[5:], second[:5] = np.nan, np.nan
    return first, second


def means(design: str):
    """Scores of the higher class alone, [R, N] of each modality."""
    if design == "crossed":
        return [scores[:, CASES:] for scores in draw(RRandom(stream=2), 5, CASES)]
    both = [scores[:, 38:] for scores in draw(RRandom(stream=2), 8, 38)]
    readers, cases = np.repeat([0, 1, 2], [3, 3, 2]), np.repeat([0, 1, 2], [13, 13, 12])
    for scores in both:
        scores[readers[:, None] != cases] = np.nan
    both[0][4], both[1][:, 4] = np.nan, np.nan
    return both


def _forget(rng: RRandom, modalities, blocks) -> None:
    """Delete 100 of the rows 100 to 880 of the table: 80 truths, then blocks of 5 x 40 answers."""
    rows = [
        (k % len(modalities), k // len(modalities) * CASES + case, reader)
        for k, _ in enumerate(blocks)
        for reader in range(5)
        for case in range(CASES)
    ]
    for number in rng.sample(list(range(100, 881)), 100):
        if number - 81 < len(rows):  # a row beyond the end deletes nothing
            modality, case, reader = rows[number - 81]
            modalities[modality][reader, case] = np.nan
