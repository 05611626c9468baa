"""Killed again and again, a fine-tune and a labelled set end as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crafts.core.artifacts import load_manifest
from crafts.data.painter import paint_tiles
from killed_runs import finish_after_kills

pytestmark = pytest.mark.soak


def start(*command: str):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begin(output: Path) -> subprocess.Popen:
        arguments = [sys.executable, "-m", "crafts", *command, "--output", str(output)]
        return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)

    return begin


def test_a_finetune_that_is_killed_at_any_moment_ends_with_the_same_model(tiny_model, tmp_path):
    paint_tiles(tmp_path / "tiles", 40, 48)
    options = ["num_steps=40", "variants=2", "images=8", "batch_size=4"]
    command = ["finetune", str(tmp_path / "tiles"), "--model", str(tiny_model)]
    command += [part for option in options for part in ("--set", option)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish_after_kills(start(*command), whole, killed, kills=8, seed=0)
    for name in ("shards", "model", "after"):
        assert load_manifest(whole / name).files == load_manifest(killed / name).files
    assert (whole / "result.json").read_bytes() == (killed / "result.json").read_bytes()


def test_a_set_that_is_killed_at_any_moment_ends_with_the_same_pictures(tiny_model, tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("label,prompt\ncolon,benign colon\nlung,lung carcinoma\n")
    command = ["dataset", "--classes", str(table), "--model", str(tiny_model), "--per-class", "12"]
    command += ["--set", "gate=false", "--format", "webdataset"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish_after_kills(start(*command), whole, killed, kills=6, seed=1)
    assert load_manifest(whole / "data").files == load_manifest(killed / "data").files
