"""Samples per second with and without worker processes, of samples that cost 50 ms each.

    python bench/loader.py [--workers 2] [--milliseconds 50] [--batch 8] [--passes 12] [--wait]

The cost is work of the processor, as decoding and moving a tile is; with --wait it is a wait, as
for a disk, which shows the mechanism on a machine whose cores are busy.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from crafts.training.loader import batches


class Costly:
    """A task whose samples cost a set time."""

    def __init__(self, seconds: float, wait: bool) -> None:
        self.seconds, self.wait = seconds, wait

    def sample(self, position: int) -> dict[str, Any]:
        """One number, after the work."""
        end = time.process_time() + self.seconds
        if self.wait:
            time.sleep(self.seconds)
        while not self.wait and time.process_time() < end:
            pass
        return {"value": torch.tensor(position)}

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """As they are: the device has no part in this."""
        return samples


def measure(task: Costly, batch: int, passes: int, workers: int) -> float:
    """Samples per second once the first batch is there."""
    ahead = [range(at * batch, (at + 1) * batch) for at in range(passes + 1)]
    with batches(task, ahead, num_workers=workers) as made:
        next(made)
        started = time.perf_counter()
        number = sum(len(one["value"]) for one in made)
    return number / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--milliseconds", type=float, default=50.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--wait", action="store_true")
    options = parser.parse_args()
    task = Costly(options.milliseconds / 1000, options.wait)
    alone = measure(task, options.batch, options.passes, 0)
    shared = measure(task, options.batch, options.passes, options.workers)
    print(f"samples of {options.milliseconds:g} ms, {options.batch} a batch")
    print(f"  no workers  {alone:8.2f} samples/s")
    print(f"  {options.workers} workers   {shared:8.2f} samples/s")
    print(f"  ratio       {shared / alone:8.2f}")


if __name__ == "__main__":
    main()
