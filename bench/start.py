"""How soon the command line answers: --help, a wrong field, a file that is not there.

    python bench/start.py [--repeats 5]

Aims on a free core: 0.5 s for --help, 1.5 s for a mistake. The best of several runs is printed,
and beside it the CPU seconds, which hardly depend on what else runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = ["--output", "out/never"]
COMMANDS = {
    "help": ["--help"],
    "generate, no such manifest": ["generate", "--manifest", "absent.csv", *OUTPUT],
    "generate, unknown field": ["generate", "--prompt", "p", "--set", "nonsense=1", *OUTPUT],
    "pack, no such folder": ["pack", "absent", *OUTPUT],
    "encode, no such folder": ["encode", "absent", *OUTPUT],
    "train, no such recipe": ["train", "absent.yaml", *OUTPUT],
    "train, unknown field": ["train", "recipes/tiny.yaml", "--set", "nonsense=1", *OUTPUT],
    "evaluate, no such folder": ["evaluate", "--generated", "absent", "--real", ".", *OUTPUT],
    "audit, no such folder": ["audit", "--generated", "absent", "--train", ".", *OUTPUT],
    "finetune, no such folder": ["finetune", "absent", *OUTPUT],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    for name, arguments in COMMANDS.items():
        walls, used = [], []
        for _ in range(repeats):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "crafts", *arguments],
                cwd=root, env=environment, capture_output=True, check=False,
            )  # fmt: skip
            walls.append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(sum(after[:2]) - sum(before[:2]))
        print(f"{name:28s} {min(walls):5.2f} s  ({min(used):.2f} s of CPU)", flush=True)


if __name__ == "__main__":
    main()
