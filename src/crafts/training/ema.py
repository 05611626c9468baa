"""Exponential moving average of weights, kept by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Trainable parameters and buffers by name: live tensors, not copies."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {
        name: value.detach() for name, value in module.state_dict().items() if name not in frozen
    }


@torch.no_grad()
def load_state(target: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors into the live ones of the same names."""
    for name, value in target.items():
        value.copy_(source[name])


class Ema:
    """Averaged copy of a module's trained state.

    The decay of step s is ``min(decay, (1 + s) / (10 + s))``, so that early weights are forgotten.

    Args:
        state: live tensors to follow, see :func:`trained_state`.
        decay: in [0, 1); 0 keeps the latest weights.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.live = dict(state)
        self.weights = {name: value.clone() for name, value in state.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights after step ``step``, counted from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in self.live.items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module carries the average inside the block, and its own weights again after it."""
        own = {name: value.clone() for name, value in self.live.items()}
        load_state(self.live, self.weights)
        try:
            yield
        finally:
            load_state(self.live, own)
