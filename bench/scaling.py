"""One process, two, two shards and two workers of Ray: seconds, and whether the bytes are the same.

    python bench/scaling.py [--model DIR] [--prompts 200] [--steps 2] [--kills 2]

Without --model it is one of very small random networks, which shows what the work around the
network costs. Each way has one thread a process. The ways with two processes lose ``--kills``
workers to SIGKILL, at moments spread over the run; their seconds come from a run without kills.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crafts.testing import write_tiny_model

SOURCE = Path(__file__).parents[1] / "src"
WAYS = {
    "one process": [],
    "two processes": ["--num-workers", "2"],
    "two on Ray": ["--runner", "ray", "--num-workers", "2"],
}


def start(options: list[str]) -> subprocess.Popen:
    variables = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "crafts.cli", "generate", *options]
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return errors


def hashes(folder: Path) -> dict[str, str]:
    """Of all files of an output."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def made(folder: Path) -> int:
    return len(list(folder.glob("images/*.png")))


def kill_worker(output: Path, number: int, running: subprocess.Popen) -> bool:
    """Kill the process that has just made an image, once so many are there."""
    while made(output) < number and running.poll() is None:
        time.sleep(0.02)
    workers = [pid for pid in descendants() if is_worker(pid)]
    if not workers or running.poll() is not None:
        return False
    os.kill(workers[0], signal.SIGKILL)
    return True


def descendants() -> list[int]:
    """Processes that come from this one; those of Ray come from its own server."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found, reverse=True)


def is_worker(pid: int) -> bool:
    """Whether a process makes images: a fork of the forkserver that runs, or a task of Ray."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        above = Path(f"/proc/{parent}/cmdline").read_bytes().decode()
    except OSError:
        return False
    return name.startswith("ray::_code_of") or ("forkserver" in name and "forkserver" in above)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    model = asked.model or str(write_tiny_model(work / "model"))
    rows = [{"id": f"r{i}", "prompt": f"colon {i}", "seed": i} for i in range(asked.prompts)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--manifest", str(work / "rows.jsonl"), "--model", model]
    common += ["--num-steps", str(asked.steps), "--device", "cpu"]
    expected: dict[str, str] = {}
    first = 0.0
    for name, options in WAYS.items():
        if "ray" in options and importlib.util.find_spec("ray") is None:
            print(f"{name}: not run, Ray is not installed")
            continue
        output = work / name.replace(" ", "-")
        began = time.perf_counter()
        finish(start([*common, *options, "--output", str(output)]))
        seconds = time.perf_counter() - began
        found = hashes(output)
        expected, first = expected or found, first or seconds
        line = f"{seconds:.1f} s, {first / seconds:.2f} times as fast, same bytes: "
        print(f"{name}: {line}{found == expected}", flush=True)
        if options and asked.kills:
            shutil.rmtree(output)
            running, done = start([*common, *options, "--output", str(output)]), 0
            for kill in range(asked.kills):
                done += kill_worker(
                    output, (kill + 1) * asked.prompts // (asked.kills + 2), running
                )
            told = finish(running).count("is tried again")
            same = hashes(output) == expected
            print(f"  {done} workers killed, {told} blocks tried again, same bytes: {same}")
    for k in (1, 2):
        finish(start([*common, "--shard", f"{k}/2", "--output", str(work / f"shard{k}")]))
    for path in (work / "shard2/images").iterdir():
        path.rename(work / "shard1/images" / path.name)
    finish(start([*common, "--output", str(work / "shard1")]))
    counts = json.loads((work / "shard1/manifest.json").read_text())["counts"]
    print(f"two shards, joined: same bytes: {hashes(work / 'shard1') == expected}, {counts}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
