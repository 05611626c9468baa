"""One protocol for what a denoiser is told of a picture beside its text.

A :class:`Condition` says what one picture is told. The :class:`Conditioner` of its kind binds those
of a batch. What is :class:`Bound` reaches the denoiser in one of two ways, or in both: as tokens
behind those of the text (scale, region), or as residuals that are added inside the network at each
step (nuclei, fluorescence). The sampler knows no kinds.

**To add a kind**: write its conditioner here in ``conditions/``, and hand it to the sampler under
its name (:func:`crafts.sampling.sampler.iter_images`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from crafts.core.errors import ConfigError

Residuals = tuple[list[Tensor], Tensor]
"""What is added to the skip connections of a denoiser, and to its middle block."""


@dataclass(frozen=True)
class Condition:
    """One thing that one picture is told; equal conditions give equal pictures.

    Attributes:
        kind: "nuclei", "fluorescence", "scale" or "region".
        key: sha256 of a map, or the numbers themselves.
        weight: factor of what is added; 0 = off.
        start: share of the steps after which it begins to act.
        stop: share of the steps after which it no longer acts.
        source: where it comes from; decides nothing.
    """

    kind: str
    key: str | tuple[float, ...]
    weight: float = 1.0
    start: float = 0.0
    stop: float = 1.0
    source: str = ""

    @property
    def group(self) -> tuple[Any, ...]:
        """Pictures whose conditions have equal groups may share a batch."""
        return self.kind, self.weight, self.start, self.stop


class Bound(Protocol):
    """Conditions of one kind, of the B pictures of one batch."""

    @property
    def tokens(self) -> Tensor | None:
        """Further tokens [B, K, D]; guidance leaves them alone."""
        ...

    def residuals(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Residuals | None:
        """What is added inside the denoiser at timestep ``t``; B or, under guidance, 2B rows."""
        ...


class Conditioner(Protocol):
    """What makes conditions of its kinds known to a denoiser."""

    def bind(
        self, conditions: Sequence[Condition], timesteps: Tensor, device: torch.device
    ) -> Bound:
        """Conditions of one kind, one a picture, made ready for all steps.

        Args:
            conditions: of equal groups.
            timesteps: [S] of the sampler, in the order they are taken.
            device: of the denoiser.
        """
        ...


@torch.no_grad()
def bind(
    conditioners: Mapping[str, Conditioner],
    pictures: Sequence[Sequence[Condition]],
    timesteps: Tensor,
    device: torch.device,
) -> list[Bound]:
    """Bind all conditions of a batch.

    Args:
        conditioners: by kind.
        pictures: conditions of each picture; their groups are the same for all of a batch.
        timesteps: [S] of the sampler, in the order they are taken.
        device: of the denoiser.

    Raises:
        ConfigError: the model knows no such condition, or not with these numbers.
    """
    bound = []
    for place, first in enumerate(pictures[0]):
        if first.kind not in conditioners:
            raise ConfigError(
                f"condition {first.kind!r}",
                came="a model that was not trained with it",
                allowed=", ".join(conditioners) or "a model that was trained with conditions",
                do="Leave it out, or choose another model.",
            )
        conditions = [own[place] for own in pictures]
        bound.append(conditioners[first.kind].bind(conditions, timesteps, device))
    return bound


def extend(tokens: Tensor, bound: Sequence[Bound]) -> Tensor:
    """Tokens [B or 2B, T, D] of the text, with those of the conditions behind them."""
    further = [one.tokens.to(tokens) for one in bound if one.tokens is not None]
    rows = [more.repeat(len(tokens) // len(more), 1, 1) for more in further]
    return torch.cat([tokens, *rows], dim=1) if rows else tokens


def additions(bound: Sequence[Bound], x_t: Tensor, t: Tensor, tokens: Tensor) -> dict[str, Any]:
    """The sum of what is added inside the denoiser at ``t``, as arguments of its call.

    Args:
        bound: conditions of the batch.
        x_t: [B, C, h, w] or, under guidance, [2B, C, h, w].
        t: [], the timestep.
        tokens: [B or 2B, T, D].
    """
    down: list[Tensor] = []
    middle: Tensor | None = None
    for one in bound:
        found = one.residuals(x_t, t, tokens)
        if found is not None:
            more, most = found
            down = [a + b for a, b in zip(down, more, strict=True)] if down else list(more)
            middle = most if middle is None else middle + most
    if middle is None:
        return {}
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
