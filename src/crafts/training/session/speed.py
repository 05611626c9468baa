"""Images per second, share of the machine's peak and time to go."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@cache
def measure_peak(device: torch.device) -> float:
    """FLOP/s of a large matrix product in the precision that training uses, best of twelve.

    Measured once a process: it takes a third of a second of one core.
    """
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        _synchronise(device)
        started = time.perf_counter()
        a @ b
        _synchronise(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


class Meter:
    """Measures a run.

    Args:
        network: the module that is trained, to find its device.
        global_batch_size: samples per step.
        num_steps: of the whole run.
    """

    def __init__(self, network: nn.Module, global_batch_size: int, num_steps: int) -> None:
        self.network, self.batch, self.num_steps = network, global_batch_size, num_steps
        self.device = next(network.parameters()).device
        self.peak = measure_peak(self.device)
        self.flops = 0.0
        self.seconds = 0.0

    def count(self, one_step: Callable[[], object]) -> None:
        """Count the floating-point operations of a step that is thrown away.

        Counting changes which kernels run, and with them the last bits: no real step may see it.

        Args:
            one_step: computes gradients; buffers and gradients are put back afterwards.
        """
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        with FlopCounterMode(display=False) as counter:
            one_step()
        self.flops = float(counter.get_total_flops())
        for parameter in self.network.parameters():
            parameter.grad = None
        with torch.no_grad():
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)

    def update(self, seconds: float) -> None:
        """Take in the duration of one step; a running mean smooths the display."""
        _synchronise(self.device)
        self.seconds = seconds if self.seconds == 0 else 0.9 * self.seconds + 0.1 * seconds
        self.peak = max(self.peak, self.flops / seconds)  # a busy machine hides its peak at first

    def row(self) -> dict[str, float]:
        """What goes into speed.jsonl."""
        return {
            "images_per_second": self.batch / self.seconds,
            "share_of_peak": self.flops / self.seconds / self.peak,
        }

    def line(self, row: dict[str, float]) -> str:
        """One line of progress."""
        left = (self.num_steps - row["step"] - 1) * self.seconds
        return (
            f"step {int(row['step']) + 1}/{self.num_steps}  "
            f"loss {row['loss']:.4f}  lr {row['lr']:.1e}  "
            f"{row['images_per_second']:.1f} images/s  {100 * row['share_of_peak']:.0f} % of peak  "
            f"{_duration(left)} to go"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
    )


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
