"""What busy neighbours cost: `encode` and `generate` beside processes that take all they can get.

    python bench/loaded.py [--neighbours 9] [--repeats 3] [--steps 4] [--kinds encode,generate]
                           [--all]

A process that shares its cores gets less of them, and that is fair. What is not fair is what its
threads lose by waiting for each other. Printed is

    ratio = seconds * share / work

with the seconds that the work took among the neighbours, the share of a core that one neighbour got
meanwhile, and the CPU seconds that the work takes with one thread. 1 is what any process with one
thread would get; below 1, further threads were worth it. "as crafts sets it" is what the command
line does; --all adds threads that are set by hand, spinning and passive.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
NEIGHBOUR = ["sh", "-c", "while :; do :; done"]
WORK = """
import json, sys, time
from crafts.core import cpu
cpu.settle()
import torch, crafts
kind, steps = sys.argv[1], int(sys.argv[2])
model = crafts.load("mini", device="cpu")
images = torch.zeros(1, 3, 256, 256)
def once():
    if kind == "encode":
        with torch.inference_mode():
            for _ in range(steps): model.bundle.codec.encode(images)
    else:
        model.generate("Benign colonic mucosa, H&E.", num_steps=steps)
once()
print("ready", flush=True)
sys.stdin.readline()
wall, used = time.perf_counter(), time.process_time()
once()
print(json.dumps([time.perf_counter() - wall, time.process_time() - used, torch.get_num_threads()]))
"""
# name -> what stands in the environment; {} leaves all to crafts
SETTINGS: dict[str, dict[str, str]] = {"as crafts sets it": {}}
BY_HAND = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "a thread a core, passive": {"OMP_NUM_THREADS": str(os.cpu_count())},
    "a thread a core, spinning": {
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "OMP_WAIT_POLICY": "active",
    },
}


def measure(
    kind: str, steps: int, variables: dict[str, str], neighbours: int
) -> tuple[float, float, int, float]:
    """Seconds, CPU seconds and threads of the work, and the share of a core of a neighbour."""
    variables = os.environ | {"PYTHONPATH": str(SOURCE)} | variables
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WORK, kind, str(steps)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables,
    )
    assert worker.stdout is not None and worker.stdin is not None
    while worker.stdout.readline() != "ready\n":
        pass
    crowd, started = [subprocess.Popen(NEIGHBOUR) for _ in range(neighbours)], time.perf_counter()
    worker.stdin.write("go\n")
    worker.stdin.flush()
    seconds, used, threads = json.loads(worker.stdout.readline())
    passed, shares = time.perf_counter() - started, []
    for process in crowd:
        process.kill()
        used_by = os.wait4(process.pid, 0)[2]
        shares.append((used_by.ru_utime + used_by.ru_stime) / passed)
    worker.wait()
    return seconds, used, threads, statistics.median(shares) if shares else 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--neighbours", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--kinds", default="encode,generate")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, {arguments.neighbours} neighbours, load {os.getloadavg()[0]:.1f}"
    )
    for kind in arguments.kinds.split(","):
        alone = [
            measure(kind, arguments.steps, {"OMP_NUM_THREADS": "1"}, 0)[1]
            for _ in range(arguments.repeats)
        ]
        work = statistics.median(alone)
        for name, variables in (SETTINGS | (BY_HAND if arguments.all else {})).items():
            runs = [
                measure(kind, arguments.steps, variables, arguments.neighbours)
                for _ in range(arguments.repeats)
            ]
            ratio = statistics.median(run[0] * run[3] / work for run in runs)
            seconds = statistics.median(run[0] for run in runs)
            print(
                f"{kind:9s}{name:28s}{runs[0][2]} threads  {seconds:7.2f} s for {work:.2f} s of "
                f"work  ratio {ratio:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
