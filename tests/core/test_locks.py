"""Where no folder can be written, the user is told of the output as it was given."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crafts.core import disk
from crafts.core.artifacts import MANIFEST, finish, refuse_other_run, staging
from crafts.core.errors import ConfigError, RetryError
from crafts.core.locks import lock, lock_file, refuse_unwritable

UNWRITABLE = "/sys/crafts"  # not even root makes a folder there
IN_THE_WAY = "a file in its way (afile); expected a folder, or a place where one can be made."


def stage(output):
    with staging(output, "test") as folder:
        finish(folder, stage="test", config={})


def hold(output):
    with lock(output):
        pass


def work(output):
    with lock(output / ".work"):
        pass


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder, so that outputs are given as users give them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("mine")
    return type(tmp_path)


@pytest.mark.parametrize("write", [stage, hold, work])
def test_a_file_in_the_way_is_named(place, write):
    with pytest.raises(ConfigError) as caught:
        write(place("afile/x"))
    assert str(caught.value) == f"afile/x: {IN_THE_WAY} Choose another --output."
    assert place("afile").read_text() == "mine" and os.listdir() == ["afile"]


@pytest.mark.parametrize("write", [hold, work])
def test_a_file_as_output_is_named(place, write):
    with pytest.raises(ConfigError, match="^afile: a file; expected a folder, or a place"):
        write(place("afile"))


@pytest.mark.parametrize("write", [stage, hold, work])
def test_a_place_without_writing_is_named(place, write):
    with pytest.raises(ConfigError, match=rf"^{UNWRITABLE}: a place that cannot be written \(\w"):
        write(place(UNWRITABLE))


@pytest.mark.parametrize("write", [stage, hold, lambda output: refuse_other_run(output, "test")])
def test_a_name_that_no_disk_takes_is_refused(place, write):
    with pytest.raises(ConfigError, match=r"^x+: a place that cannot be written \(File name too"):
        write(place("x" * 300))


def test_the_reason_is_the_systems_own():
    with pytest.raises(ConfigError, match=r"out: a place that cannot be written \(Read-only"):
        with refuse_unwritable(Path("out")):
            raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(RetryError, match="out: the disk is full"), refuse_unwritable(Path("out")):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_held_output_is_named_as_it_was_given(place):
    with staging(place("out")) as folder, pytest.raises(RetryError, match="^out: a lock held by"):
        finish(folder, stage="test", config={})
        stage(place("out"))
    assert place("out", MANIFEST).exists()


@pytest.mark.parametrize("begin", [hold, work])
def test_what_a_killed_process_left_half_written_is_removed(place, begin):
    output = place("out")
    output.mkdir()
    names = [".manifest.json.6475.tmp", ".notes.tmp", "a.1.tmp", "manifest.json"]
    for name in names:
        (output / name).write_text("x")
    begin(output)
    assert all((output / name).exists() == (name != names[0]) for name in names)


def test_a_finished_folder_holds_no_lock(place):
    with lock(place("out")):
        assert f"process {os.getpid()} on" in place("out/.lock").read_text()
    assert os.listdir("out") == []


def test_a_run_that_failed_leaves_a_mark_without_the_name_of_its_host(place):
    with pytest.raises(KeyError), lock(place("out")):
        place("out/part").touch()
        raise KeyError
    assert sorted(os.listdir("out")) == [".lock", "part"] and place("out/.lock").read_text() == ""


@pytest.mark.parametrize("folder", ["new", "new/deep", "new/.work"])
def test_a_run_that_failed_before_it_made_anything_leaves_nothing(place, folder):
    with pytest.raises(ValueError, match="refused"), lock(place(folder)):
        raise ValueError("refused")
    assert os.listdir() == ["afile"]


def test_a_folder_that_was_there_stays(place):
    place("mine").mkdir()
    with pytest.raises(ValueError, match="refused"), lock(place("mine")):
        raise ValueError("refused")
    assert place("mine").is_dir()


def test_a_lock_that_was_removed_meanwhile_is_no_lock(place, monkeypatch):
    """Between opening and locking, the holder may end and take the file away."""
    real, calls = fcntl.flock, []

    def ends_first(handle, operation):
        if not calls:
            os.unlink("out/.lock")
        calls.append(operation)
        return real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", ends_first)
    with lock(place("out")), pytest.raises(RetryError, match="out: a lock held by process"):
        with lock(place("out")):
            pass
    assert len(calls) == 3


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_a_file_system_has_no_locks_the_run_goes_on_and_says_so(
    place, monkeypatch, capsys, number
):
    def refuse(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for write in (stage, hold):
        write(place("out"))
        assert f"out: this file system has no locks ({os.strerror(number)})" in (
            capsys.readouterr().err
        )


def test_where_a_folder_cannot_be_synced_the_artifact_is_written(place, monkeypatch):
    real = os.fsync

    def files_only(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    stage(place("out"))
    assert place("out", MANIFEST).exists()


def test_a_disk_that_fails_is_not_passed_over(place, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        stage(place("out"))


def test_a_locked_file_keeps_others_out_and_goes_with_its_rests(place):
    output, beside = place("out/s.jsonl"), place("out/s.manifest.json")
    output.parent.mkdir()
    for name in (".s.jsonl.7.tmp", ".s.manifest.json.8.tmp", ".t.jsonl.9.tmp"):
        (output.parent / name).write_text("x")
    with lock_file(output, beside):
        with pytest.raises(RetryError, match=r"s\.jsonl: a lock held by process"):
            with lock_file(output):
                pass
        with lock_file(place("out/t2.jsonl")):
            pass
    assert os.listdir("out") == [".t.jsonl.9.tmp"]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from crafts.core import disk
real, left = os.unlink, [3]
def unlink(*args, **keywords):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **keywords)
os.unlink = unlink
disk.remove_folder(Path(sys.argv[1]))
"""


def test_a_kill_while_a_folder_is_removed_leaves_nothing_under_its_name(place):
    folder = place("runs/step-1")
    folder.mkdir(parents=True)
    for name in "abcdef":
        (folder / name).write_text("x")
    environment = {**os.environ, "PYTHONPATH": str(Path(disk.__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(folder)]
    assert subprocess.run(command, env=environment, timeout=60).returncode == -signal.SIGKILL
    assert os.listdir("runs") == [".step-1.gone"]
    hold(place("runs"))
    assert os.listdir("runs") == []
