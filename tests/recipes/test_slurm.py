"""The job script of Slurm: what it submits, what a task runs, and how shards are joined."""

import os
import subprocess

import pytest

from crafts.core.config import load_config
from crafts.generation.request import GenerateConfig

STUB = '#!/bin/bash\nprintf "%s|" "$(basename "$0")" "$@" >> "$CALLS"\necho >> "$CALLS"\necho 77\n'


@pytest.fixture
def script(root, tmp_path):
    """Environment -> the calls that the script makes, each as its words."""
    for name in ("crafts", "sbatch"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)

    def call(**variables):
        path, calls = root / "recipes/slurm/generate.sh", tmp_path / "calls"
        calls.unlink(missing_ok=True)
        there = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)}
        given = [path, "rows.csv", tmp_path / "out", "3", "--preset", "fast"]
        subprocess.run(["bash", *given], env=there | variables, check=True, capture_output=True)
        return [line.split("|")[:-1] for line in calls.read_text().splitlines()]

    return call


def test_the_login_node_submits_an_array_and_a_job_behind_it(script):
    array, join = script()
    assert array[:3] == ["sbatch", "--parsable", "--array=1-3"]
    assert join[:2] == ["sbatch", "--dependency=afterok:77"]
    assert array[-2:] == join[-2:] == ["--preset", "fast"]


def test_a_task_makes_its_shard(script, tmp_path):
    (words,) = script(SLURM_JOB_ID="78", SLURM_ARRAY_TASK_ID="2")
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert given == {
        "--manifest": "rows.csv",
        "--shard": "2/3",
        "--output": str(tmp_path / "out/shard-2"),
        "--preset": "fast",
    }
    load_config(GenerateConfig, {"shard": given["--shard"], "preset": given["--preset"]})


def test_the_last_job_brings_all_images_into_one_folder(script, tmp_path):
    for k in (1, 2, 3):
        images = tmp_path / f"out/shard-{k}/images"
        images.mkdir(parents=True)
        (images / f"r{k}-0.png").write_bytes(b"")
    (words,) = script(SLURM_JOB_ID="79")
    assert "--shard" not in words and words[words.index("--output") + 1].endswith("out/shard-1")
    found = sorted(path.name for path in (tmp_path / "out/shard-1/images").iterdir())
    assert found == ["r1-0.png", "r2-0.png", "r3-0.png"]
