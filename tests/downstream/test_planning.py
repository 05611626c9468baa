"""The planner of a rare class and the rank correlation, on features with a planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.core.errors import ConfigError
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Exam
from crafts.downstream.opening import Opened, Side
from crafts.downstream.planning import plan_class, relate_distance
from crafts.downstream.pool import Pool
from crafts.downstream.results import ArmRow
from crafts.downstream.statistics import balanced_weights
from crafts.sets.described import describe
from crafts.sets.source import Source
from fixtures_sets import feature_set

REAL, MADE, WIDTH = 160, 40, 6


@pytest.fixture
def world(tmp_path):
    """Classes a and b apart in one dimension; ``shift`` moves the generated b away from it."""

    def build(shift: float = 0.0, folders: int = 1, rare: str = "b"):
        rng = np.random.default_rng(0)
        labels = np.arange(REAL) % 2
        features = rng.normal(size=(REAL, WIDTH)).astype(np.float32)
        features[:, 0] += 2.0 * labels
        parts, made = {"real": np.arange(REAL)}, []
        for k in range(folders):
            some = rng.normal(size=(MADE, WIDTH)).astype(np.float32)
            some[:, 0] += 2.0 - shift * (k + 1)
            made.append(some)
            parts[f"made {k}"] = np.arange(REAL + k * MADE, REAL + (k + 1) * MADE)
        found = feature_set(REAL, labels="ab" * (REAL // 2), patients=40)
        source = Source("heldout", tmp_path, "", {"": tmp_path})
        tiles = describe(found, {})
        sides = [Side(f"made {k}", source, tiles) for k in range(folders)]
        opened = Opened(
            *(Side("real", source, tiles), np.arange(60), np.arange(60, REAL), sides, None),
            ["a", "b"],
        )
        every = np.concatenate([features, *made])
        numbers = np.concatenate([labels, np.ones(MADE * folders, dtype=np.int64)])
        pool = Pool(every, every, every[:, :0], numbers, [{}] * len(every), parts)
        rows = opened.test
        exam = Exam("test", opened.real, rows, rows, balanced_weights(labels[rows]))
        config = BenchmarkConfig(real=tmp_path, generated=(tmp_path,), rare=rare, resamples=200)
        return config, opened, pool, exam

    return build


def lows() -> list[np.ndarray]:
    return [np.array([2 * k, 2 * k + 1]) for k in range(4)]


def test_a_rare_class_gains_until_it_is_no_longer_rare(world):
    points = plan_class(*world(), lows())
    assert [point.made for point in points] == [0, 5, 10, 20, 40]
    assert points[-1].recall > points[0].recall + 0.3
    enough = [point.made for point in points if point.enough]
    assert len(enough) == 1 and enough[0] >= 5


def test_tiles_that_show_another_class_are_never_enough(world):
    points = plan_class(*world(shift=2.0), lows())
    assert [point.made for point in points if point.enough] == [0]


def test_a_class_that_is_not_there_is_refused(world):
    with pytest.raises(ConfigError, match="'bone', of which there are 0 generated tiles"):
        plan_class(*world(rare="bone"), lows())


def test_folders_that_lie_farther_and_help_less_correlate(world):
    _, opened, pool, _ = world(shift=0.7, folders=5)
    rows = [
        ArmRow(on="test", method="probe", fraction=1, arm="x", kind="synthetic",
               folder=f"made {k}", gain=0.1 - 0.02 * k)
        for k in range(5)
    ]  # fmt: skip
    points, said = relate_distance(opened, pool, rows, arm="x", seed=0)
    assert [point.folder for point in points] == [f"made {k}" for k in range(5)]
    assert "-1.00" in said
    assert relate_distance(opened, pool, rows[:4], arm="x", seed=0) == ([], "")
