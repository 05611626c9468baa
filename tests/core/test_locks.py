"""Where no folder can be written, the user is told of the output as it was given."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crafts.core.artifacts import MANIFEST, finish, refuse_other_run, staging
from crafts.core.errors import ConfigError, RetryError
from crafts.core.locks import lock, refuse_unwritable

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
