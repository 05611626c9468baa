"""A warning where samples grow alike, and only there."""

from __future__ import annotations

import math
import random

from crafts.training.objective.collapse import CollapseWatch


def warnings(values: list[float]) -> list[int]:
    watch = CollapseWatch()
    return [step for step, value in enumerate(values) if watch.look(value)]


def test_a_planted_collapse_is_warned_of_once() -> None:
    found = warnings([0.4] * 50 + [0.97] * 200)
    assert len(found) == 1 and 50 < found[0] < 90


def test_it_is_said_again_after_a_recovery() -> None:
    assert len(warnings(([0.4] * 100 + [0.97] * 100) * 2)) == 2


def test_noise_around_an_ordinary_level_is_no_collapse() -> None:
    rng = random.Random(0)
    assert not warnings([rng.gauss(0.5, 0.25) for _ in range(5000)])


def test_a_network_that_starts_alike_is_not_warned_of() -> None:
    assert not warnings([1.0] * 20 + [0.5] * 100)


def test_batches_of_one_prompt_are_passed_over() -> None:
    watch = CollapseWatch()
    assert watch.look(math.nan) is None and math.isnan(watch.value)
    watch.look(0.4)
    watch.look(math.nan)
    assert watch.value == 0.4
