"""Process groups: one process, or several started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """Place of this process among all of the run."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Mean over the processes of named numbers; all processes get the same."""
        if self.count == 1:
            return dict(values)
        names = sorted(values)
        tensor = torch.tensor([values[name] for name in names], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        dist.all_reduce(tensor)
        return dict(zip(names, (tensor / self.count).tolist(), strict=True))

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the process group that ``torchrun`` describes in the environment, if it does."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()
