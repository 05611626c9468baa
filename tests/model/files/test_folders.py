"""Tensors on disk: read back as they were; what goes wrong while they are written or fetched."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file

from crafts.core.errors import ConfigError, RetryError
from crafts.model.bundle import load_bundle
from crafts.model.files import folders
from crafts.model.files.folders import save_tensors
from crafts.model.files.hub import fetch_snapshot, hub_id

LIMITED = """
import resource, signal, sys
from pathlib import Path
import safetensors, torch
from crafts.model.files.folders import save_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save_tensors({"a": torch.ones(10_000)}, Path(sys.argv[1]))
except (OSError, safetensors.SafetensorError) as error:
    print(type(error).__name__)
"""


def test_saved_tensors_are_read_back(tmp_path):
    value = torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    save_tensors({"a": value}, tmp_path / "w")
    assert torch.equal(load_file(tmp_path / "w")["a"], value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_reason_to_try_again(tmp_path, monkeypatch, number):
    def full(*arguments, **keywords):
        raise safetensors.SafetensorError(f"I/O error: no space (os error {number})")

    monkeypatch.setattr(folders, "save_file", full)
    with pytest.raises(RetryError, match="w: the disk is full") as caught:
        save_tensors({"a": torch.ones(1)}, tmp_path / "w")
    assert caught.value.exit_code == 75


def test_another_fault_of_writing_stays_what_it_is(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(folders.__file__).parents[3])}
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "w")]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True)
    assert done.stdout.strip() in ("SafetensorError", "OSError"), done.stderr


class Hub(BaseHTTPRequestHandler):
    """Answers every request with the status of its server."""

    def do_GET(self):
        self.send_response(self.server.status)
        if self.server.status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, of which nothing is downloaded yet."""
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        for name, value in (
            ("HF_HUB_OFFLINE", False),
            ("HF_HUB_CACHE", str(tmp_path / "cache")),
            ("ENDPOINT", f"http://127.0.0.1:{server.server_port}"),
        ):
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def fetch():
    return fetch_snapshot("owner/name", files=["*.json"], network=True)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, ConfigError, r"no repository that this user may read \(status 404\)"),
        (401, ConfigError, r"no repository that this user may read \(status 401\)"),
        (503, RetryError, r"no answer from the hub \(status 503\)"),
        (429, RetryError, r"no answer from the hub \(status 429\)"),
    ],
)
def test_what_the_hub_answers_decides_whether_to_try_again(hub, status, kind, words):
    hub.status = status
    with pytest.raises(kind, match=rf"model 'owner/name': no such folder, and {words}; expected"):
        fetch()


def test_without_a_connection_trying_again_may_help(hub, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)  # nobody listens there
    with pytest.raises(RetryError) as caught:
        fetch()
    assert caught.value.exit_code == 75
    assert str(caught.value) == (
        "model 'owner/name': no such folder, and no answer from the hub ([Errno 111] Connection "
        "refused); expected mini, a folder with the model, or a hub id. Check the connection and "
        "run again."
    )


def test_a_forbidden_network_is_the_users_own_setting(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE forbids the network"):
        fetch()


def test_a_name_that_no_hub_takes_is_refused():
    with pytest.raises(ConfigError, match="model 'owner/name--x': "):
        fetch_snapshot("owner/name--x", files=["*.json"], network=True)


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left"), RetryError, "cache: the disk is full"),
        (RuntimeError("Data error: I/O (os error 28)"), RetryError, "cache: the disk is full"),
        (OSError("Consistency check failed: " + 99 * "x"), RetryError, "broke off \\(OSError\\)"),
        (RuntimeError("CAS service error"), RetryError, "broke off \\(CAS service error\\)"),
        (PermissionError(13, "Permission denied"), ConfigError, "written \\(Permission denied\\)"),
    ],
)
def test_a_download_that_fails_says_what_to_do(hub, monkeypatch, raised, kind, words):
    def fail(*arguments, **keywords):
        raise raised

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(kind, match=words):
        fetch()


@pytest.mark.parametrize("name", ["runs/tiny", "Out/model", "here/x", "a/b/c", "a", "./a/b", "a/"])
def test_a_path_that_was_mistyped_is_no_hub_id(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_id(name) == ""


@pytest.mark.parametrize("name", ["hf:runs/tiny", "hf:here/x", "owner/name", "hf:owner/name"])
def test_a_hub_id_can_be_given_without_doubt(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_id(name) == name.removeprefix("hf:")


def test_a_mistyped_path_never_reaches_the_hub(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(Hub, "do_GET", lambda self: asked.append(self.path))
    monkeypatch.setattr(Hub, "do_HEAD", lambda self: asked.append(self.path), raising=False)
    with pytest.raises(ConfigError, match="no such folder; .*hf:owner/name asks the hub"):
        load_bundle("runs/tiny", network=True)
    assert asked == [] and capsys.readouterr().err == ""


def test_that_the_hub_is_asked_is_said_first(hub, capsys):
    hub.status = 404
    with pytest.raises(ConfigError):
        load_bundle("hf:runs/tiny", network=True)
    assert "model 'runs/tiny': no folder of this name here; the hub is asked" in (
        capsys.readouterr().err
    )
