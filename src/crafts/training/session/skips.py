"""Steps that are skipped, as their gradient is not finite: what is undone, and when a run ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from crafts.core.errors import DataError
from crafts.training.session.checkpoints import Progress


def put_back(network: nn.Module, statistics: Sequence[Tensor]) -> None:
    """Restore buffers that the forward pass of a skipped step has changed.

    Args:
        network: that was run.
        statistics: its buffers before.
    """
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), statistics, strict=True):
            buffer.copy_(before)


def refuse_divergence(progress: Progress, most: int, names: Sequence[str], output: Path) -> None:
    """End a run with too many skipped steps in a row.

    Args:
        progress: of the run.
        most: steps in a row at which it ends.
        names: samples of the last step.
        output: folder of the run.

    Raises:
        DataError: there are so many.
    """
    if progress.skipped_in_a_row >= most:
        raise DataError(
            f"train: step {progress.step + 1}",
            came=f"{progress.skipped_in_a_row} non-finite gradients in a row "
            f"(last samples: {', '.join(names[:4])})",
            allowed="finite losses",
            do="Look at these samples, or go on in another --output with a lower optim.lr and "
            f"stage.init_from={output / 'checkpoints'}/step-..., the last one.",
        )


def refuse_no_step(progress: Progress, output: Path) -> None:
    """Refuse to finish a run whose weights are those it began with.

    Raises:
        DataError: every step was skipped.
    """
    if progress.skipped >= progress.step:
        raise DataError(
            f"train: {output}",
            came=f"{progress.skipped} of {progress.step} steps skipped for a non-finite gradient: "
            "the weights are those it began with",
            allowed="at least one step that changes the weights",
            do="Check the data and stage.init_from, or lower optim.lr, and train in another "
            "--output.",
        )
