"""Process groups: one process, or several started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from crafts.core import artifacts
from crafts.core.errors import RetryError


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
def held(output: Path, group: Processes) -> Iterator[None]:
    """The lock of an output folder, taken by the first process for all.

    Raises:
        RetryError: another run holds it; in every process.
    """
    fault: RetryError | None = None
    with ExitStack() as stack:
        if group.first:
            try:
                stack.enter_context(artifacts.lock(output))
            except RetryError as error:
                fault = error
        if group.mean({"fault": float(fault is not None)})["fault"] > 0:
            raise fault or RetryError(
                str(output),
                came="a lock that the first process could not take",
                allowed="one run per output folder",
                do="Wait for the other run to end.",
            )
        yield


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
