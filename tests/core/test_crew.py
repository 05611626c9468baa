"""A crash, a hang and a full disk end one process and are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crafts.core.crew import Crew, ProcessHands, Task
from crafts.core.errors import RetryError

FAULTS = """
import ctypes, errno, os, time

def fine(path):
    open(path, "w").write("done")

def crash():
    ctypes.string_at(0)

def hang():
    time.sleep(600)

def fail():
    os._exit(7)

def full():
    raise OSError(errno.ENOSPC, "full")
"""


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """An importable module of tasks; the processes find it by the same path."""
    (tmp_path / "tile_faults.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import tile_faults

    yield tile_faults
    del sys.modules["tile_faults"]


def outcome(crew: Crew, work, *arguments) -> str:
    crew.start(Task(("s", 0), work, arguments))
    return crew.wait()[1]


def test_each_end_has_its_reason(faults, tmp_path):
    crew = Crew(ProcessHands(), 1, seconds=60)
    assert outcome(crew, faults.fine, str(tmp_path / "x")) == ""
    assert (tmp_path / "x").read_text() == "done"
    assert outcome(crew, faults.crash) == "the library that reads it crashed (SIGSEGV)"
    assert outcome(crew, faults.fail) == "its process failed (exit code 7)"
    with pytest.raises(RetryError, match="disk is full"):
        outcome(crew, faults.full)


def test_a_hang_is_ended_and_nothing_else(faults, tmp_path):
    crew = Crew(ProcessHands(), 2, seconds=5)
    crew.start(Task(("slow", None), faults.hang, ()))
    crew.start(Task(("quick", None), faults.fine, (str(tmp_path / "x"),)))
    assert not crew.has_room
    ends = dict((task.name[0], fault) for task, fault in (crew.wait(), crew.wait()))
    assert ends == {"quick": "", "slow": "took longer than 5 s"}
    assert crew.is_idle


def test_closing_ends_what_runs(faults):
    crew = Crew(ProcessHands(), 1, seconds=600)
    crew.start(Task(("slow", None), faults.hang, ()))
    crew.close()
    assert crew.is_idle


SCRIPT = """
import sys
from pathlib import Path
from tile_faults import fine
from crafts.core.crew import Crew, ProcessHands, Task

print("started", flush=True)
crew = Crew(ProcessHands(), 1, seconds=60)
crew.start(Task(("s", 0), fine, (sys.argv[1],)))
print(repr(crew.wait()[1]), __name__)
"""


def test_a_script_without_a_guard_is_not_run_again(faults, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "x")],
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "started\n'' __main__\n", done.stderr
    assert (tmp_path / "x").read_text() == "done"
