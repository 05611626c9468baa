"""All ranks' samples in one tensor, with a gradient: relations over the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(values: Tensor) -> Tensor:
    """The rows of all ranks, in the order of the ranks.

    Backward, the gradients that all ranks have for this rank's rows are **summed**. Each of R ranks
    computes the same loss of the same gathered rows, so a row gets R times its gradient; the mean
    over ranks which ``DistributedDataParallel`` takes divides by R again. So R ranks with B samples
    give the loss and the gradient of one rank with R B samples, and no factor is to be applied. The
    local mean of an ordinary loss has the same factor R before that mean, so the two compare.

    (``torch.distributed.nn.functional.all_gather`` does the same and is deprecated.)

    Args:
        values: [B, ...]; every rank gives the same shape.

    Returns:
        [R B, ...]; ``values`` itself without a process group.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    if values.dtype is torch.bool:
        return gather(values.to(torch.uint8)).bool()
    return _Gather.apply(values)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.rows = len(values)
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # all_reduce and a slice, as gloo knows no reduce_scatter
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows]
