"""No manifest, no artifact; what fails leaves the old one; what is damaged is named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crafts.core import artifacts
from crafts.core.artifacts import (
    MANIFEST,
    fingerprint,
    finish,
    load_manifest,
    lock,
    relative_to,
    sha256_bytes,
    sha256_file,
    staging,
    verify,
    write_bytes,
)
from crafts.core.config import Config
from crafts.core.disk import raise_disk_full
from crafts.core.errors import ConfigError, DataError, IntegrityError, RetryError


class Settings(Config):
    size: int = 3


def make(folder: Path, text: str = "hello") -> artifacts.Manifest:
    with staging(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub/a.txt").write_text(text)
        (temporary / ".hidden").write_text("not listed")
        return finish(
            temporary,
            stage="test",
            config=Settings(),
            inputs={"in": "0" * 64},
            counts={"used": 1},
            extra={"note": "ü"},
        )


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_hashes_agree_with_hashlib(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    expected = hashlib.sha256(b"abc" * 100_000).hexdigest()
    assert sha256_file(tmp_path / "a") == sha256_bytes(b"abc" * 100_000) == expected


def test_a_finished_artifact_has_all_files_in_its_manifest(tmp_path):
    made = make(tmp_path / "out")
    assert list(made.files) == ["sub/a.txt"]
    assert made.files["sub/a.txt"].sha256 == hashlib.sha256(b"hello").hexdigest()
    assert (made.config, made.counts, made.extra) == ({"size": 3}, {"used": 1}, {"note": "ü"})
    assert "python" in made.versions
    assert load_manifest(tmp_path / "out") == verify(tmp_path / "out") == made
    assert fingerprint(tmp_path / "out") == sha256_file(tmp_path / "out" / MANIFEST)
    assert hidden(tmp_path) == []


def test_the_same_content_has_the_same_fingerprint_and_other_content_another(tmp_path):
    make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", "other")
    prints = [fingerprint(tmp_path / name) for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_a_failing_body_leaves_the_old_artifact(tmp_path):
    make(tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    with pytest.raises(RuntimeError), staging(tmp_path / "out") as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert fingerprint(tmp_path / "out") == before
    assert hidden(tmp_path) == []
    make(tmp_path / "out", "new")
    assert (tmp_path / "out/sub/a.txt").read_text() == "new"


@pytest.mark.parametrize("content", ["folder", "file"])
def test_foreign_content_is_refused(tmp_path, content):
    output = tmp_path / "out"
    if content == "folder":
        output.mkdir()
        (output / "mine.txt").write_text("x")
    else:
        output.write_text("x")
    with pytest.raises(ConfigError, match="existing files that no stage of crafts wrote"):
        make(output)
    assert output.exists() and hidden(tmp_path) == []


def test_an_artifact_that_somebody_added_to_is_not_replaced(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "out/latents").mkdir()
    (tmp_path / "out/latents/mean.npy").write_bytes(b"hours of work")
    with pytest.raises(ConfigError, match="latents/mean.npy, which that run did not write"):
        make(tmp_path / "out")
    assert (tmp_path / "out/latents/mean.npy").is_file()


def test_an_artifact_of_another_stage_is_refused(tmp_path):
    make(tmp_path / "out")
    with (
        pytest.raises(ConfigError, match="a finished artifact of stage 'test'; expected a new or"),
        staging(tmp_path / "out", "caption"),
    ):
        pass
    with staging(tmp_path / "out", "test") as temporary:
        finish(temporary, stage="test", config={})
    assert load_manifest(tmp_path / "out").files == {}


@pytest.mark.parametrize("text", ['{"name": "my web app"}', "[", ""])
def test_a_manifest_of_another_program_protects_its_folder(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="existing files that no stage of crafts wrote"):
        make(tmp_path / "out")
    assert (tmp_path / "out/manifest.json").read_text() == text


@pytest.mark.parametrize("source", ["out", "link", "here/../out", "out/sub", "out/sub/a.txt"])
def test_an_output_that_holds_an_input_is_refused(tmp_path, source):
    make(tmp_path / "out")
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("out")
    before = fingerprint(tmp_path / "out")
    for output in ("out", "link", "here/../out"):
        with (
            pytest.raises(ConfigError, match="the folder of the input .*Choose another --output"),
            staging(tmp_path / output, "test", sources=[tmp_path / source]),
        ):
            pass
    assert fingerprint(tmp_path / "out") == before and hidden(tmp_path) == []


def test_an_output_within_or_beside_the_input_is_fine(tmp_path):
    make(tmp_path / "out")
    for name in ("out/captioned", "outer"):
        with staging(tmp_path / name, "test", sources=[tmp_path / "out"]) as temporary:
            finish(temporary, stage="test", config={})
    verify(tmp_path / "out")


def test_a_linked_output_stays_a_link(tmp_path):
    (tmp_path / "big_disk").mkdir()
    (tmp_path / "out").symlink_to("big_disk")
    for text in ("old", "new"):
        make(tmp_path / "out", text)
        assert (tmp_path / "out").is_symlink() and hidden(tmp_path) == []
        assert (tmp_path / "big_disk/sub/a.txt").read_text() == text


def test_an_empty_or_merely_locked_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    with lock(tmp_path / "locked"):
        make(tmp_path / "locked")


KILLED = """
import os, signal, sys
from pathlib import Path
from crafts.core import artifacts
output, place = Path(sys.argv[1]), sys.argv[2]
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
if place == "renames":
    real = os.rename
    os.rename = lambda a, b: die() if Path(b) == output and Path(a).suffix == ".tmp" else real(a, b)
