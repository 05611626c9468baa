"""Threads by what is free, set once and before torch, and never against what a user has set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crafts.core import cpu

SETTLED = """
import json, os, sys
from crafts import cli
cli.run(["--version"])
assert "torch" not in sys.modules
import torch
names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
print(json.dumps([torch.get_num_threads(), {name: os.environ.get(name) for name in names}]))
"""


@pytest.mark.parametrize(
    ("cores", "load", "threads"),
    [(2, 0.0, 2), (2, 0.4, 2), (2, 1.2, 1), (2, 9.0, 1), (16, 3.2, 13), (16, 40.0, 1), (1, 0, 1)],
)
def test_as_many_threads_as_cores_are_free(cores, load, threads):
    assert cpu.free_cores(cores, load) == threads


@pytest.mark.parametrize("given", [{}, {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"}])
def test_the_command_line_settles_before_torch_and_keeps_what_is_set(given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    source = str(Path(cpu.__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", SETTLED],
        env=clean | {"PYTHONPATH": source} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    threads, found = json.loads(ran.stdout.splitlines()[-1])
    assert found["OMP_WAIT_POLICY"] == given.get("OMP_WAIT_POLICY", "passive")
    assert found["KMP_BLOCKTIME"] == "0"
    asked = int(found["OMP_NUM_THREADS"])
    assert asked == int(given.get("OMP_NUM_THREADS", asked)) >= 1
    assert threads == min(asked, os.cpu_count() or 1)  # torch takes no more than there are cores


def test_a_host_that_has_torch_keeps_its_own_threads(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    environment: dict[str, str] = {}
    cpu.settle(environment)
    assert environment == {}
