"""Many processes, shards and a Ray cluster: the bytes of one process, whoever dies on the way.

`pip install "crafts[dist]"` brings Ray; without it the tests that need it are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal

import pytest

from crafts.core.artifacts import LOCK, verify
from crafts.core.crew import ProcessHands, RayHands
from crafts.core.errors import ConfigError
from crafts.generation import workers
from crafts.generation.generate import run
from crafts.generation.request import GenerateConfig
from crafts.generation.workers import deal
from crafts.model.bundle import load_bundle

HAS_RAY = importlib.util.find_spec("ray") is not None
ROWS = 11  # no multiple of a batch, nor of the shards


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Prompts of one and of two chunks of tokens, and one row that is of no use."""
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    lines = [f"r{i},{'lung ' * 90 if i % 5 == 4 else 'colon'} {i},{i}" for i in range(ROWS)]
    path.write_text("\n".join(["id,prompt,seed", *lines, "b/c,prostate,1"]) + "\n")
    return path


@pytest.fixture(scope="module")
def make(table, tiny_model):
    def config(**values):
        return GenerateConfig(
            **{"manifest": table, "model": str(tiny_model), "num_steps": 2, "device": "cpu"}
            | values
        )

    return lambda output, **values: run(config(**values), None, output)


@pytest.fixture(scope="module")
def alone(make, tmp_path_factory):
    """The folder that one process makes."""
    output = tmp_path_factory.mktemp("alone") / "out"
    make(output)
    return output


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


class Killing(ProcessHands):
    """Processes of which the first ones die."""

    deaths = 0

    def start(self, work, arguments):
        process = super().start(work, arguments)
        if type(self).deaths:
            type(self).deaths -= 1
            os.kill(process.pid, signal.SIGKILL)
        return process


def test_processes_give_the_bytes_of_one(make, alone, tmp_path, capsys):
    manifest = make(tmp_path / "out", num_workers=2)
    assert contents(tmp_path / "out") == contents(alone)
    assert manifest.counts == {"listed": 12, "used": 11, "rejected": 1, "images": 11}
    told = capsys.readouterr().err
    assert "11 images in 3 blocks, 2 at once" in told
    assert "generate: 11 of 11 images" in told


def test_what_lies_there_is_not_made_again(make, alone, tmp_path, capsys):
    shutil.copytree(alone, tmp_path / "out")
    (tmp_path / "out/images/r3-0.png").unlink()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/images").iterdir()}
    make(tmp_path / "out", num_workers=2)
    assert contents(tmp_path / "out") == contents(alone)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "1 images in 1 blocks" in capsys.readouterr().err


@pytest.mark.parametrize(("deaths", "told"), [(1, "is tried again"), (9, "is made here")])
def test_processes_that_die_cost_nothing(make, alone, tmp_path, capsys, monkeypatch, deaths, told):
    monkeypatch.setattr(Killing, "deaths", deaths)
    monkeypatch.setattr(workers, "open_hands", lambda *args, **options: Killing())
    make(tmp_path / "out", num_workers=2)
    assert contents(tmp_path / "out") == contents(alone)
    assert f"{told}: its process died (SIGKILL)" in capsys.readouterr().err


def test_shards_join_to_one_folder_without_making_an_image_again(make, alone, tmp_path):
    for k in (1, 2, 3):
        make(tmp_path / f"shard{k}", shard=f"{k}/3")
    joined = tmp_path / "shard1"
    for k in (2, 3):
        for path in (tmp_path / f"shard{k}/images").iterdir():
            os.link(path, joined / "images" / path.name)
    before = {p: p.stat().st_mtime_ns for p in (joined / "images").iterdir()}
    manifest = make(joined)
    assert manifest.counts == {"listed": 12, "used": 11, "rejected": 1, "images": 11}
    assert contents(joined) == contents(alone)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    verify(joined)


def test_a_shard_takes_several_processes_too(make, alone, tmp_path):
    make(tmp_path / "out", shard="2/3", num_workers=2)
    expected = contents(alone)
    found = contents(tmp_path / "out")
    images = [name for name in found if name.startswith("images/")]
    assert len(images) == 4 and all(found[name] == expected[name] for name in images)


@pytest.mark.skipif(not HAS_RAY, reason="needs Ray (crafts[dist])")
def test_two_workers_of_ray_give_the_bytes_of_one_process(make, alone, tmp_path):
    make(tmp_path / "out", runner="ray", num_workers=2)
    assert contents(tmp_path / "out") == contents(alone)


@pytest.mark.skipif(not HAS_RAY, reason="needs Ray (crafts[dist])")
def test_a_worker_of_ray_that_dies_costs_nothing(make, alone, tmp_path, monkeypatch, capsys):
    class KillingRay(RayHands):
        deaths = 1

        def start(self, work, arguments):
            self.deaths -= 1
            if self.deaths == 0:
                return super().start(signal.raise_signal, (signal.SIGKILL,))
            return super().start(work, arguments)

    monkeypatch.setattr(workers, "open_hands", lambda *args, **options: KillingRay())
    make(tmp_path / "out", runner="ray", num_workers=2)
    assert contents(tmp_path / "out") == contents(alone)
    assert "is tried again" in capsys.readouterr().err


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_how_to_get_it(make, tmp_path):
    with pytest.raises(ConfigError, match=r"runner: 'ray', which is not installed.*crafts\[dist\]"):
        make(tmp_path / "out", runner="ray")
    assert not (tmp_path / "out").exists()


def test_a_model_in_memory_stays_in_its_process(table, tiny_model, tmp_path):
    given = GenerateConfig(manifest=table, model=str(tiny_model), num_workers=2)
    with pytest.raises(ConfigError, match="num_workers: a model that is held in memory"):
        run(given, None, tmp_path / "out", bundle=load_bundle(tiny_model))
    assert not (tmp_path / "out" / LOCK).exists()


def test_blocks_are_whole_batches_and_hold_every_item():
    for number in (1, 7, 200, 5000):
        for size, batch in ((1, 4), (2, 4), (64, 16)):
            items = list(range(number))
            blocks = deal(items, size, batch)
            assert [item for block in blocks for item in block] == items
            assert all(len(block) % batch == 0 for block in blocks[:-1])
            assert max(map(len, blocks)) <= max(workers.BLOCK, batch)
            if number >= 2 * size * batch:
                assert len(blocks) >= size