with artifacts.staging(output) as folder:
    (folder / "deep").mkdir()
    (folder / "deep/half").write_text("x")
    if place == "body":
        die()
    artifacts.finish(folder, stage="test", config={})
"""


@pytest.mark.parametrize("place", ["body", "renames"])
def test_a_kill_leaves_the_old_artifact_and_the_next_run_tidies_up(tmp_path, place):
    make(tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    environment = {**os.environ, "PYTHONPATH": str(Path(artifacts.__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out"), place]
    assert subprocess.run(command, env=environment, timeout=60).returncode == -signal.SIGKILL
    assert hidden(tmp_path)
    with pytest.raises(RuntimeError), staging(tmp_path / "out") as temporary:
        assert list(temporary.iterdir()) == [temporary / ".lock"]
        raise RuntimeError
    assert fingerprint(tmp_path / "out") == before
    make(tmp_path / "out", "new")
    verify(tmp_path / "out")
    assert hidden(tmp_path) == []


def test_two_runs_cannot_write_one_output(tmp_path):
    with staging(tmp_path / "out") as temporary:
        finish(temporary, stage="test", config={})
        with pytest.raises(RetryError, match="a lock held by process"):
            make(tmp_path / "out")
    assert load_manifest(tmp_path / "out").stage == "test"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "missing"),
        ("cut", "4 bytes; expected the 5 bytes"),
        ("flipped", "changed content"),
    ],
)
def test_damage_is_named(tmp_path, fault, words):
    make(tmp_path / "out")
    path = tmp_path / "out/sub/a.txt"
    if fault == "missing":
        path.unlink()
    else:
        path.write_text("hell" if fault == "cut" else "hallo")
    with pytest.raises(IntegrityError, match=rf"sub/a\.txt: {words}"):
        verify(tmp_path / "out")
    verify(tmp_path / "out", only=[])


def test_unlisted_files_and_unfinished_folders_are_refused(tmp_path):
    make(tmp_path / "out")
    with pytest.raises(IntegrityError, match="new: not listed in the manifest"):
        verify(tmp_path / "out", only=["new"])
    with pytest.raises(DataError, match=r"no manifest\.json"):
        fingerprint(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"stage": 1}', '{"stage": "x", "files": {}, "clock": 1}']
)
def test_a_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(IntegrityError, match="a damaged manifest"):
        load_manifest(tmp_path)


def test_a_lock_is_held_once_and_falls_with_its_holder(tmp_path):
    with lock(tmp_path / "run"):
        with pytest.raises(RetryError, match=f"a lock held by process {os.getpid()}"):
            with lock(tmp_path / "run"):
                pass
    with lock(tmp_path / "run"):
        pass


def test_write_bytes_replaces_as_a_whole(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_reason_to_try_again(tmp_path):
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(RetryError, match="the disk is full"):
            raise_disk_full(OSError(number, "full"), tmp_path)
        with pytest.raises(RetryError, match="the disk is full"), staging(tmp_path / "out"):
            raise OSError(number, "full")
    raise_disk_full(OSError(errno.EACCES, "no"), tmp_path)
    with pytest.raises(PermissionError), staging(tmp_path / "out"):
        raise PermissionError
    with Path("/dev/full").open("wb", buffering=0) as handle, pytest.raises(OSError):
        handle.write(b"x")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_under_safetensors_is_a_reason_to_try_again(tmp_path, number):
    """safetensors reports the system's error number in its text only."""
    import safetensors

    with pytest.raises(RetryError, match="out: the disk is full"), staging(tmp_path / "out"):
        raise safetensors.SafetensorError(f"I/O error: no space (os error {number})")
    assert hidden(tmp_path) == []


def test_paths_in_a_manifest_are_relative_to_its_folder(tmp_path, monkeypatch):
    (tmp_path / "runs/latents").mkdir(parents=True)
    (tmp_path / "runs/texts.txt").write_text("x")
    (tmp_path / "mini").mkdir()
    (tmp_path / "train").mkdir()
    monkeypatch.chdir(tmp_path)
    config = {
        "stage": {"init_from": "owner/name", "texts": str(tmp_path / "runs/texts.txt")},
        "data": {"folder": "runs/latents", "split": "train"},
        "model": "mini",
        "prompts": ("train", str(tmp_path / "runs")),
        "number": 3,
    }
    with staging(tmp_path / "out/deep") as folder:
        written = finish(folder, stage="test", config=config)
    assert str(tmp_path) not in (tmp_path / "out/deep" / MANIFEST).read_text()
    assert written.config == {
        "stage": {"init_from": "owner/name", "texts": "../../runs/texts.txt"},
        "data": {"folder": "../../runs/latents", "split": "train"},
        "model": "mini",
        "prompts": ["train", "../../runs"],
        "number": 3,
    }
    assert (tmp_path / "out/deep" / written.config["data"]["folder"]).is_dir()


@pytest.mark.parametrize("text", ["", "mini", "owner/name", "a" * 5000, "with\0null"])
def test_what_is_no_path_stays_as_it_is(tmp_path, text):
    assert relative_to(tmp_path, text) == text


def test_manifests_have_no_clock(tmp_path):
    make(tmp_path / "out")
    first = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert sorted(first) == [
        "config",
        "counts",
        "extra",
        "files",
        "inputs",
        "schema_version",
        "sha256",
        "stage",
        "versions",
    ]
