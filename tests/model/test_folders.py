"""Tensors on disk: read back as they were, and what goes wrong while they are written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file

from crafts.core.errors import RetryError
from crafts.model import folders
from crafts.model.folders import save_tensors

LIMITED = """
import resource, signal, sys
from pathlib import Path
import safetensors, torch
from crafts.model.folders import save_tensors
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
    environment = {**os.environ, "PYTHONPATH": str(Path(folders.__file__).parents[2])}
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "w")]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True)
    assert done.stdout.strip() in ("SafetensorError", "OSError"), done.stderr
