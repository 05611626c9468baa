"""Samples from worker processes are the samples of one process, and a lost worker is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import configure
from tests.training.test_train import (
    assert_same,
    begin,
    count_rows,
    losses_of,
    weights_of,
)

from crafts.core.errors import DataError, RetryError
from crafts.training import loop, train
from crafts.training.loader import batches, join, make_batch

PASSES = [range(4), range(4, 6), range(6, 10), range(10, 12), range(12, 14)]


class Counting:
    """A task whose samples say what they are, and who made them."""

    def sample(self, position: int) -> dict[str, Any]:
        """Numbers that follow from the position alone."""
        generator = torch.Generator().manual_seed(position)
        noise = torch.randn(2, 3, generator=generator)
        return {"key": str(position), "noise": noise, "by": os.getpid()}

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """As they are."""
        return samples


class Faulty(Counting):
    """Its sixth sample cannot be read."""

    def sample(self, position: int) -> dict[str, Any]:
        """Fails in words."""
        if position == 5:
            raise DataError("tile 5", came="nothing", allowed="pixels", do="Restore it.")
        return super().sample(position)


class Killed(Counting):
    """Its sixth sample ends the process that makes it."""

    def sample(self, position: int) -> dict[str, Any]:
        """Ends a worker as the system does when memory is short."""
        if position == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(position)


def test_workers_make_the_same_batches_in_the_same_order() -> None:
    with batches(Counting(), PASSES, num_workers=2) as made:
        found = list(made)
    with batches(Counting(), PASSES, num_workers=0) as made:
        alone = list(made)
    assert [batch["key"] for batch in found] == [[str(g) for g in part] for part in PASSES]
    for one, other, part in zip(found, alone, PASSES, strict=True):
        assert torch.equal(one["noise"], other["noise"])
        assert torch.equal(one["noise"], make_batch(Counting(), part)["noise"])
    workers = {maker for batch in found for maker in batch["by"]}
    assert len(workers) == 2 and os.getpid() not in workers
    assert {maker for batch in alone for maker in batch["by"]} == {os.getpid()}


def test_workers_end_with_the_block() -> None:
    with batches(Counting(), PASSES, num_workers=2) as made:
        (worker, *_) = next(made)["by"]
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_faulty_sample_is_told_by_its_own_error(num_workers: int) -> None:
    with (
        batches(Faulty(), PASSES, num_workers=num_workers) as made,
        pytest.raises(DataError, match="tile 5: nothing; expected pixels"),
    ):
        list(made)


def test_a_killed_worker_is_told() -> None:
    with (
        batches(Killed(), PASSES, num_workers=2) as made,
        pytest.raises(RetryError, match="a worker process that was killed"),
    ):
        list(made)


def test_samples_of_several_shapes_stay_apart() -> None:
    joined = join([{"a": torch.zeros(2), "b": None}, {"a": torch.zeros(3), "b": None}])
    assert [len(value) for value in joined["a"]] == [2, 3] and joined["b"] == [None, None]


@pytest.fixture
def shards(recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The recipe on tiles that are decoded and encoded as they come, in two passes a step."""
    return recipe | {"micro_batch_size": 2}


def test_weights_do_not_depend_on_the_workers(shards: dict[str, Any], tmp_path: Path) -> None:
    for number in (0, 2):
        train.run(configure(shards, f"num_workers={number}"), {}, tmp_path / str(number))
    assert_same(weights_of(tmp_path / "0"), weights_of(tmp_path / "2"))
    assert losses_of(tmp_path / "0") == losses_of(tmp_path / "2")


def test_killed_in_mid_prefetch_and_resumed_equals_undisturbed(
    shards: dict[str, Any], tmp_path: Path
) -> None:
    """The workers are ahead of the step when the run is killed, and resumed without them."""
    train.run(configure(shards), {}, tmp_path / "whole")
    output = tmp_path / "killed"
    run = begin(configure(shards, "num_workers=2"), output)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # the process that is killed, with its workers ahead of it
        os.close(reader)
        collate, seen = run.task.collate, []

        def stop(samples: dict[str, Any]) -> dict[str, Any]:
            seen.append(samples["key"])
            if len(seen) == 8:  # of 16 passes; a checkpoint lies after the fourth
                os.write(writer, b"x")
                time.sleep(600)
            return collate(samples)

        run.task.collate = stop  # type: ignore[method-assign]
        loop.train(run, [])
        os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert 0 < count_rows(output) < 8
    train.run(configure(shards), {}, output)
    assert_same(weights_of(tmp_path / "whole"), weights_of(output))
    assert losses_of(tmp_path / "whole") == losses_of(output)
